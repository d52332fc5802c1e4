"""Make pictures for people: window, scale, colour map, overlay; every PNG is freshly encoded without metadata."""

import functools
import io
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csss.imaging.volume import Pixels, Volume

Bytes = NDArray[np.uint8]
Heat = NDArray[np.float32]

OVERLAY_ALPHA = 0.4
CONTOUR_LEVEL = 0.5
_FADE = 0.15
_PERCENTILES = (1.0, 99.0)
# Percentiles of a large picture are taken from every n-th pixel: about this many are enough.
_SAMPLE = 250_000
_HOTTEST = 254
_CONTOUR_STEP = 255
_CONTOUR_COLOUR = (255, 255, 255, 230)


def to_display(volume: Volume, *, window: tuple[float, float] | None = None, max_side: int | None = None) -> Bytes:
    """Return the first frame for a screen: uint8, (rows, columns) or (rows, columns, 3).

    Grey values go through ``window`` (centre, width in pixel values), else the file's own, linear as in
    PS3.3 C.11.2.1.2; without one 8-bit pictures stay as they are and deeper ones are stretched between
    their 1st and 99th percentile. ``max_side`` shrinks the picture to at most so many pixels a side.
    """
    frame = volume.pixels[0]
    chosen = window or volume.window
    if volume.is_colour:
        display = frame if frame.dtype == np.uint8 else (frame / 257).astype(np.uint8)
    elif chosen is None and frame.dtype == np.uint8:
        display = frame
    else:
        display = _stretch(frame, *(_window_ends(*chosen) if chosen else _percentiles(frame)))
    return display.copy() if max_side is None else shrink(display, max_side)


def _window_ends(centre: float, width: float) -> tuple[float, float]:
    middle = centre - 0.5
    half = max(width - 1, 0.5) / 2
    return middle - half, middle + half


def _percentiles(frame: Pixels) -> tuple[float, float]:
    step = max(1, math.isqrt(frame.size // _SAMPLE))
    low, high = np.percentile(frame[::step, ::step], _PERCENTILES)
    if low == high:
        low, high = frame.min(), frame.max()
    return float(low), float(high)


def _stretch(frame: Pixels, low: float, high: float) -> Bytes:
    if high <= low:
        high = low + 1.0
    scaled = (frame.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    display: Bytes = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return display


def shrink(display: Bytes, max_side: int) -> Bytes:
    """Return the picture with its longer side at most ``max_side`` pixels, proportions kept; never enlarged."""
    rows, columns = display.shape[:2]
    scale = max_side / max(rows, columns)
    if scale >= 1:
        return display.copy()
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(Image.fromarray(display).resize(size, Image.Resampling.BOX, reducing_gap=None))


def png_bytes(picture: NDArray[Any]) -> bytes:
    """Return a PNG of uint8 (rows, columns), (rows, columns, 3) or (rows, columns, 4), without metadata."""
    encoded = io.BytesIO()
    # Runs and Huffman codes alone: on the noise of a radiograph a search for repeats costs five times the
    # time and finds next to nothing (grey 1024 x 1024: 22 ms and 456 kB; level 6: 117 ms and 471 kB).
    Image.fromarray(picture).save(encoded, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return encoded.getvalue()


def thumbnail(volume: Volume, *, max_side: int = 256) -> bytes:
    """Return a small PNG of the first frame."""
    return png_bytes(to_display(volume, max_side=max_side))


def jet(values: Heat) -> Bytes:
    """Return the jet colours of values in [0, 1]: uint8 of shape (..., 3), from blue through green to red."""
    position = 4.0 * np.clip(values, 0.0, 1.0)
    channels = [np.clip(1.5 - np.abs(position - peak), 0.0, 1.0) for peak in (3.0, 2.0, 1.0)]
    colours: Bytes = np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def overlay(heat: Heat, size: tuple[int, int], *, alpha: float = OVERLAY_ALPHA, contour: bool = True) -> Bytes:
    """Return the heat map as an RGBA layer of ``size`` (rows, columns), to be laid over the scan.

    ``heat`` is float32 (h, w) in [0, 1]. Where it is 0 the layer is transparent; from 0.15 upwards its opacity
    is ``alpha``. ``contour`` draws a line around all that is at least 0.5. Raises ValueError for other input.
    """
    layer: Bytes = _palette(alpha)[_steps(heat, size, contour=contour)]
    return layer


def _steps(heat: Heat, size: tuple[int, int], *, contour: bool) -> Bytes:
    """The heat of each pixel as an index into ``_palette``: 255 steps are more than an eye tells apart."""
    if heat.ndim != 2 or not np.isfinite(heat).all() or heat.min() < 0 or heat.max() > 1:
        raise ValueError("a heat map is two-dimensional with values in [0, 1]")
    rows, columns = size
    hot = (_enlarging(heat.shape[0], rows) @ heat) @ _enlarging(heat.shape[1], columns).T
    hot *= _HOTTEST
    steps: Bytes = np.clip(np.rint(hot, out=hot), 0, _HOTTEST, out=hot).astype(np.uint8)
    if contour:
        steps[_outline(steps >= _HOTTEST * CONTOUR_LEVEL, max(1, round(max(size) / 400)))] = _CONTOUR_STEP
    return steps


@functools.lru_cache(maxsize=16)
def _enlarging(coarse: int, fine: int) -> Heat:
    """Weights (fine, coarse) of Pillow's bicubic filter: a product of matrices costs a fraction of its resize."""
    return np.asarray(
        Image.fromarray(np.eye(coarse, dtype=np.float32)).resize((coarse, fine), Image.Resampling.BICUBIC)
    )


@functools.lru_cache(maxsize=8)
def _palette(alpha: float) -> Bytes:
    """RGBA of each step, uint8 (256, 4)."""
    values = np.arange(256, dtype=np.float32) / np.float32(_HOTTEST)
    opacity = np.rint(255 * alpha * np.clip(values / _FADE, 0.0, 1.0)).astype(np.uint8)
    palette = np.column_stack([jet(values), opacity])
    palette[0] = 0
    palette[_CONTOUR_STEP] = _CONTOUR_COLOUR
    palette.flags.writeable = False
    return palette


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    inner = mask
    for _ in range(width):
        framed = np.pad(inner, 1, mode="edge")
        inner = inner & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~inner


def overlay_png(heat: Heat, size: tuple[int, int], *, alpha: float = OVERLAY_ALPHA, contour: bool = True) -> bytes:
    """Return ``overlay`` as a PNG with a palette: an eighth of the work of four channels, and half the bytes."""
    palette = _palette(alpha)
    picture = Image.fromarray(_steps(heat, size, contour=contour))
    picture.putpalette(palette[:, :3].tobytes())
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=1, transparency=palette[:, 3].tobytes())
    return encoded.getvalue()


def blend_png(display: Bytes, heat: Heat, *, alpha: float = OVERLAY_ALPHA, contour: bool = True) -> bytes:
    """Return one RGB PNG of the scan with its heat map laid over it, for paper and for mail."""
    return png_bytes(np.asarray(blend(display, heat, alpha=alpha, contour=contour)))


def blend(display: Bytes, heat: Heat, *, alpha: float = OVERLAY_ALPHA, contour: bool = True) -> Image.Image:
    """Return the scan with its heat map laid over it, as an RGB picture."""
    layer = Image.fromarray(_steps(heat, (display.shape[0], display.shape[1]), contour=contour))
    layer.putpalette(_palette(alpha).tobytes(), "RGBA")
    scan = Image.fromarray(display).convert("RGBA")
    scan.alpha_composite(layer.convert("RGBA"))
    return scan.convert("RGB")
