"""A folder of small pictures, the tiny model that reads them, and runs of the command over them."""

import io
from pathlib import Path

import pytest
from PIL import Image
from tiny_model import make_folder, make_picture

from csss.cli import main
from csss.inference.read_files import FileReading
from csss.predict.command import PredictOptions, run_predict
from csss.predict.workers import ReadingPlan, read_here


def make_pictures(folder: Path, count: int) -> list[Path]:
    """``count`` different PNG files 0.png, 1.png ... in ``folder``."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{number}.png" for number in range(count)]
    for number, file in enumerate(files):
        buffer = io.BytesIO()
        Image.fromarray(make_picture(number)).save(buffer, "PNG")
        file.write_bytes(buffer.getvalue())
    return files


def make_plan(folder: Path, heat_maps: Path | None = None) -> ReadingPlan:
    """A shelf of one tiny model below ``folder``."""
    if not (folder / "models").exists():
        make_folder(folder / "models")
    return ReadingPlan(folder / "models", "tiny", "1", "DX", "CHEST", heat_maps)


def run(folder: Path, *paths: Path, **options: object) -> tuple[int, str, str]:
    """Exit code, output and notes of a run with the tiny model."""
    make_plan(folder)
    output, notes = io.StringIO(), io.StringIO()
    asked = PredictOptions(paths=paths, model="tiny", models=folder / "models", **options)
    return run_predict(asked, output, notes), output.getvalue(), notes.getvalue()


def readings_of(folder: Path, files: list[Path]) -> list[FileReading]:
    return list(read_here(files, make_plan(folder)))


def settings_run(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *more: str,
    given: Path | None = None,
    **settings: str,
) -> tuple[int, str, str]:
    """Exit code, output and notes of the command with the site's settings and no --models, over ``in`` or ``given``."""
    make_plan(folder)
    for name, value in settings.items():
        monkeypatch.setenv(f"CSSS_{name.upper()}", value)
    code = main(["predict", str(given or folder / "in"), "--model", "tiny", *more])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
