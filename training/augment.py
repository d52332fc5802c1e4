"""Vary a training picture as exposure, scanner and storage would; never by a flip, which swaps sides."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_ROTATION_DEGREES = 7.0
_LEAST_CROP_SHARE = 0.8
_CORNER_SHARE = 0.2


def vary(grey: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A variant of ``grey`` uint8 (rows, columns): rotation, crop, gamma and contrast, blur, JPEG quality."""
    picture = Image.fromarray(grey)
    turn = random.uniform(-_ROTATION_DEGREES, _ROTATION_DEGREES)
    picture = picture.rotate(turn, Image.Resampling.BILINEAR, fillcolor=int(np.median(grey[0])))
    picture = _crop(picture, random)
    picture = Image.fromarray(_expose(np.asarray(picture), random))
    if random.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.2, 1.2)))
    if random.random() < 0.5:
        picture = _compress(picture, int(random.integers(35, 95)))
    return np.asarray(picture)


def hide_corners(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``grey`` with squares of a fifth of the side in its four corners set to the median grey.

    Side markers and text lie there and no lung; what a model loses by it, it had read from them.
    """
    hidden = grey.copy()
    rows, columns = (round(_CORNER_SHARE * side) for side in grey.shape)
    for vertical in (slice(0, rows), slice(-rows, None)):
        for horizontal in (slice(0, columns), slice(-columns, None)):
            hidden[vertical, horizontal] = np.median(grey)
    return hidden


def _crop(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    share = math.sqrt(random.uniform(_LEAST_CROP_SHARE, 1.0))
    stretch = math.exp(random.uniform(-0.08, 0.08))
    width = min(picture.width, round(picture.width * share * stretch))
    height = min(picture.height, round(picture.height * share / stretch))
    left = int(random.integers(0, picture.width - width + 1))
    top = int(random.integers(0, picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def _expose(grey: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    level = (grey / 255.0) ** math.exp(random.uniform(-0.35, 0.35))
    level = (level - 0.5) * random.uniform(0.8, 1.2) + 0.5 + random.uniform(-0.08, 0.08)
    level += random.normal(0.0, random.uniform(0.0, 0.02), grey.shape)
    return np.asarray(np.clip(level * 255.0, 0.0, 255.0), dtype=np.uint8)


def _compress(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer, formats=["JPEG"]).convert("L")
