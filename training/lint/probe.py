"""A small classifier on simple features of a picture: can the source be told without looking at the lungs?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
MOST_PER_CLASS = 400
_STEPS = 300
_RIDGE = 1e-2

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Probe:
    """Cross-validated balanced accuracy, what chance gives, and the standard error of the accuracy."""

    classes: tuple[str, ...]
    pictures: int
    balanced_accuracy: float
    chance: float
    standard_error: float

    @property
    def tells_apart(self) -> bool:
        """Whether the accuracy lies beyond chance by 0.1 and by four standard errors."""
        return self.balanced_accuracy > self.chance + max(0.1, 4 * self.standard_error)


def probe(features: Floats, classes: list[str], groups: list[str], *, seed: int = 42) -> Probe | None:
    """Predict ``classes`` from ``features`` (n, d) by ridge logistic regression, groups kept whole over five folds.

    At most ``MOST_PER_CLASS`` pictures of a class are drawn. None when fewer than two classes have ``FOLDS`` groups.
    """
    rng = np.random.default_rng(seed)
    members = _drawn(classes, groups, rng)
    if len(members) < 2:
        return None
    names = tuple(sorted(members))
    rows = np.concatenate([members[name] for name in names])
    truth = np.repeat(np.arange(len(names)), [len(members[name]) for name in names])
    fold = _folds([groups[row] for row in rows], rng)
    guessed = np.full(len(rows), -1)
    for each in range(FOLDS):
        inside = fold != each
        if not (~inside).any() or len(set(truth[inside])) < len(names):
            continue
        guessed[~inside] = _fit_predict(features[rows[inside]], truth[inside], features[rows[~inside]], len(names))
    told = guessed >= 0
    recalls = [float((guessed[told & (truth == index)] == index).mean()) for index in range(len(names))]
    sizes = [int((told & (truth == index)).sum()) for index in range(len(names))]
    error = np.sqrt(sum(recall * (1 - recall) / size for recall, size in zip(recalls, sizes, strict=True)))
    floor = np.sqrt(sum(0.25 / size for size in sizes))
    spread = float(max(error, floor)) / len(names)
    return Probe(names, int(told.sum()), float(np.mean(recalls)), 1 / len(names), spread)


def _drawn(classes: list[str], groups: list[str], rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    members = {}
    for name in sorted(set(classes)):
        rows = np.array([index for index, each in enumerate(classes) if each == name])
        if len({groups[row] for row in rows}) >= FOLDS:
            members[name] = rng.permutation(rows)[:MOST_PER_CLASS]
    return members


def _folds(groups: list[str], rng: np.random.Generator) -> NDArray[np.int64]:
    names = sorted(set(groups))
    fold_of = dict(zip(names, (rng.permutation(len(names)) % FOLDS).tolist(), strict=True))
    return np.array([fold_of[group] for group in groups])


def _fit_predict(train: Floats, truth: NDArray[np.int64], test: Floats, count: int) -> NDArray[np.int64]:
    middle, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    known, asked = (np.c_[(part - middle) / spread, np.ones(len(part))] for part in (train, test))
    wanted = np.eye(count)[truth]
    # Each class weighs the same, whatever its number.
    weight = (1 / np.bincount(truth, minlength=count))[truth][:, None] / count
    steepest = 0.5 * np.linalg.eigvalsh(known.T @ (known * weight))[-1] + _RIDGE
    weights = momentum = np.zeros((known.shape[1], count))
    for step in range(_STEPS):
        shares = _softmax(known @ momentum)
        moved = momentum - (known.T @ (weight * (shares - wanted)) + _RIDGE * momentum) / steepest
        weights, momentum = moved, moved + step / (step + 3) * (moved - weights)
    guess: NDArray[np.int64] = (asked @ weights).argmax(axis=1)
    return guess


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
