"""Measure a classifier: per class, per source, calibration; in numpy, from labels and probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Truth = NDArray[np.int64]
Shares = NDArray[np.float64]

ECE_BINS = 15


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against the rest at the likeliest label; NaN where the set holds no case to judge by."""

    label: str
    images: int
    sensitivity: float
    specificity: float
    precision: float
    f1: float
    auroc: float


@dataclass(frozen=True, slots=True)
class Figures:
    """A whole set: ``confusion`` (truth, answer) counts; ``balanced_accuracy`` over the labels present."""

    images: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    ece: float
    classes: tuple[ClassFigures, ...]
    confusion: NDArray[np.int64]


def measure(truth: Truth, shares: Shares, labels: tuple[str, ...]) -> Figures:
    """The figures of probabilities ``shares`` (n, C) against ``truth`` (n,) label indices."""
    answer = shares.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (truth, answer), 1)
    classes = tuple(
        _measure_class(confusion, index, label, auroc(truth == index, shares[:, index]))
        for index, label in enumerate(labels)
    )
    present = [figures for figures in classes if figures.images]
    return Figures(
        images=len(truth),
        accuracy=float(np.trace(confusion) / max(len(truth), 1)),
        balanced_accuracy=float(np.mean([figures.sensitivity for figures in present])),
        macro_f1=float(np.mean([figures.f1 for figures in present])),
        ece=expected_calibration_error(truth, shares),
        classes=classes,
        confusion=confusion,
    )


def softmax_rows(logits: NDArray[np.floating]) -> Shares:
    """softmax of each row of ``logits`` (n, C)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: Shares = powers / powers.sum(axis=1, keepdims=True)
    return shares


def reliability(truth: Truth, shares: Shares) -> tuple[tuple[int, float, float], ...]:
    """(images, mean confidence, accuracy) of each of 15 equal bins of confidence that holds an image."""
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == truth
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    return tuple(
        (int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (bins == index for index in range(ECE_BINS))
        if inside.any()
    )


def expected_calibration_error(truth: Truth, shares: Shares) -> float:
    """ECE over 15 equal bins of the largest probability (Guo et al. 2017, arXiv:1706.04599)."""
    parts = reliability(truth, shares)
    return sum(count * abs(confidence - accuracy) for count, confidence, accuracy in parts) / len(truth)


def auroc(positive: NDArray[np.bool_], score: Shares) -> float:
    """Area under the ROC curve as the share of correctly ordered pairs, ties half; NaN for one class."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    _, inverse, repeats = np.unique(score, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(repeats) - (repeats - 1) / 2.0
    above = middle_rank[inverse][positive].sum() - count * (count + 1) / 2.0
    return float(above / (count * (len(positive) - count)))


def macro_f1(truth: Truth, answer: Truth, classes: int) -> float:
    """Mean F1 over the classes that occur in ``truth``."""
    scores = []
    for index in range(classes):
        hits = int(((truth == index) & (answer == index)).sum())
        named = int((truth == index).sum()) + int((answer == index).sum())
        if (truth == index).any():
            scores.append(2.0 * hits / named)
    return float(np.mean(scores))


def bootstrap(
    truth: Truth, shares: Shares, groups: NDArray[np.str_], *, rounds: int, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % intervals of (macro F1, accuracy), resampling whole patients or groups, not images."""
    random = np.random.default_rng(seed)
    names, member = np.unique(groups, return_inverse=True)
    rows_of = [np.flatnonzero(member == index) for index in range(len(names))]
    answer = shares.argmax(axis=1)
    drawn = []
    for _ in range(rounds):
        rows = np.concatenate([rows_of[index] for index in random.integers(0, len(names), len(names))])
        score = macro_f1(truth[rows], answer[rows], shares.shape[1])
        drawn.append((score, float((truth[rows] == answer[rows]).mean())))
    low, high = np.percentile(np.array(drawn), (2.5, 97.5), axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def _measure_class(confusion: NDArray[np.int64], index: int, label: str, area: float) -> ClassFigures:
    hits = int(confusion[index, index])
    images, named = int(confusion[index].sum()), int(confusion[:, index].sum())
    others = int(confusion.sum()) - images
    return ClassFigures(
        label=label,
        images=images,
        sensitivity=_share(hits, images),
        specificity=_share(others - (named - hits), others),
        precision=_share(hits, named),
        f1=_share(2 * hits, images + named),
        auroc=area,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
