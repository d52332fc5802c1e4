"""Whether heat maps point at findings: opacities put at known places, and maps of a model without knowledge."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.explain import grad_cam, share_inside
from csss.inference.framing import spread_heat
from csss.inference.head import Head
from csss.inference.lungs import LungFields, estimate_lungs
from csss.inference.prediction import InferenceRefused, Prediction
from csss.inference.prepare import choose_frame, prepare_grey
from csss.inference.shelf import Model
from training.archive import Sample, read_grey

Grey = NDArray[np.uint8]

_PICTURES = 200
_RADIUS = 0.11
"""Of the picture's shorter side: as wide as a segment of a lung."""
_NEAR = 1.5
_GRID = 96
_NORMAL = "Normal"


@dataclass(frozen=True, slots=True)
class Localisation:
    """``pictures`` Normals with an opacity put into one lung field, whose likeliest label then was a finding.

    ``hits`` is the share whose hottest point lies within 1.5 radii of the opacity's centre (pointing game,
    Zhang et al. 2018), ``chance`` the share that a point drawn uniformly from the lung fields would have.
    ``changed`` is the share of all pictures whose likeliest label became a finding. ``alike`` is the mean
    correlation of the maps with those of the same features under a random head (Adebayo et al. 2018,
    arXiv:1810.03292): near 1 would mean that the maps do not depend on what the head has learned.
    ``inside`` is the mean share of heat within the estimated lung fields over plain test pictures.
    """

    pictures: int
    hits: float
    chance: float
    changed: float
    alike: float
    inside: float


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
    normals = [sample for sample in samples if sample.label == _NORMAL]
    chosen = [normals[int(index)] for index in random.permutation(len(normals))[:_PICTURES]]
    hits, chances, tried, alike, inside = [], [], 0, [], []
    with zipfile.ZipFile(archive) as pictures:
        for sample in chosen:
            grey = read_grey(pictures, sample)
            lungs = estimate_lungs(grey)
            if not lungs.plausible:
                continue
            tried += 1
            centre = _choose_place(lungs, random)
            heat = _heat_of_finding(model, _implant(grey, centre, random))
            if heat is not None:
                hits.append(_points_at(heat, centre, grey.shape))
                chances.append(_chance(lungs, centre, grey.shape))
        for sample, answer in list(zip(samples, answers, strict=True))[:_PICTURES]:
            if answer is None or answer.heat is None or answer.heat.max() <= 0.0:
                continue
            grey = read_grey(pictures, sample)
            inside.append(share_inside(answer.heat, estimate_lungs(grey)))
            alike += _compare(model, head, grey, answer, random)
    return Localisation(
        pictures=len(hits),
        hits=_mean(hits),
        chance=_mean(chances),
        changed=len(hits) / max(tried, 1),
        alike=_mean(alike),
        inside=_mean(inside),
    )


def _heat_of_finding(model: Model, grey: Grey) -> NDArray[np.float32] | None:
    """The map of a picture whose likeliest label is a finding; None for any other, and for one the gate refuses."""
    try:
        said = model.predict(Volume(pixels=grey[None], kind=FileKind.PNG))
    except InferenceRefused:
        return None
    found = said.top_label != _NORMAL and said.heat is not None and said.heat.max() > 0.0
    return said.heat if found else None


def _choose_place(lungs: LungFields, random: np.random.Generator) -> tuple[float, float]:
    """A place (down, across) in shares of the picture, inside one of the fields."""
    rows, columns = np.nonzero(lungs.right if random.random() < 0.5 else lungs.left)
    index = int(random.integers(len(rows)))
    return (float(rows[index]) + 0.5) / lungs.right.shape[0], (float(columns[index]) + 0.5) / lungs.right.shape[1]


def _implant(grey: Grey, centre: tuple[float, float], random: np.random.Generator) -> Grey:
    """A soft uneven brightening around ``centre``, as consolidated lung has it."""
    rows, columns = grey.shape
    y, x = np.mgrid[0:rows, 0:columns]
    radius = _RADIUS * min(rows, columns)
    distance = np.hypot(y - centre[0] * rows, x - centre[1] * columns) / radius
    noise = Image.fromarray(random.integers(0, 256, grey.shape).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(radius / 6)
    )
    texture = np.asarray(noise, dtype=np.float64)
    texture = 0.75 + 0.25 * (texture - texture.min()) / max(np.ptp(texture), 1e-9)
    weight = np.exp(-(distance**2)) * texture * random.uniform(0.55, 0.8)
    bright = np.percentile(grey, 92)
    return np.asarray(np.clip(grey + weight * np.maximum(bright - grey, 0.0), 0.0, 255.0), dtype=np.uint8)


def _points_at(heat: NDArray[np.float32], centre: tuple[float, float], shape: tuple[int, ...]) -> bool:
    fine = np.asarray(Image.fromarray(heat).resize((_GRID, _GRID), Image.Resampling.BICUBIC))
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    return _near(((row + 0.5) / _GRID, (column + 0.5) / _GRID), centre, shape)


def _chance(lungs: LungFields, centre: tuple[float, float], shape: tuple[int, ...]) -> float:
    """The share of the lung fields' area that is near the centre."""
    rows, columns = np.nonzero(lungs.right | lungs.left)
    tall, wide = lungs.right.shape
    near = [_near(((r + 0.5) / tall, (c + 0.5) / wide), centre, shape) for r, c in zip(rows, columns, strict=True)]
    return float(np.mean(near))


def _near(point: tuple[float, float], centre: tuple[float, float], shape: tuple[int, ...]) -> bool:
    rows, columns = shape[:2]
    distance = np.hypot((point[0] - centre[0]) * rows, (point[1] - centre[1]) * columns)
    return bool(distance <= _NEAR * _RADIUS * min(rows, columns))


def _compare(model: Model, head: Head, grey: Grey, answer: Prediction, random: np.random.Generator) -> list[float]:
    """Correlation of the map with that of a head of the same spread drawn at random; nothing where that is empty."""
    frame = choose_frame(grey, model.card.input)
    features = model.features(prepare_grey(grey, model.card.input, frame))[0]
    label = [name for name, _ in answer.probabilities].index(answer.top_label)
    w1 = random.normal(0.0, float(head.w1.std()), head.w1.shape).astype(np.float32)
    w2 = random.normal(0.0, float(head.w2.std()), head.w2.shape).astype(np.float32)
    drawn = Head(w1, head.b1, w2, head.b2, head.centre, head.directions, head.class_means, head.residual_scale)
    other = spread_heat(grad_cam(features, drawn.logits(features.mean(axis=(1, 2)))[0], drawn, label), frame)
    if answer.heat is None or other.std() == 0.0 or answer.heat.std() == 0.0:
        return []
    return [float(np.corrcoef(answer.heat.ravel(), other.ravel())[0, 1])]


def _mean(values: list[float] | list[bool]) -> float:
    return float(np.mean(values)) if values else 0.0
