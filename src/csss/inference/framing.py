"""Which part of a picture a network is shown, and where on the whole picture its heat map then lies."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csss.inference.lungs import LungFields

MARGIN: Final = 0.08
"""Around the lung fields, as a share of their height and width: hila and pleura lie at the border."""
_CANVAS = 56


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of a picture as shares of its width and height."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Frame(0.0, 0.0, 1.0, 1.0)


def frame_lungs(lungs: LungFields) -> Frame:
    """The smallest frame around both fields with its margin; the whole picture where no lungs were found."""
    if not lungs.plausible:
        return WHOLE
    mask = lungs.right | lungs.left
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    count = len(mask)
    top, bottom = float(rows[0]) / count, float(rows[-1] + 1) / count
    left, right = float(columns[0]) / count, float(columns[-1] + 1) / count
    high, wide = MARGIN * (bottom - top), MARGIN * (right - left)
    return Frame(max(0.0, left - wide), max(0.0, top - high), min(1.0, right + wide), min(1.0, bottom + high))


def spread_heat(heat: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """``heat`` (h, w) of a frame as a map of the whole picture, zero outside the frame, its peak kept at 1.

    The map of the whole picture is given back as it is.
    """
    if frame == WHOLE:
        return heat
    left, right = round(frame.left * _CANVAS), max(round(frame.right * _CANVAS), round(frame.left * _CANVAS) + 1)
    top, bottom = round(frame.top * _CANVAS), max(round(frame.bottom * _CANVAS), round(frame.top * _CANVAS) + 1)
    inside = Image.fromarray(heat).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    canvas = np.zeros((_CANVAS, _CANVAS), dtype=np.float32)
    canvas[top:bottom, left:right] = np.asarray(inside)
    peak = float(canvas.max())
    return canvas / np.float32(peak) if peak > 0.0 else canvas
