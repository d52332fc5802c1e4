"""Where in the picture the evidence lies: Grad-CAM in closed form, and the names of those regions."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from csss.inference.head import Head
from csss.inference.lungs import GRID, LungFields, fixed_fields

Floats = NDArray[np.float32]

_HOT = 0.5
_ZONE_COVERED = 0.5
_HEAT_HELD = 0.25
_SIDES = ("right", "left")
_ZONES = ("upper", "middle", "lower")
OUTSIDE = "outside the lung fields"


def grad_cam(features: Floats, hidden: Floats, head: Head, label_index: int, rival_index: int | None = None) -> Floats:
    """Grad-CAM of one label, float32 (h, w) in [0, 1], without a backward pass.

    ``features`` A (K, h, w), ``hidden`` (H,) before the ReLU. With GAP -> Dense -> ReLU -> Dense the
    gradient of a logit with respect to A is the same at every position,
    g = w1^T (relu'(hidden) * w2[label]) / (h w), so the map of Selvaraju et al. 2017
    (arXiv:1610.02391) is relu(sum_k g_k A_k). With a rival it is that of the logit less the rival's
    (contrastive explanation, Prabhushankar et al. 2020, arXiv:2008.00178): what speaks for the one rather than
    for the other. All zero where nothing does.
    """
    weights = grad_cam_weights(hidden, head, label_index, rival_index)
    heat = np.maximum(np.tensordot(weights / np.float32(features[0].size), features, axes=1), 0.0)
    peak = float(heat.max())
    return (heat / peak if peak > 0.0 else np.zeros_like(heat)).astype(np.float32)


def grad_cam_weights(hidden: Floats, head: Head, label_index: int, rival_index: int | None = None) -> Floats:
    """The gradient (K,) of one logit, less that of its rival, with respect to the pooled features."""
    second = head.w2[label_index] if rival_index is None else head.w2[label_index] - head.w2[rival_index]
    weights: Floats = head.w1.T @ (np.where(hidden > 0.0, second, 0.0))
    return weights


def find_rival(label_index: int, logits: Floats, plain_index: int | None) -> int | None:
    """What the map of a label is held against: the label ``plain_index`` that names no finding.

    That label itself is held against the likeliest other one. None without such a label.
    """
    if plain_index is None or label_index != plain_index:
        return plain_index
    others = [index for index in range(len(logits)) if index != plain_index]
    return max(others, key=lambda index: float(logits[index]))


def name_regions(heat: Floats, lungs: LungFields | None = None) -> tuple[str, ...]:
    """Names of the lung zones under the hot half (>= 0.5 of the peak) of ``heat`` (h, w), hottest first.

    A zone is a third of the height of one lung field of ``lungs`` (fixed rectangles when not given): an estimate, no
    anatomy. It is named when the hot part covers half of it or a quarter of the hot part lies in it; three zones of
    one side are "right lung" or "left lung", all six "both lungs". "Outside the lung fields" comes first when no zone
    is named, or when most of the hot part lies farther from both fields than half a cell of the heat map, which tells
    no finer. Right and left are the patient's.
    """
    grid = _on_grid(heat)
    peak = float(grid.max())
    if not peak > 0.0:
        return ()
    fields = lungs or fixed_fields()
    hot = grid >= _HOT * peak
    total = int(hot.sum())
    zones = _zones(fields, hot)
    named = [name for name, area, inside in zones if inside and inside >= min(_ZONE_COVERED * area, _HEAT_HELD * total)]
    inside = {name: covered for name, _, covered in zones}
    named.sort(key=lambda name: -inside[name])
    near = _widen(fields.right | fields.left, GRID / (2.0 * max(heat.shape)))
    away = not named or 2 * int((hot & near).sum()) < total
    return ((OUTSIDE,) if away else ()) + _join(named)


def _join(named: list[str]) -> tuple[str, ...]:
    """Zone names in their order, those of a whole lung as one in the place of its first."""
    whole = [side for side in _SIDES if all(_zone(side, height) in named for height in _ZONES)]
    if len(whole) == len(_SIDES):
        return ("both lungs",)
    lungs = {_zone(side, height): f"{side} lung" for side in whole for height in _ZONES}
    return tuple(dict.fromkeys(lungs.get(name, name) for name in named))


def _zone(side: str, height: str) -> str:
    return f"{side} {height} zone"


def share_inside(heat: Floats, lungs: LungFields) -> float:
    """The share in [0, 1] of the sum of ``heat`` (h, w) that lies in the two lung fields; 0 for a cold map.

    Even heat gives the fields' share of the picture, about a quarter: what a map without any aim would reach.
    """
    grid = _on_grid(heat)
    total = float(grid.sum(dtype=np.float64))
    return float(grid[lungs.right | lungs.left].sum(dtype=np.float64)) / total if total > 0.0 else 0.0


def _on_grid(heat: Floats) -> Floats:
    whole = Image.fromarray(np.asarray(heat, dtype=np.float32))
    return np.asarray(whole.resize((GRID, GRID), Image.Resampling.BILINEAR))


def _zones(lungs: LungFields, hot: NDArray[np.bool_]) -> list[tuple[str, int, int]]:
    """Name, area and hot area of each third of each lung field, in cells of the grid."""
    zones = []
    for side, field in zip(_SIDES, (lungs.right, lungs.left), strict=True):
        areas, covered = field.sum(axis=1), (field & hot).sum(axis=1)
        rows = np.flatnonzero(areas)
        ends = np.rint(np.linspace(rows[0], rows[-1] + 1, len(_ZONES) + 1)).astype(int).tolist()
        for zone, start, stop in zip(_ZONES, ends, ends[1:], strict=False):
            zones.append((_zone(side, zone), int(areas[start:stop].sum()), int(covered[start:stop].sum())))
    return zones


def _widen(mask: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
    """The mask and all within so many pixels of it, along rows and columns."""
    white = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(white.filter(ImageFilter.BoxBlur(margin))) > 0
