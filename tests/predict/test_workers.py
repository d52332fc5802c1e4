"""Several reading processes: the same readings in the same order, whatever dies."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from csss.foundation.errors import CsssError
from csss.inference.read_files import FileReading
from csss.predict.workers import read_here, read_in_processes
from predict.pictures_given import make_pictures, make_plan


def outcome(reading: FileReading) -> tuple[object, ...]:
    prediction = reading.prediction
    shares = prediction.probabilities if prediction else None
    return reading.file, reading.sha256, shares, reading.error.code if reading.error else None


def reading_processes() -> set[int]:
    """The reading processes that this process started and that still run."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid() and b"csss.predict.workers" in command:
            found.add(int(status.parent.name))
    return found


def test_processes_give_the_readings_of_one_in_the_same_order(tmp_path: Path) -> None:
    files = [*make_pictures(tmp_path / "in", 6), tmp_path / "none.png"]
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    plan = make_plan(tmp_path)
    here = [outcome(reading) for reading in read_here(files, plan)]
    assert [code for *_, code in here] == [None, None, None, "unsupported-type", None, None, "file-missing"]
    assert [outcome(reading) for reading in read_in_processes(files, plan, 2)] == here
    assert reading_processes() == set()


def test_readings_hold_no_volume(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    files = make_pictures(tmp_path / "in", 1)
    assert [reading.volume for reading in (*read_here(files, plan), *read_in_processes(files, plan, 2))] == [None, None]


def test_a_process_that_dies_costs_only_the_file_in_hand(tmp_path: Path) -> None:
    files = make_pictures(tmp_path / "in", 5)
    os.mkfifo(tmp_path / "in" / "slow.png")
    order = [files[0], tmp_path / "in" / "slow.png", *files[1:]]
    killed = threading.Thread(target=kill_the_reader_of, args=(tmp_path / "in" / "slow.png",))
    killed.start()
    codes = [code for *_, code in map(outcome, read_in_processes(order, make_plan(tmp_path), 1))]
    killed.join()
    assert codes == [None, "worker-died", None, None, None, None]


def kill_the_reader_of(pipe: Path) -> None:
    """Wait until a process has opened ``pipe`` for reading, then end it as the kernel would."""
    with pipe.open("wb"):
        (reader,) = (process for process in reading_processes() if holds_open(process, pipe))
        os.kill(reader, signal.SIGKILL)


def holds_open(process: int, file: Path) -> bool:
    return any(os.path.realpath(link) == str(file.resolve()) for link in Path(f"/proc/{process}/fd").iterdir())


def test_a_process_that_died_between_two_files_costs_none(tmp_path: Path) -> None:
    files = make_pictures(tmp_path / "in", 3)

    def given_one_by_one() -> Iterator[Path]:
        yield files[0]
        yield files[1]
        (process,) = reading_processes()
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        yield files[2]

    codes = [code for *_, code in map(outcome, read_in_processes(given_one_by_one(), make_plan(tmp_path), 1))]
    assert codes == [None, None, None]


def test_closing_the_readings_ends_all_processes(tmp_path: Path) -> None:
    files = make_pictures(tmp_path / "in", 40)
    with closing(read_in_processes(files, make_plan(tmp_path), 2)) as readings:
        assert next(readings).file == str(files[0])
        assert len(reading_processes()) == 2
    assert reading_processes() == set()


def test_a_broken_model_is_said_once_and_not_for_every_file(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    (tmp_path / "models" / "tiny" / "1" / "head.npz").write_bytes(b"broken")
    with pytest.raises(CsssError) as caught:
        list(read_in_processes(make_pictures(tmp_path / "in", 3), plan, 2))
    assert caught.value.code in {"file-altered", "model-unknown"}
    assert reading_processes() == set()


def test_a_process_that_cannot_start_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csss.predict.workers._START", "raise SystemExit(3)")
    with pytest.raises(CsssError) as caught:
        list(read_in_processes(make_pictures(tmp_path / "in", 1), make_plan(tmp_path), 2))
    assert caught.value.code == "worker-unavailable"


@pytest.mark.parametrize("jobs", [1, 2])
def test_heat_maps_are_written_by_whoever_reads(tmp_path: Path, jobs: int) -> None:
    (tmp_path / "heat").mkdir()
    plan = make_plan(tmp_path, tmp_path / "heat")
    files = make_pictures(tmp_path / "in", 2)
    readings = list(read_in_processes(files, plan, 2) if jobs == 2 else read_here(files, plan))
    assert sorted(path.name for path in (tmp_path / "heat").iterdir()) == [
        f"{Path(reading.file).name}.{reading.sha256[:8]}.heatmap.png" for reading in readings
    ]


def test_a_heat_map_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, tmp_path / "nowhere")
    for readings in (read_here, lambda files, plan: read_in_processes(files, plan, 2)):
        with pytest.raises(CsssError) as caught:
            list(readings(make_pictures(tmp_path / "in", 1), plan))
        assert caught.value.code == "not-writable"


def test_ctrl_c_ends_the_command_and_leaves_no_process(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    os.mkfifo(tmp_path / "in" / "slow.png")
    make_plan(tmp_path)
    named = [str(tmp_path / "in"), str(tmp_path / "in" / "slow.png")]
    arguments = ["predict", *named, "--models", str(tmp_path / "models"), "--model", "tiny"]
    start = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"from csss.cli import main; sys.exit(main({[*arguments, '--jobs', '2']!r}))"
    )
    with (
        subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command,
        (tmp_path / "in" / "slow.png").open("wb"),
    ):
        assert command.stdout.readline().startswith(str(tmp_path / "in" / "0.png").encode())
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=60)
    # Its end of the pipe is only closed once the processes that it started are gone, too.
    assert (command.returncode, errors) == (130, b"")
