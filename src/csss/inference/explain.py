"""Where in the picture the evidence lies: Grad-CAM in closed form, and the names of those regions."""

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csss.inference.head import Head

Floats = NDArray[np.float32]

_GRID = 96
_HOT = 0.5
_COVERED_SHARE = 0.25
OUTSIDE = "outside the lung fields"

# Plain geometry of an upright frontal view, as shares of width and height; no lung is segmented.
# The patient faces the viewer: the patient's right lung lies on the left of the picture.
_LUNGS = {"right": (0.10, 0.47), "left": (0.53, 0.90)}
_ZONES = {"upper": (0.12, 0.36), "middle": (0.36, 0.60), "lower": (0.60, 0.84)}


def grad_cam(features: Floats, hidden: Floats, head: Head, label_index: int) -> Floats:
    """Grad-CAM of one label, float32 (h, w) in [0, 1], without a backward pass.

    ``features`` A (K, h, w), ``hidden`` (H,) before the ReLU. With GAP -> Dense -> ReLU -> Dense the
    gradient of a logit with respect to A is the same at every position,
    g = w1^T (relu'(hidden) * w2[label]) / (h w), so the map of Selvaraju et al. 2017
    (arXiv:1610.02391) is relu(sum_k g_k A_k). All zero where nothing speaks for the label.
    """
    weights = grad_cam_weights(hidden, head, label_index) / np.float32(features.shape[1] * features.shape[2])
    heat = np.maximum(np.tensordot(weights, features, axes=1), 0.0)
    peak = float(heat.max())
    return (heat / peak if peak > 0.0 else np.zeros_like(heat)).astype(np.float32)


def grad_cam_weights(hidden: Floats, head: Head, label_index: int) -> Floats:
    """The gradient (K,) of one logit with respect to the pooled features."""
    weights: Floats = head.w1.T @ (np.where(hidden > 0.0, head.w2[label_index], 0.0))
    return weights


def name_regions(heat: Floats) -> tuple[str, ...]:
    """Names of the lung zones under the hot half (>= 0.5 of the peak) of ``heat`` (h, w), hottest first.

    A zone is named when the hot part covers a quarter of it or a quarter of the hot part lies in it;
    "outside the lung fields" comes first when most of the hot part lies there. The zones are fixed
    thirds of two rectangles of an upright frontal picture: an estimate, no anatomy. Right and left
    are the patient's.
    """
    grid = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((_GRID, _GRID), Image.Resampling.BILINEAR))
    hot = grid >= _HOT * float(grid.max())
    if float(grid.max()) <= 0.0:
        return ()
    total = int(hot.sum())
    inside = {name: int(hot[place].sum()) for name, place in _zones()}
    named = [name for name, place in _zones() if inside[name] >= _COVERED_SHARE * min(total, hot[place].size)]
    named.sort(key=lambda name: -inside[name])
    return ((OUTSIDE,) if 2 * sum(inside.values()) < total else ()) + tuple(named)


@functools.cache
def _zones() -> tuple[tuple[str, tuple[slice, slice]], ...]:
    return tuple(
        (f"{side} {zone} zone", (_span(*rows), _span(*columns)))
        for side, columns in _LUNGS.items()
        for zone, rows in _ZONES.items()
    )


def _span(start: float, stop: float) -> slice:
    return slice(round(start * _GRID), round(stop * _GRID))
