"""Make pictures for people: window, scale, colour map, overlay; every PNG is freshly encoded without metadata."""

import io
import math
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
    Image.fromarray(picture).save(encoded, "PNG", compress_level=6)
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
    if heat.ndim != 2 or not np.isfinite(heat).all() or heat.min() < 0 or heat.max() > 1:
        raise ValueError("a heat map is two-dimensional with values in [0, 1]")
    rows, columns = size
    image = Image.fromarray(np.ascontiguousarray(heat, dtype=np.float32))
    spread = np.clip(np.asarray(image.resize((columns, rows), Image.Resampling.BICUBIC)), 0.0, 1.0)
    opacity = np.rint(255 * alpha * np.clip(spread / _FADE, 0.0, 1.0)).astype(np.uint8)
    layer = np.dstack([jet(spread), opacity])
    layer[opacity == 0] = 0
    if contour:
        layer[_outline(spread >= CONTOUR_LEVEL, max(1, round(max(size) / 400)))] = _CONTOUR_COLOUR
    return layer


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    inner = mask
    for _ in range(width):
        framed = np.pad(inner, 1, mode="edge")
        inner = inner & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~inner


def overlay_png(heat: Heat, size: tuple[int, int], *, alpha: float = OVERLAY_ALPHA, contour: bool = True) -> bytes:
    """Return ``overlay`` as an RGBA PNG."""
    return png_bytes(overlay(heat, size, alpha=alpha, contour=contour))


def blend_png(display: Bytes, heat: Heat, *, alpha: float = OVERLAY_ALPHA, contour: bool = True) -> bytes:
    """Return one RGB PNG of the scan with its heat map laid over it, for paper and for mail."""
    rows, columns = display.shape[:2]
    scan = np.repeat(display[..., np.newaxis], 3, axis=2) if display.ndim == 2 else display
    layer = overlay(heat, (rows, columns), alpha=alpha, contour=contour)
    opacity = layer[..., 3:].astype(np.float32) / 255.0
    blended = scan * (1.0 - opacity) + layer[..., :3] * opacity
    return png_bytes(np.rint(blended).astype(np.uint8))
