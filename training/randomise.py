"""Randomise what belongs to a source and not to a disease: framing, tone, spectrum, markers, borders."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.augment import vary

Grey = NDArray[np.uint8]

_ROTATION_DEGREES = 10.0
_LEAST_AREA = 0.5
_SPECTRUM_BINS = 40


def randomise(grey: Grey, style: Grey, side_px: int, random: np.random.Generator) -> Grey:
    """A variant uint8 (side_px, side_px) of ``grey``; ``style`` is any other picture of the training split.

    From ``style`` come the histogram and the radial spectrum (sharpness and grain), never its
    anatomy. No flips: they would swap the sides.
    """
    picture = Image.fromarray(grey)
    if random.random() < 0.3:
        picture = _mark(picture, random)
    varied = _frame(picture, side_px, random)
    if random.random() < 0.3:
        varied = shift_spectrum(varied, style, random.uniform(0.0, 1.0))
    varied = _tone(varied, style, random)
    varied = _degrade(varied, random)
    return _hide(varied, random)


def vary_mildly(grey: Grey, style: Grey, side_px: int, random: np.random.Generator) -> Grey:
    """What version 1 was fitted on, at another size; ``style`` is not looked at."""
    varied = Image.fromarray(vary(grey, random))
    return np.asarray(varied.resize((side_px, side_px), Image.Resampling.BILINEAR))


def match_histogram(grey: Grey, style: Grey) -> NDArray[np.float64]:
    """The table (256,) of levels 0 to 1 that gives ``grey`` the histogram of ``style``."""
    below = np.cumsum(np.bincount(grey.ravel(), minlength=256)) / grey.size
    points = np.linspace(0.0, 1.0, 65)
    levels: NDArray[np.float64] = np.interp(below, points, np.quantile(style[::4, ::4], points)) / 255.0
    return levels


def shift_spectrum(grey: Grey, style: Grey, share: float) -> Grey:
    """``grey`` with its radial amplitude profile drawn by ``share`` (0 to 1) towards that of ``style``.

    Only the mean amplitude at each distance from zero frequency moves, so that no ghost of the other
    picture appears; the constant term stays.
    """
    sized = np.asarray(Image.fromarray(style).resize(grey.shape[::-1], Image.Resampling.BILINEAR))
    rows, columns = grey.shape
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    member = np.minimum((radius / radius.max() * _SPECTRUM_BINS).astype(int), _SPECTRUM_BINS - 1)
    own, other = np.fft.rfft2(grey.astype(np.float64)), np.fft.rfft2(sized.astype(np.float64))
    own_sum, other_sum = (np.bincount(member.ravel(), np.abs(part).ravel()) for part in (own, other))
    gain = np.clip(other_sum / np.maximum(own_sum, 1e-9), 0.2, 5.0) ** share
    gain = gain[member]
    gain[0, 0] = 1.0
    return _to_grey(np.fft.irfft2(own * gain, s=grey.shape) / 255.0)


def _mark(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """A letter or bar as a side marker, anywhere: so that no marker speaks for a source."""
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    level = int(random.integers(150, 256)) if random.random() < 0.8 else int(random.integers(0, 60))
    for _ in range(int(random.integers(1, 4))):
        left, top = int(random.uniform(0, 0.9) * picture.width), int(random.uniform(0, 0.9) * picture.height)
        if random.random() < 0.5:
            text = "".join(random.choice(list("LRPAERECTSUPINE0123456789"), size=int(random.integers(1, 6))))
            draw.text((left, top), text, fill=level, font_size=int(random.integers(8, 28)))
        else:
            draw.rectangle((left, top, left + int(random.integers(2, 40)), top + int(random.integers(2, 14))), level)
    return marked


def _frame(picture: Image.Image, side_px: int, random: np.random.Generator) -> Grey:
    """Rotate and crop in one pass, stretched to (side_px, side_px)."""
    share = math.sqrt(random.uniform(_LEAST_AREA, 1.05))
    stretch = math.exp(random.uniform(-0.12, 0.12))
    width, height = picture.width * share * stretch, picture.height * share / stretch
    loose = np.array((max(picture.width - width, 0.0), max(picture.height - height, 0.0))) / 2.0
    shift = random.uniform(-1.0, 1.0, 2) * loose
    centre = np.array((picture.width, picture.height)) / 2.0 + shift
    turn = math.radians(random.uniform(-_ROTATION_DEGREES, _ROTATION_DEGREES))
    a, b = math.cos(turn) * width / side_px, -math.sin(turn) * height / side_px
    d, e = math.sin(turn) * width / side_px, math.cos(turn) * height / side_px
    half = side_px / 2.0
    matrix = (a, b, centre[0] - a * half - b * half, d, e, centre[1] - d * half - e * half)
    fill = int(random.integers(0, 256)) if random.random() < 0.3 else 0
    size = (side_px, side_px)
    return np.asarray(
        picture.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)
    )


def _tone(grey: Grey, style: Grey, random: np.random.Generator) -> Grey:
    levels = np.linspace(0.0, 1.0, 256)
    if random.random() < 0.4:
        share = random.uniform(0.3, 1.0)
        levels = (1.0 - share) * levels + share * match_histogram(grey, style)
    levels = levels ** math.exp(random.uniform(-0.5, 0.5))
    levels = (levels - 0.5) * random.uniform(0.65, 1.3) + 0.5 + random.uniform(-0.12, 0.12)
    return _to_grey(levels)[grey]


def _degrade(grey: Grey, random: np.random.Generator) -> Grey:
    picture = Image.fromarray(grey)
    kind = random.random()
    if kind < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.5)))
    elif kind < 0.5:
        picture = picture.filter(ImageFilter.UnsharpMask(random.uniform(0.5, 3.0), int(random.integers(30, 200)), 0))
    elif kind < 0.65:
        share = random.uniform(0.45, 0.9)
        small = (int(picture.width * share), int(picture.height * share))
        picture = picture.resize(small, Image.Resampling.BILINEAR).resize(picture.size, Image.Resampling.BILINEAR)
    if random.random() < 0.3:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(random.integers(25, 95)))
        picture = Image.open(buffer, formats=["JPEG"]).convert("L")
    if random.random() < 0.3:
        noise = random.standard_normal(grey.shape, dtype=np.float32) * random.uniform(1.0, 8.0)
        return np.asarray(np.clip(np.asarray(picture) + noise, 0.0, 255.0), dtype=np.uint8)
    return np.asarray(picture)


def _hide(grey: Grey, random: np.random.Generator) -> Grey:
    """Blot corners, frame the border or erase a rectangle, each now and then."""
    hidden, side = grey.copy(), len(grey)
    level = int(random.integers(0, 256)) if random.random() < 0.5 else int(np.median(grey))
    if random.random() < 0.35:
        for vertical, horizontal in ((0, 0), (0, 1), (1, 0), (1, 1)):
            rows, columns = (int(side * random.uniform(0.08, 0.24)) for _ in range(2))
            if random.random() < 0.6:
                down, right = slice(0, rows), slice(0, columns)
                corner = (slice(side - rows, side) if vertical else down, slice(side - columns, side))
                hidden[corner if horizontal else (corner[0], right)] = level
    if random.random() < 0.15:
        wide = int(side * random.uniform(0.01, 0.07))
        hidden[:wide], hidden[side - wide :], hidden[:, :wide], hidden[:, side - wide :] = (level,) * 4
    if random.random() < 0.25:
        rows, columns = (int(side * random.uniform(0.1, 0.35)) for _ in range(2))
        top, left = int(random.integers(0, side - rows)), int(random.integers(0, side - columns))
        hidden[top : top + rows, left : left + columns] = level
    return hidden


def _to_grey(levels: NDArray[np.float64]) -> Grey:
    return np.asarray(np.clip(levels * 255.0 + 0.5, 0.0, 255.0), dtype=np.uint8)
