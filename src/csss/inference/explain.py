"""Where in the picture the evidence lies: Grad-CAM in closed form, and the names of those regions."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Zone:
    """A third of one lung field, in cells of the grid."""

    side: str
    height: str
    area: int
    hot: int

    @property
    def name(self) -> str:
        return f"{self.side} {self.height} zone"

    @property
    def covered(self) -> bool:
        return self.hot > 0 and self.hot >= _ZONE_COVERED * self.area


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


def choose_explained(
    top_index: int, probabilities: NDArray[np.floating], plain_index: int | None
) -> tuple[int, int | None]:
    """The label whose map is shown, and the one it is held against (None: no other).

    ``plain_index`` is the label that names no finding: every finding is held against it. Where it is the likeliest
    itself, the likeliest finding is explained, for a doctor who doubts: what speaks against a finding lies nowhere.
    """
    if plain_index is None or top_index != plain_index:
        return top_index, plain_index
    others = [index for index in range(len(probabilities)) if index != plain_index]
    return max(others, key=lambda index: float(probabilities[index])), plain_index


def name_regions(heat: Floats, lungs: LungFields | None = None) -> tuple[str, ...]:
    """Names of the lung zones under the hot half (>= 0.5 of the peak) of ``heat`` (h, w), hottest first.

    A zone is a third of the height of one lung field of ``lungs`` (fixed rectangles when not given): an estimate, no
    anatomy. It is named when the hot part covers half of it or a quarter of the hot part lies in it; where none is,
    the hottest one is. Three zones of one side that are half covered are "right lung" or "left lung", all six "both
    lungs". "Outside the lung fields" comes first when most of the hot part lies farther from both fields than half a
    cell of the heat map, which tells no finer; then no zone need be named. Right and left are the patient's.
    """
    grid = _on_grid(heat)
    peak = float(grid.max())
    if not peak > 0.0:
        return ()
    fields = lungs or fixed_fields()
    hot = grid >= _HOT * peak
    zones = _zones(fields, hot)
    near = _widen(fields.right | fields.left, GRID / (2.0 * max(heat.shape)))
    away = 2 * int((hot & near).sum()) < int(hot.sum())
    named = [zone for zone in zones if zone.covered or (zone.hot and zone.hot >= _HEAT_HELD * int(hot.sum()))]
    if not named and not away:
        named = [max(zones, key=lambda zone: zone.hot)]
    named.sort(key=lambda zone: -zone.hot)
    return ((OUTSIDE,) if away else ()) + _join(named)


def _join(named: list[_Zone]) -> tuple[str, ...]:
    """Zone names in their order, those of a lung of which every zone is covered as one in the place of its first."""
    covered = [zone.side for zone in named if zone.covered]
    whole = [side for side in _SIDES if covered.count(side) == len(_ZONES)]
    if len(whole) == len(_SIDES):
        return ("both lungs",)
    return tuple(dict.fromkeys(f"{zone.side} lung" if zone.side in whole else zone.name for zone in named))


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


def _zones(lungs: LungFields, hot: NDArray[np.bool_]) -> list[_Zone]:
    """The three zones of each lung field, and how many of their cells are hot."""
    zones = []
    for side, field in zip(_SIDES, (lungs.right, lungs.left), strict=True):
        areas, covered = field.sum(axis=1), (field & hot).sum(axis=1)
        rows = np.flatnonzero(areas)
        ends = np.rint(np.linspace(rows[0], rows[-1] + 1, len(_ZONES) + 1)).astype(int).tolist()
        for height, start, stop in zip(_ZONES, ends, ends[1:], strict=False):
            zones.append(_Zone(side, height, int(areas[start:stop].sum()), int(covered[start:stop].sum())))
    return zones


def _widen(mask: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
    """The mask and all within so many pixels of it, along rows and columns."""
    white = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(white.filter(ImageFilter.BoxBlur(margin))) > 0
