"""Check whether a chest radiograph is technically fit to be read, before any model reads it.

The limits were set on the 1,327 validation pictures of the training archive. They and copies damaged on purpose are
counted by ``python -m training quality --data ARCHIVE``; docs/models.md has the table.
"""

import functools
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Integers = NDArray[np.int32]


class QualityCheck(StrEnum):
    """What can be wrong with a picture; TURNED and INVERTED are recognised by a trained gate, elsewhere."""

    BLANK = "blank"
    EXPOSURE_LOW = "exposure-low"
    EXPOSURE_HIGH = "exposure-high"
    CONTRAST_LOW = "contrast-low"
    CLIPPING = "clipping"
    RESOLUTION_LOW = "resolution-low"
    TURNED = "turned"
    INVERTED = "inverted"
    TRUNCATION = "truncation"
    ROTATION = "rotation"
    LUNGS_NOT_FOUND = "lungs-not-found"
    MARKER_NOT_FOUND = "marker-not-found"


@dataclass(frozen=True, slots=True)
class QualityFinding:
    """One check that did not pass: what was measured and the limit it broke.

    A ``fault`` makes every result on the picture read "Uncertain"; anything else is a note for the doctor.
    """

    check: QualityCheck
    fault: bool
    value: float
    limit: float


# Beside each limit: the most extreme value among the validation pictures, and how many of the 1,327 break it.
LEAST_STRUCTURE: Final = 0.4
"""Share of the grey spread left on 16 x 16 pixels; noise keeps an eighth (0.65, none)."""
LEAST_SPREAD: Final = 60.0
"""Greys between the 2nd and the 98th percentile (74, none)."""
LEAST_MEAN: Final = 80.0
"""Mean grey of the middle of the picture (53, one)."""
MOST_MEAN: Final = 207.0
"""Mean grey of the middle of the picture (210, two)."""
MOST_CLIPPED: Final = 0.15
"""Share of the middle that is at either end of the greys (0.30, three)."""
LEAST_SIDE_PX: Final = 128.0
"""Pixels along the shorter side (224, none)."""
LEAST_MARKER: Final = 2.8
"""How far something compact stands out from flat surroundings, in their spreads."""

_SIDE = 128
_MIDDLE = slice(20, 108)
_BLOCKS = 16
_PERCENTILES = (0.02, 0.98)
_BLACK, _WHITE = 1, 254

_STRIP, _DEPTH, _RIM = 32, 99, 2
_CORE, _FRAME = 6, 9
_RISE, _STANDS_OUT = 30.0, 45.0
_MARK_PX = (4.0, 90.0)
_STRAY_PX = 3.0
_FLAT = 40.0


def check_chest(grey: NDArray[np.uint8]) -> tuple[QualityFinding, ...]:
    """What is wrong with a grey picture, uint8 (rows, columns), larger = brighter; nothing wrong: ().

    A blank picture has no other finding but its size. Raises ValueError for anything but a grey uint8 picture of at
    least a pixel. What depends on where the lungs lie is checked by `csss.inference.lungs.check_fields`.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8 or grey.size == 0:
        raise ValueError("A grey picture, uint8 (rows, columns), is needed.")
    small = _reduce(grey, _SIDE)
    low, high = _percentiles(small)
    structure = _structure(small, high - low)
    size = _below(QualityCheck.RESOLUTION_LOW, min(grey.shape), LEAST_SIDE_PX)
    if structure < LEAST_STRUCTURE:
        return (QualityFinding(QualityCheck.BLANK, True, structure, LEAST_STRUCTURE), *size)
    middle = small[_MIDDLE, _MIDDLE]
    mean, mark = float(middle.mean()), _marker(small)
    clipped = float(max((middle <= _BLACK).mean(), (middle >= _WHITE).mean()))
    return (
        *_below(QualityCheck.EXPOSURE_LOW, mean, LEAST_MEAN),
        *_above(QualityCheck.EXPOSURE_HIGH, mean, MOST_MEAN),
        *_below(QualityCheck.CONTRAST_LOW, high - low, LEAST_SPREAD),
        *_above(QualityCheck.CLIPPING, clipped, MOST_CLIPPED),
        *size,
        *_below(QualityCheck.MARKER_NOT_FOUND, mark, LEAST_MARKER, fault=False),
    )


def words(finding: QualityFinding) -> str:
    """What a finding means, in a sentence or two for a doctor."""
    value, limit = finding.value, finding.limit
    return {
        QualityCheck.BLANK: "The picture shows no structure: it is blank, or noise.",
        QualityCheck.EXPOSURE_LOW: f"The picture is too dark (mean grey {value:.0f} of 255; at least {limit:.0f}).",
        QualityCheck.EXPOSURE_HIGH: f"The picture is too bright (mean grey {value:.0f} of 255; at most {limit:.0f}).",
        QualityCheck.CONTRAST_LOW: f"The picture is nearly without contrast (spread {value:.0f} of 255; "
        f"at least {limit:.0f}).",
        QualityCheck.CLIPPING: f"{value:.0%} of the middle of the picture is plain black or plain white "
        f"(at most {limit:.0%}): detail is lost there.",
        QualityCheck.RESOLUTION_LOW: f"The picture is too small ({value:.0f} pixels along its shorter side; "
        f"at least {limit:.0f}).",
        QualityCheck.TURNED: "The picture seems to lie on its side or upside down.",
        QualityCheck.INVERTED: "The picture seems to be inverted: bone dark, air bright.",
        QualityCheck.TRUNCATION: f"The lungs seem to go on beyond the picture, by {value:.0%} of its side.",
        QualityCheck.ROTATION: f"The thorax seems to be tilted by about {value:.0f} degrees.",
        QualityCheck.LUNGS_NOT_FOUND: "The borders of the lungs could not be estimated: regions are named by fixed "
        "parts of the picture.",
        QualityCheck.MARKER_NOT_FOUND: "No side marker (R or L) was recognised; the program overlooks most of them. "
        "Please look for it.",
    }[finding.check]


def _below(check: QualityCheck, value: float, limit: float, *, fault: bool = True) -> tuple[QualityFinding, ...]:
    return (QualityFinding(check, fault, float(value), limit),) if value < limit else ()


def _above(check: QualityCheck, value: float, limit: float) -> tuple[QualityFinding, ...]:
    return (QualityFinding(check, True, float(value), limit),) if value > limit else ()


def _reduce(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BOX, reducing_gap=2.0))


def _percentiles(plane: NDArray[np.uint8]) -> tuple[float, float]:
    shares = np.bincount(plane.ravel(), minlength=256).cumsum() / plane.size
    low, high = (float(np.searchsorted(shares, share)) for share in _PERCENTILES)
    return low, high


def _structure(small: NDArray[np.uint8], spread: float) -> float:
    """How much of the spread is left where neighbours are averaged: all of a thorax, little of noise."""
    if spread < 3.0:
        return 0.0
    low, high = _percentiles(_reduce(small, _BLOCKS))
    return (high - low) / spread


def _marker(small: NDArray[np.uint8]) -> float:
    """How clearly the most letter-like thing along the upper sides of the picture stands out; 0: nothing.

    Letter-like: a few bright pixels in a window whose frame holds next to none and is flat.
    """
    rows, last = slice(_RIM, _DEPTH), _SIDE - _RIM
    strips = np.stack([small[rows, _RIM:_STRIP], small[rows, _SIDE - _STRIP : last]]).astype(np.int32)
    core_size, frame_size = float((2 * _CORE + 1) ** 2), float((2 * _FRAME + 1) ** 2)
    totals = _totals(np.stack([strips, strips * strips]))
    framed, rest = _window_sums(totals, _FRAME).astype(np.float32), np.float32(frame_size - core_size)
    bright = strips > framed[0] / np.float32(frame_size) + np.float32(_RISE)
    if not bright.any():
        return 0.0
    mean, mean_square = (framed - _window_sums(totals, _CORE)) / rest
    spread = np.sqrt(np.maximum(mean_square - mean**2, 0.0))
    totals = _totals(np.stack([bright, bright * strips]))
    inner, inner_sum = _window_sums(totals, _CORE)
    above = inner_sum / np.maximum(inner, 1).astype(np.float32) - mean
    letter = (inner >= _MARK_PX[0]) & (inner <= _MARK_PX[1])
    letter &= _window_sums(totals[0], _FRAME) <= inner + _STRAY_PX
    letter &= (spread < _FLAT) & (above > _STANDS_OUT)
    return float(np.where(letter, above / (spread + 4.0), 0.0).max())


def _totals(planes: Integers) -> Integers:
    """Sums of all that lies above and to the left in each plane (..., rows, columns), made for `_window_sums`.

    The edges are repeated outwards. Squares of greys over a strip stay far below 2^31.
    """
    rows, columns = (_repeat_edges(size) for size in planes.shape[-2:])
    wide = planes.take(rows, axis=-2).take(columns, axis=-1)
    return wide.cumsum(axis=-1, dtype=np.int32).cumsum(axis=-2, dtype=np.int32)


@functools.cache
def _repeat_edges(size: int) -> NDArray[np.intp]:
    return np.clip(np.arange(-_FRAME - 1, size + _FRAME), 0, size - 1)


def _window_sums(totals: Integers, reach: int) -> Integers:
    """Sums over (2 reach + 1)^2 windows around every place of the planes that `_totals` was made of."""
    inset, width = _FRAME - reach, 2 * reach + 1
    rows, columns = (size - 2 * _FRAME - 1 for size in totals.shape[-2:])
    above, below = slice(inset, inset + rows), slice(inset + width, inset + width + rows)
    before, after = slice(inset, inset + columns), slice(inset + width, inset + width + columns)
    sums: Integers = totals[..., below, after] - totals[..., above, after]
    sums -= totals[..., below, before]
    sums += totals[..., above, before]
    return sums
