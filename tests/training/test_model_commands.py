"""The commands that train, from what is typed to what a run is asked."""

from pathlib import Path
from typing import Any

import pytest

from model_shelves import make_version

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.__main__ import main  # noqa: E402
from training.ahead import VersionExists  # noqa: E402
from training.chest import plan_courses, plan_taught  # noqa: E402

from csss.inference.card import FileHash  # noqa: E402
from training import (  # noqa: E402
    chest,
    model_commands,
    model_folder,
)

pytestmark = pytest.mark.torch


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["training", *words])
    main()


@pytest.mark.parametrize("command", ["gate", "chest", "findings", "papers-recipe"])
def test_no_command_writes_over_a_finished_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    folder = make_version(tmp_path, "1")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, command, "--data", str(tmp_path / "none.zip"), "--out", str(folder))
    assert ended.value.code == 2
    assert "holds a finished model, and a version is never changed" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_gate_that_is_not_there_is_told_at_once_and_in_legible_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = tmp_path / "\x1b[2Jshelf"
    with pytest.raises(SystemExit):
        run(monkeypatch, "chest", "--data", "none.zip", "--out", str(tmp_path / "m/1"), "--gate", str(shelf))
    said = capsys.readouterr().err
    assert ("There is no model input-gate that can be served in" in said, "\x1b" in said) == (True, False)
    assert not (tmp_path / "m").exists()


def test_a_version_that_was_finished_meanwhile_is_not_written_over_either(tmp_path: Path) -> None:
    folder = make_version(tmp_path, "1")

    def draft(_: tuple[FileHash, ...], __: object) -> Any:
        raise AssertionError("nothing is drafted")

    with pytest.raises(VersionExists):
        model_folder.open_draft(folder, b"", Any, None, draft)
    assert (folder / "model.onnx").stat().st_size > 0


@pytest.mark.parametrize("taught", [False, True])
def test_what_is_typed_becomes_what_the_run_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taught: bool
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(chest, "train_chest", lambda *given: asked.append(given))
    monkeypatch.setattr(model_commands, "_prepare", lambda _: {})
    words = ["chest", "--data", "a.zip", "--out", str(tmp_path / "m/1"), "--draw-share", "0.5", "--seed", "7"]
    teachers = ["one/1", "two/2"] if taught else []
    run(monkeypatch, *words, *(word for name in teachers for word in ("--teacher", name)))
    [(archive, _, wishes)] = asked
    assert (archive, wishes.draw_share, wishes.seed) == (Path("a.zip"), 0.5, 7)
    assert wishes.teachers == tuple(map(Path, teachers))
    assert wishes.courses == plan_courses(7, 0.5) + (plan_taught(7, 0.5) if taught else ())
    assert [course.taught > 0 for course in wishes.courses] == [False] * 4 + [True] * taught
