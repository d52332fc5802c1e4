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
from csss.inference.framing import WHOLE, Frame, frame_lungs
from csss.inference.lungs import estimate_lungs

SMALL_PX = 448
"""The shorter side of a picture's small copy is at least this long: twice the side of what most networks eat."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What models are shown: ``grey`` uint8 (rows, columns) as on the screen; ``sha256`` of the decoded pixels.

    ``small`` is ``grey`` reduced by a whole factor, or itself: what looks at the picture in little starts from there.
    """

    grey: NDArray[np.uint8]
    small: NDArray[np.uint8]
    sha256: str

    def for_side(self, side_px: int) -> NDArray[np.uint8]:
        """The smaller of the two that may be reduced to ``side_px`` without a loss that one would see."""
        return self.small if min(self.small.shape) >= 2 * side_px else self.grey


def open_picture(volume: Volume) -> Picture:
    """The picture of a single frame, made once for every model that looks at it.

    Raises Unprocessable ``one-picture-needed`` for a volume of several frames or slices.
    """
    grey = display_grey(volume)
    return Picture(grey, _reduce(grey), pixel_sha256(volume))


def prepare(volume: Volume, spec: InputSpec) -> NDArray[np.float32]:
    """One picture as float32 (1, channels, height_px, width_px): display window, grey, framing, resize, normalise.

    Raises Unprocessable ``one-picture-needed`` for a volume of several frames or slices.
    """
    picture = open_picture(volume)
    return prepare_picture(picture, spec, choose_frame(picture.small, spec))


def prepare_picture(picture: Picture, spec: InputSpec, frame: Frame = WHOLE) -> NDArray[np.float32]:
    """The part ``frame`` of ``picture`` as float32 (1, channels, height_px, width_px)."""
    return prepare_grey(picture.for_side(max(spec.width_px, spec.height_px)), spec, frame)


def display_grey(volume: Volume) -> NDArray[np.uint8]:
    """The single frame as people see it on the screen, uint8 (rows, columns), larger = brighter."""
    if volume.pixels.shape[0] != 1:
        raise Unprocessable("This model reads one picture at a time.", code="one-picture-needed")
    shown = to_display(volume)
    return np.asarray(Image.fromarray(shown).convert("L")) if volume.is_colour else shown


def prepare_grey(grey: NDArray[np.uint8], spec: InputSpec, frame: Frame = WHOLE) -> NDArray[np.float32]:
    """The part ``frame`` of a grey picture uint8 (rows, columns) as float32 (1, channels, height_px, width_px)."""
    # Of 256 greys there are 256 results: looking them up is eight times cheaper and gives the same bits.
    return np.take(_normalised_greys(spec.mean, spec.std), stretch(grey, spec, frame), axis=1)[np.newaxis]


def stretch(grey: NDArray[np.uint8], spec: InputSpec, frame: Frame = WHOLE) -> NDArray[np.uint8]:
    """The part ``frame`` of a grey picture uint8 (rows, columns), stretched to the input size, uint8.

    Stretched, so that a heat map stretches back to all of it. Pillow's bilinear filter widens with the
    reduction (no aliasing) and is computed in integers: the same bytes on every machine.
    """
    rows, columns = grey.shape
    box = (frame.left * columns, frame.top * rows, frame.right * columns, frame.bottom * rows)
    size = (spec.width_px, spec.height_px)
    # Pictures several times larger are halved first: nearly the same result in a fraction of the time.
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))


def choose_frame(grey: NDArray[np.uint8], spec: InputSpec) -> Frame:
    """The part of the picture that a network of this input is shown."""
    return frame_lungs(estimate_lungs(grey)) if spec.framing == "lungs" else WHOLE


def _reduce(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = min(grey.shape) // SMALL_PX
    return grey if factor < 2 else np.asarray(Image.fromarray(grey).reduce(factor))


@functools.lru_cache(maxsize=16)
def _normalised_greys(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(grey / 255 - mean) / std of every grey 0..255, float32 (channels, 256)."""
    greys = np.arange(256, dtype=np.float32) / np.float32(255.0)
    middle, spread = (np.array(values, dtype=np.float32).reshape(-1, 1) for values in (mean, std))
    return (greys - middle) / spread
