"""Small pictures for tests, made in code."""

import io

import numpy as np
from PIL import Image


def picture_png(seed: int = 3, *, rows: int = 40, columns: int = 48) -> bytes:
    """A grey PNG of noise; another seed gives another picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)
    return encode(pixels, "PNG")


def picture_jpeg(seed: int = 3, *, rows: int = 40, columns: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)
    return encode(pixels, "JPEG")


def encode(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
