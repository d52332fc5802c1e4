"""Writes the pictures that both sides read: phantom chest radiographs of ours, the same at every run."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from csss.imaging.phantom import Finding, phantom_chest
from csss.imaging.render import blend_png, png_bytes

SEEDS = (1, 2, 3, 5)
"""Of phantoms that the shipped model explains by a heat map; the fourth is too unlike its training pictures."""
JPEG_QUALITY = 90


def write_scans(folder: Path, size_px: int) -> None:
    """Write a square grey JPEG file of ``size_px`` pixels a side for each seed."""
    for seed in SEEDS:
        (folder / f"{seed}.jpg").write_bytes(make_jpeg(_phantom(seed, size_px)))


def write_report_pictures(folder: Path, size_px: int) -> None:
    """Write scan.png (grey) and overlay.png (the scan under a heat map of 7 x 7) for a report."""
    scan = _phantom(1, size_px)
    rows, columns = np.mgrid[0:7, 0:7]
    heat = np.exp(-((rows - 4.0) ** 2 + (columns - 2.0) ** 2) / 4.0).astype(np.float32)
    (folder / "scan.png").write_bytes(png_bytes(scan))
    (folder / "overlay.png").write_bytes(blend_png(scan, heat))


def make_jpeg(pixels: np.ndarray) -> bytes:
    """The JPEG file of a grey picture uint8 (rows, columns)."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def _phantom(seed: int, size_px: int) -> np.ndarray:
    return phantom_chest(seed, size=(size_px, size_px), finding=Finding.OPACITY)
