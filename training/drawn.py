"""Draw what a person may upload by mistake: blank and noisy pictures, documents, screenshots, masks, charts."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Grey = NDArray[np.uint8]
Draw = Callable[[np.random.Generator], Grey]

_LETTERS = list("abcdefghijklmnopqrstuvwxyz      ABCDEFGHIKLMNOPRST0123456789.,:-")


def draw_blank(random: np.random.Generator) -> Grey:
    """One level, or nearly."""
    level = int(random.integers(0, 256))
    spread = random.uniform(0.0, 3.0)
    return _to_grey(level + random.normal(0.0, spread, _size(random)))


def draw_gradient(random: np.random.Generator) -> Grey:
    """A smooth ramp or a bright spot."""
    rows, columns = _size(random)
    y, x = np.mgrid[-1.0 : 1.0 : rows * 1j, -1.0 : 1.0 : columns * 1j]
    angle, bend = random.uniform(0.0, 2.0 * np.pi), random.uniform(0.0, 2.0)
    ramp = x * np.cos(angle) + y * np.sin(angle) + bend * np.exp(-(x**2 + y**2) * random.uniform(0.5, 6.0))
    ramp = (ramp - ramp.min()) / (np.ptp(ramp) + 1e-9)
    return _to_grey(255.0 * (ramp if random.random() < 0.5 else 1.0 - ramp))


def draw_noise(random: np.random.Generator) -> Grey:
    """Noise whose amplitude falls with frequency by a random power: snow to clouds."""
    rows, columns = _size(random)
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    radius[0, 0] = 1.0
    spectrum = np.fft.rfft2(random.normal(size=(rows, columns))) / radius ** random.uniform(0.0, 2.2)
    field = np.fft.irfft2(spectrum, s=(rows, columns))
    low, high = np.percentile(field, (2.0, 98.0))
    return _to_grey(255.0 * (field - low) / (high - low))


def draw_document(random: np.random.Generator) -> Grey:
    """Lines of text on paper, sometimes in columns, sometimes white on dark."""
    rows, columns = _size(random)
    image = Image.new("L", (columns, rows), int(random.integers(225, 256)))
    draw = ImageDraw.Draw(image)
    size = int(random.integers(7, 16))
    top = int(random.integers(4, 40))
    while top < rows - size:
        if random.random() < 0.9:
            left = int(random.integers(6, 24))
            draw.text(
                (left, top), _words(random, int(columns / size * 1.6)), fill=int(random.integers(0, 80)), font_size=size
            )
        top += int(size * random.uniform(1.1, 2.2))
    page = np.asarray(image)
    return np.asarray(255 - page, dtype=np.uint8) if random.random() < 0.25 else page


def draw_screenshot(random: np.random.Generator) -> Grey:
    """Bars, panels, buttons and words of a program."""
    rows, columns = _size(random)
    image = Image.new("L", (columns, rows), int(random.integers(0, 256)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(4, 16))):
        left, top = int(random.integers(0, columns - 20)), int(random.integers(0, rows - 12))
        right, bottom = left + int(random.integers(16, columns)), top + int(random.integers(8, rows // 2))
        draw.rectangle((left, top, right, bottom), fill=int(random.integers(0, 256)))
    for _ in range(int(random.integers(4, 24))):
        place = (int(random.integers(0, columns)), int(random.integers(0, rows)))
        draw.text(place, _words(random, 18), fill=int(random.integers(0, 256)), font_size=int(random.integers(7, 18)))
    return np.asarray(image)


def draw_mask(random: np.random.Generator) -> Grey:
    """White shapes on black, as a lung mask has them."""
    rows, columns = _size(random)
    image = Image.new("L", (columns, rows), 0)
    draw = ImageDraw.Draw(image)
    for centre in (0.3, 0.7):
        wide, tall = columns * random.uniform(0.1, 0.2), rows * random.uniform(0.2, 0.42)
        x, y = columns * (centre + random.uniform(-0.05, 0.05)), rows * random.uniform(0.4, 0.6)
        draw.ellipse((x - wide, y - tall, x + wide, y + tall), fill=255)
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 4.0)))
    return np.asarray(image)


def draw_chart(random: np.random.Generator) -> Grey:
    """Curves on a grid: a chart, an ECG strip."""
    rows, columns = _size(random)
    dark = random.random() < 0.4
    image = Image.new("L", (columns, rows), 10 if dark else 250)
    draw = ImageDraw.Draw(image)
    step = int(random.integers(8, 32))
    for place in range(0, max(rows, columns), step):
        level = 50 if dark else 215
        draw.line((place, 0, place, rows), fill=level)
        draw.line((0, place, columns, place), fill=level)
    for _ in range(int(random.integers(1, 5))):
        heights = rows * (random.uniform(0.2, 0.8) + 0.1 * np.cumsum(random.normal(0.0, 0.15, columns // 3)))
        points = [(3.0 * index, float(height)) for index, height in enumerate(heights)]
        draw.line(points, fill=240 if dark else 20, width=int(random.integers(1, 4)))
    return np.asarray(image)


def draw_shapes(random: np.random.Generator) -> Grey:
    """Soft ellipses on a dark ground: like a body part, but none."""
    rows, columns = _size(random)
    image = Image.new("L", (columns, rows), int(random.integers(0, 60)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(2, 9))):
        wide, tall = columns * random.uniform(0.05, 0.4), rows * random.uniform(0.05, 0.4)
        x, y = random.uniform(0.0, columns), random.uniform(0.0, rows)
        draw.ellipse((x - wide, y - tall, x + wide, y + tall), fill=int(random.integers(30, 256)))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 9.0))), dtype=np.float64)
    return _to_grey(soft + random.normal(0.0, random.uniform(0.0, 12.0), soft.shape))


DRAWINGS: dict[str, Draw] = {
    "blank": draw_blank,
    "gradient": draw_gradient,
    "noise": draw_noise,
    "document": draw_document,
    "screenshot": draw_screenshot,
    "mask": draw_mask,
    "chart": draw_chart,
    "shapes": draw_shapes,
}


def enclose(grey: Grey, random: np.random.Generator) -> Grey:
    """``grey`` as a part of a larger picture: in a program's window, on paper, or twice side by side."""
    surround = (draw_screenshot, draw_document)[int(random.integers(2))](random)
    picture = Image.fromarray(surround)
    times = 2 if random.random() < 0.35 else 1
    share = random.uniform(0.3, 0.62) if times == 1 else random.uniform(0.35, 0.47)
    for index in range(times):
        size = (int(picture.width * share), int(picture.height * share * random.uniform(0.8, 1.2)))
        small = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)
        free = (picture.width - size[0], max(picture.height - size[1], 1))
        left = int(random.integers(0, max(free[0], 1))) if times == 1 else int(picture.width * (0.02 + 0.5 * index))
        picture.paste(small, (left, int(random.integers(0, free[1]))))
    return np.asarray(picture)


def _size(random: np.random.Generator) -> tuple[int, int]:
    rows, columns = random.integers(160, 257, 2)
    return int(rows), int(columns)


def _words(random: np.random.Generator, letters: int) -> str:
    return "".join(random.choice(_LETTERS, size=int(random.integers(3, max(letters, 4)))))


def _to_grey(levels: NDArray[np.floating]) -> Grey:
    return np.asarray(np.clip(levels, 0.0, 255.0), dtype=np.uint8)
