"""Write the heat map of a reading as a picture."""

import os
from pathlib import Path

from csss.foundation.errors import Unprocessable
from csss.imaging.render import blend_png, to_display
from csss.inference.card import ModelCard
from csss.inference.read_files import FileReading


def write_heat_map(reading: FileReading, folder: Path) -> None:
    """Write scan and heat map blended into ``folder``; nothing for a reading that has none.

    Raises Unprocessable ``not-writable``.
    """
    if reading.volume is None or reading.prediction is None or reading.prediction.heat is None:
        return
    # Two files of one name in two folders must not overwrite each other's picture.
    name = f"{_shortened(Path(reading.file).name)}.{(reading.sha256 or '')[:8]}.heatmap.png"
    try:
        (folder / name).write_bytes(blend_png(to_display(reading.volume), reading.prediction.heat))
    except OSError as error:
        raise Unprocessable(f"{folder / name} cannot be written.", code="not-writable") from error


def why_no_heat_map(reading: FileReading, card: ModelCard) -> str | None:
    """Return in a few words why a file that was read has no heat map; None for one that has, or was not read."""
    prediction = reading.prediction
    if prediction is None or prediction.heat is not None:
        return None
    if not card.explanation.shown:
        return f"{card.name} {card.version} shows none"
    if prediction.heat_of is None:
        return "unlike the pictures the model was made from"
    return "nothing in the picture speaks for the likeliest finding"


def _shortened(name: str) -> str:
    """So much of a name that the ending still fits into the 255 bytes that file systems take."""
    return os.fsdecode(os.fsencode(name)[:220])
