"""What `csss predict` tells beside its results: maps that are missing, files passed over, models that are not whole."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tiny_model import make_gate_folder

from csss.foundation.errors import NotFound, Unprocessable
from csss.inference.card import Explanation, OutOfDistribution, load_card
from csss.inference.read_files import walk_files
from csss.predict.command import _PASSED_OVER
from csss.predict.heat import why_no_heat_map
from model_shelves import make_version
from predict.pictures_given import make_pictures, make_plan, readings_of, run, settings_run


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"ood": OutOfDistribution("pca-mahalanobis", 1e-6, "nothing passes")}, "unlike the pictures the model was"),
        ({"explanation": Explanation("grad-cam-closed-form", False, "hidden")}, "tiny 1 shows none"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_it_is_said_why_a_picture_has_no_heat_map(
    tmp_path: Path, changes: dict[str, Any], reason: str | None, jobs: int
) -> None:
    make_pictures(tmp_path / "in", 2)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    make_version(tmp_path / "models", "1", changes=changes)
    _, _, notes = run(tmp_path, tmp_path / "in", heat_maps=tmp_path / "heat", jobs=jobs)
    maps = len(list((tmp_path / "heat").iterdir()))
    if reason is None:
        assert (maps, notes) == (2, "")
    else:
        assert maps == 0
        assert notes.startswith(f"csss: no heat map of 2 of the 2 files that were read (2: {reason}")
    # Nobody asked for maps here.
    assert run(tmp_path, tmp_path / "in", jobs=jobs)[2] == ""


def test_a_map_that_nothing_is_hot_in_has_a_reason_of_its_own(tmp_path: Path) -> None:
    [reading] = readings_of(tmp_path, make_pictures(tmp_path / "in", 1))
    card = load_card(tmp_path / "models" / "tiny" / "1")
    assert why_no_heat_map(reading, card) is None
    assert reading.prediction is not None
    cold = replace(reading, prediction=replace(reading.prediction, heat=None))
    assert why_no_heat_map(cold, card) == "nothing in the picture speaks for the likeliest finding"


def test_a_place_without_files_is_no_empty_success(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_plan(tmp_path)
    with pytest.raises(Unprocessable) as caught:
        run(tmp_path, tmp_path / "in", csv=tmp_path / "out.csv")
    assert (caught.value.code, str(tmp_path / "in") in caught.value.message) == ("no-files", True)
    assert not (tmp_path / "out.csv").exists()


def test_what_lies_among_the_files_and_is_none_is_named(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    code, _, notes = run(tmp_path, tmp_path / "in")
    assert (code, notes.splitlines()[0]) == (0, f"csss: 2 {_PASSED_OVER}:")
    assert {line.strip() for line in notes.splitlines()[1:]} == {
        str(tmp_path / "in" / name) for name in ("linked", "pipe.png")
    }


@pytest.mark.parametrize("file", ["model.onnx", "head.npz", "golden.npz"])
def test_a_tampered_model_is_not_said_to_be_missing(tmp_path: Path, file: str) -> None:
    make_pictures(tmp_path / "in", 1)
    folder = make_version(tmp_path / "models", "1")
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(bytes(data))
    with pytest.raises(NotFound, match=f"tiny/1: {re.escape(file)} is not the file that the card describes"):
        run(tmp_path, tmp_path / "in")


def test_an_older_version_that_reads_in_place_of_a_damaged_one_is_named(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    make_version(tmp_path / "models", "1")
    (make_version(tmp_path / "models", "2") / "head.npz").write_bytes(b"changed")
    code, _, notes = run(tmp_path, tmp_path / "in")
    assert (code, notes) == (
        0,
        "csss: tiny/2 is not served: head.npz is not the file that the card describes. Version 1 reads instead.\n",
    )


@pytest.mark.parametrize("name", ["tiyn", "input-gate"])
def test_a_threshold_of_no_model_that_reads_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make_pictures(tmp_path / "in", 1)
    make_gate_folder(tmp_path / "models")
    settings = {"model_path": str(tmp_path / "models"), "confidence_threshold": f"{name}/1=0.9"}
    make_version(tmp_path / "models", "1")
    code, output, notes = settings_run(tmp_path, capsys, monkeypatch, **settings)
    assert (code, output) == (2, "")
    assert notes == (
        f"csss: CSSS_CONFIDENCE_THRESHOLD names {name}, which is no model here that reads pictures. There are: tiny.\n"
    )


def test_a_damaged_older_version_and_another_models_are_not_told(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    make_version(tmp_path / "models", "2")
    (make_version(tmp_path / "models", "1") / "head.npz").write_bytes(b"changed")
    (make_version(tmp_path / "models", "9", name="tiny2") / "head.npz").write_bytes(b"changed")
    assert run(tmp_path, tmp_path / "in")[2] == ""


def test_a_threshold_of_a_damaged_model_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path / "in", 1)
    make_version(tmp_path / "models", "1")
    (make_version(tmp_path / "models", "1", name="other") / "head.npz").write_bytes(b"changed")
    settings = {"model_path": str(tmp_path / "models"), "confidence_threshold": "other/1=0.9"}
    assert settings_run(tmp_path, capsys, monkeypatch, **settings)[0] == 0


def test_names_from_the_disk_do_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "\x1b[2Jin"
    place.mkdir()
    (place / "linked").symlink_to(tmp_path)
    make_version(tmp_path / "models", "1")
    code, _, told = settings_run(tmp_path, capsys, monkeypatch, model_path=str(tmp_path / "models"), given=place)
    # What lies there and is no file is named, too.
    assert (code, "\x1b" in told, r"\x1b[2Jin/linked" in told) == (2, False, True)
    make_pictures(tmp_path / "in", 1)
    odd = make_version(tmp_path / "models", "2")
    odd.rename(odd.parent / "2\x1b[2Jx")
    code, _, told = settings_run(tmp_path, capsys, monkeypatch, model_path=str(tmp_path / "models"))
    assert (code, "\x1b" in told, r"tiny/2\x1b[2Jx is not served" in told) == (0, False, True)


def test_a_folder_that_may_not_be_looked_into_is_passed_over_and_named() -> None:
    with TemporaryDirectory() as place:
        (Path(place) / "closed").mkdir(mode=0)
        Path(place).chmod(0o755)
        passed: list[Path] = []
        me = os.geteuid()
        try:
            if me == 0:
                os.seteuid(65534)  # root may look into every folder
            assert list(walk_files(Path(place), passed)) == []
        finally:
            os.seteuid(me)
        assert passed == [Path(place) / "closed"]


def test_a_pipe_that_was_named_is_read_and_not_passed_over(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    pipe = tmp_path / "in" / "pipe.png"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(pipe.write_bytes, (tmp_path / "in" / "0.png").read_bytes())
        _, output, notes = run(tmp_path, tmp_path / "in", pipe)
        writing.result()
    assert (notes, f"{pipe}: " in output) == ("", True)
