"""Whether heat maps point at findings: pictures with one diseased half, and maps of a head without knowledge."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csss.inference.explain import choose_explained, grad_cam, share_inside
from csss.inference.framing import spread_heat
from csss.inference.head import Head
from csss.inference.lungs import estimate_lungs
from csss.inference.prediction import Prediction
from csss.inference.prepare import choose_frame, prepare_grey
from csss.inference.shelf import Model
from training.archive import Sample, read_grey
from training.datasets.files import Files

Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

NORMAL = "Normal"
"""The label that names no finding."""
_SIDE_PX = 240
_SEAM_PX = 16
_GRID = 96
_PER_SOURCE = 100
_PLAIN = 200


@dataclass(frozen=True, slots=True)
class Localisation:
    """``pictures`` of a Normal whose right or left half is that of a diseased picture of the same source.

    The map is that of the likeliest finding, as it is shown. ``hits`` is the share whose hottest point lies in the
    diseased half (a pointing game of two places, chance 0.5; after Zhang et al. 2018,
    doi:10.1007/s11263-017-1059-x), ``low`` and ``high`` its 95 % interval (Wilson 1927), ``share`` the mean share of
    the heat there. ``alone`` are the hits of plain Grad-CAM on the same pictures, held against no other label.
    ``alike`` is the mean correlation of plain pictures' maps with those of the same features under a random head
    (Adebayo et al. 2018, arXiv:1810.03292): near 1 would mean that the maps do not depend on what the head has
    learned. ``inside`` is the mean share of the heat within the estimated lung fields of plain pictures.
    """

    pictures: int
    hits: float
    low: float
    high: float
    share: float
    alike: float
    inside: float
    alone: float


def localise(
    model: Model,
    head: Head,
    archive: Path,
    samples: tuple[Sample, ...],
    answers: tuple[Prediction | None, ...],
    seed: int,
) -> Localisation:
    """Measure the maps of ``model`` on the test ``samples`` (n) with their ``answers`` (n)."""
    random = np.random.default_rng(seed)
    hits, alone, shares, alike, inside = [], [], [], [], []
    with Files(archive) as pictures:
        for diseased, normal in _pair(samples, random):
            on_left = bool(random.random() < 0.5)
            grey = join_halves(read_grey(pictures, diseased), read_grey(pictures, normal), on_left)
            heat, plain = _maps_of_finding(model, head, grey)
            hit, share = weigh_half(heat, on_left)
            hits.append(hit)
            shares.append(share)
            alone.append(weigh_half(plain, on_left)[0])
        for index in random.permutation(len(samples))[:_PLAIN]:
            answer = answers[int(index)]
            if answer is None or answer.heat is None:
                continue
            grey = read_grey(pictures, samples[int(index)])
            inside.append(share_inside(answer.heat, estimate_lungs(grey)))
            alike += _compare(model, head, grey, answer, random)
    low, high = wilson(sum(hits), len(hits))
    return Localisation(len(hits), _mean(hits), low, high, _mean(shares), _mean(alike), _mean(inside), _mean(alone))


def join_halves(diseased: Grey, normal: Grey, on_left: bool) -> Grey:
    """``normal`` with its left or right half taken from ``diseased``, uint8 (240, 240).

    The greys of the diseased picture are brought to the other's mean and spread; the seam runs through the
    mediastinum and is 16 pixels soft.
    """
    first, second = (np.asarray(_square(grey), dtype=np.float64) for grey in (diseased, normal))
    first = (first - first.mean()) / max(first.std(), 1.0) * second.std() + second.mean()
    ramp = np.clip((np.arange(_SIDE_PX) + 0.5 - _SIDE_PX / 2) / _SEAM_PX + 0.5, 0.0, 1.0)
    weight = (1.0 - ramp if on_left else ramp)[None]
    return np.asarray(np.clip(weight * first + (1.0 - weight) * second, 0.0, 255.0), dtype=np.uint8)


def weigh_half(heat: Floats, on_left: bool) -> tuple[bool, float]:
    """Whether the hottest point of ``heat`` (h, w) lies in that half of the picture, and the half's share of heat.

    A cold map points nowhere: no hit, no share.
    """
    if not heat.any():
        return False, 0.0
    fine = np.maximum(np.asarray(Image.fromarray(heat).resize((_GRID, _GRID), Image.Resampling.BICUBIC)), 0.0)
    column = int(np.unravel_index(int(fine.argmax()), fine.shape)[1])
    left = float(fine[:, : _GRID // 2].sum() / fine.sum())
    return (column < _GRID // 2) == on_left, left if on_left else 1.0 - left


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``hits`` in ``count`` (Wilson 1927); (0, 1) for nothing."""
    if count == 0:
        return 0.0, 1.0
    z, share = 1.96, hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))


def _pair(samples: tuple[Sample, ...], random: np.random.Generator) -> Iterable[tuple[Sample, Sample]]:
    """Diseased pictures with a Normal of the same source, at most a hundred of each source."""
    for source in sorted({sample.source for sample in samples}):
        normals = [sample for sample in samples if (sample.source, sample.label) == (source, NORMAL)]
        diseased = [sample for sample in samples if sample.source == source and sample.label != NORMAL]
        if normals:
            for index in random.permutation(len(diseased))[:_PER_SOURCE]:
                yield diseased[int(index)], normals[int(random.integers(len(normals)))]


def _maps_of_finding(model: Model, head: Head, grey: Grey) -> tuple[Floats, Floats]:
    """The map of the finding that is explained, as it is shown and as plain Grad-CAM; cold where nothing speaks."""
    features, hidden, logits = _look(model, head, grey)
    plain = model.card.index_of(model.card.explanation.against)
    of, against = choose_explained(int(logits.argmax()), logits, plain)
    frame = choose_frame(grey, model.card.input)
    shown, alone = (spread_heat(grad_cam(features, hidden, head, of, rival), frame) for rival in (against, None))
    return shown, alone


def _look(model: Model, head: Head, grey: Grey) -> tuple[Floats, Floats, Floats]:
    batch = prepare_grey(grey, model.card.input, choose_frame(grey, model.card.input))
    features = model.features(batch)[0]
    hidden, logits = head.logits(features.mean(axis=(1, 2)))
    return features, hidden, logits


def _compare(model: Model, head: Head, grey: Grey, answer: Prediction, random: np.random.Generator) -> list[float]:
    """Correlation of the map with that of a head of the same spread drawn at random; none where one map is flat."""
    features, _, _ = _look(model, head, grey)
    label, rival = model.card.index_of(answer.heat_of), model.card.index_of(answer.heat_against)
    if label is None or answer.heat is None or answer.heat.std() == 0.0:
        return []
    w1 = random.normal(0.0, float(head.w1.std()), head.w1.shape).astype(np.float32)
    w2 = random.normal(0.0, float(head.w2.std()), head.w2.shape).astype(np.float32)
    drawn = Head(w1, head.b1, w2, head.b2, head.centre, head.directions, head.class_means, head.residual_scale)
    other = grad_cam(features, drawn.logits(features.mean(axis=(1, 2)))[0], drawn, label, rival)
    other = spread_heat(other, choose_frame(grey, model.card.input))
    if other.std() == 0.0:
        return []
    return [float(np.corrcoef(answer.heat.ravel(), other.ravel())[0, 1])]


def _square(grey: Grey) -> Image.Image:
    return Image.fromarray(grey).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR)


def _mean(values: list[float] | list[bool]) -> float:
    return float(np.mean(values)) if values else 0.0
