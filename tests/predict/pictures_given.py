"""A folder of small pictures and the tiny model that reads them."""

import io
from pathlib import Path

from PIL import Image
from tiny_model import make_folder, make_picture

from csss.predict.workers import ReadingPlan


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
