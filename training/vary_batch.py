"""Vary a whole batch of pictures at once: frame, tone, sharpness, grain, blots; never a flip, which swaps sides."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from csss.inference.card import InputSpec

_REDUCED_PX = 200
_MARGIN_PX = 24


@dataclass(frozen=True, slots=True)
class Strength:
    """How far pictures are varied; ``blots`` also hides corners and rectangles and adds grain."""

    rotation_degrees: float
    least_area: float
    blots: bool


MILD = Strength(7.0, 0.75, blots=False)
STRONG = Strength(10.0, 0.55, blots=True)


def vary_batch(
    greys: NDArray[np.uint8], spec: InputSpec, side_px: int, strength: Strength, random: torch.Generator
) -> torch.Tensor:
    """Variants of ``greys`` uint8 (n, rows, columns), normalised, float32 (n, 3, side_px, side_px)."""
    pictures = torch.from_numpy(np.array(greys)).float().unsqueeze(1) / 255.0
    pictures = _frame(pictures, side_px, strength, random)
    pictures = _expose(pictures, random)
    pictures = _sharpen(pictures, random)
    if strength.blots:
        pictures = _hide(_grain(pictures, random).clamp(0.0, 1.0), side_px, random)
    return normalise(pictures.clamp(0.0, 1.0), spec)


def show_batch(greys: NDArray[np.uint8], spec: InputSpec, side_px: int) -> torch.Tensor:
    """``greys`` uint8 (n, rows, columns) as they are, normalised, float32 (n, 3, side_px, side_px)."""
    pictures = torch.from_numpy(np.array(greys)).float().unsqueeze(1) / 255.0
    if side_px != greys.shape[1]:
        pictures = _resize(pictures, side_px)
    return normalise(pictures, spec)


def normalise(pictures: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """(grey - mean) / std of grey pictures (n, 1, h, w) in [0, 1], as `csss.inference.prepare` does."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    return ((pictures - mean) / std).contiguous(memory_format=torch.channels_last)


def _draw(count: int, low: float, high: float, random: torch.Generator) -> torch.Tensor:
    return torch.rand(count, generator=random) * (high - low) + low


def _resize(pictures: torch.Tensor, side_px: int) -> torch.Tensor:
    size = (side_px, side_px)
    return functional.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)


def _frame(pictures: torch.Tensor, side_px: int, strength: Strength, random: torch.Generator) -> torch.Tensor:
    """Rotate, crop and stretch in one resampling."""
    count = len(pictures)
    turn = _draw(count, -1.0, 1.0, random) * strength.rotation_degrees * math.pi / 180.0
    scale = torch.sqrt(_draw(count, strength.least_area, 1.05, random))
    stretch = torch.exp(_draw(count, -0.1, 0.1, random))
    wide, tall = scale * stretch, scale / stretch
    right = _draw(count, -1.0, 1.0, random) * (1.0 - wide).clamp(min=0.0)
    down = _draw(count, -1.0, 1.0, random) * (1.0 - tall).clamp(min=0.0)
    first = torch.stack([wide * turn.cos(), -tall * turn.sin(), right], 1)
    second = torch.stack([wide * turn.sin(), tall * turn.cos(), down], 1)
    grid = functional.affine_grid(torch.stack([first, second], 1), [count, 1, side_px, side_px], align_corners=False)
    if side_px < _REDUCED_PX:
        pictures = _resize(pictures, side_px + _MARGIN_PX)
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _expose(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    count = len(pictures)
    gamma = torch.exp(_draw(count, -0.45, 0.45, random)).view(count, 1, 1, 1)
    contrast = _draw(count, 0.7, 1.3, random).view(count, 1, 1, 1)
    brightness = _draw(count, -0.12, 0.12, random).view(count, 1, 1, 1)
    return ((pictures.clamp(0.0, 1.0) + 1e-4) ** gamma - 0.5) * contrast + 0.5 + brightness


def _sharpen(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Half of the pictures blurred or sharpened, between -0.6 and 1 of the way to their 3 x 3 mean."""
    count = len(pictures)
    soft = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    chosen = torch.rand(count, generator=random) < 0.5
    share = torch.where(chosen, _draw(count, -0.6, 1.0, random), torch.zeros(count)).view(count, 1, 1, 1)
    return pictures + (soft - pictures) * share


def _grain(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    count = len(pictures)
    chosen = torch.rand(count, generator=random) < 0.3
    level = torch.where(chosen, _draw(count, 0.0, 0.03, random), torch.zeros(count)).view(count, 1, 1, 1)
    return pictures + torch.randn(pictures.shape, generator=random) * level


def _hide(pictures: torch.Tensor, side_px: int, random: torch.Generator) -> torch.Tensor:
    """Blot some corners, where markers are, or a rectangle anywhere."""
    for picture in pictures:
        draw = torch.rand(8, generator=random).tolist()
        level = draw[0] if draw[1] < 0.5 else float(picture.median())
        if draw[2] < 0.3:
            wide = int(side_px * (0.08 + 0.14 * draw[3]))
            corners = ((slice(None, wide), slice(None, wide), draw[4] < 0.6),
                       (slice(None, wide), slice(-wide, None), draw[4] > 0.3),
                       (slice(-wide, None), slice(None, wide), draw[5] < 0.5),
                       (slice(-wide, None), slice(-wide, None), draw[6] < 0.5))  # fmt: skip
            for rows, columns, blotted in corners:
                if blotted:
                    picture[:, rows, columns] = level
        elif draw[2] < 0.45:
            tall, wide = int(side_px * (0.1 + 0.2 * draw[3])), int(side_px * (0.1 + 0.2 * draw[4]))
            top, left = int(draw[5] * (side_px - tall)), int(draw[6] * (side_px - wide))
            picture[:, top : top + tall, left : left + wide] = level
    return pictures
