"""The one preprocessing: what a network sees of a picture, in serving and in training alike."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csss.foundation.errors import Unprocessable
from csss.imaging.render import to_display
from csss.imaging.volume import Volume, pixel_sha256
from csss.inference.card import InputSpec


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What models are shown: ``grey`` uint8 (rows, columns) as on the screen; ``sha256`` of the decoded pixels."""

    grey: NDArray[np.uint8]
    sha256: str


def open_picture(volume: Volume) -> Picture:
    """The picture of a single frame, made once for every model that looks at it.

    Raises Unprocessable ``one-picture-needed`` for a volume of several frames or slices.
    """
    return Picture(display_grey(volume), pixel_sha256(volume))


def prepare(volume: Volume, spec: InputSpec) -> NDArray[np.float32]:
    """One picture as float32 (1, 3, height_px, width_px): display window, grey, resize, normalise.

    Raises Unprocessable ``one-picture-needed`` for a volume of several frames or slices.
    """
    return prepare_grey(display_grey(volume), spec)


def display_grey(volume: Volume) -> NDArray[np.uint8]:
    """The single frame as people see it on the screen, uint8 (rows, columns), larger = brighter."""
    if volume.pixels.shape[0] != 1:
        raise Unprocessable("This model reads one picture at a time.", code="one-picture-needed")
    shown = to_display(volume)
    return np.asarray(Image.fromarray(shown).convert("L")) if volume.is_colour else shown


def prepare_grey(grey: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """A grey picture uint8 (rows, columns) as float32 (1, 3, height_px, width_px).

    The whole picture is stretched to the input size, so that a heat map stretches back to all of it.
    Pillow's bilinear filter widens with the reduction (no aliasing) and is computed in integers: the
    same bytes on every machine.
    """
    size = (spec.width_px, spec.height_px)
    small = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))
    # Of 256 greys there are 256 results: looking them up is eight times cheaper and gives the same bits.
    return np.take(_normalised_greys(spec.mean, spec.std), small, axis=1)[np.newaxis]


@functools.lru_cache(maxsize=16)
def _normalised_greys(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(grey / 255 - mean) / std of every grey 0..255, float32 (3, 256)."""
    greys = np.arange(256, dtype=np.float32) / np.float32(255.0)
    middle, spread = (np.array(values, dtype=np.float32).reshape(3, 1) for values in (mean, std))
    return (greys - middle) / spread
