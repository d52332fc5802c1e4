"""Measure a classifier: `csss.inference.metrics` in the form of the training reports (NaN where nothing is known)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference import metrics
from csss.inference.metrics import ECE_BINS, Cases, Interval

__all__ = [
    "ECE_BINS",
    "ClassFigures",
    "Figures",
    "auroc",
    "bootstrap",
    "expected_calibration_error",
    "macro_f1",
    "measure",
    "reliability",
    "softmax_rows",
]

Truth = NDArray[np.int64]
Shares = NDArray[np.float64]


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
    figures = metrics.measure(Cases.answered_all(truth, shares, labels))
    return Figures(
        images=figures.images,
        accuracy=_or_nan(figures.accuracy),
        balanced_accuracy=_or_nan(figures.balanced_accuracy),
        macro_f1=_or_nan(figures.macro_f1),
        ece=_or_nan(figures.ece),
        classes=tuple(
            ClassFigures(
                label=entry.label,
                images=entry.support,
                sensitivity=_or_nan(entry.sensitivity),
                specificity=_or_nan(entry.specificity),
                precision=_or_nan(entry.precision),
                f1=_or_nan(entry.f1),
                auroc=_or_nan(entry.auroc),
            )
            for entry in figures.classes
        ),
        confusion=figures.confusion[:, : len(labels)],
    )


def softmax_rows(logits: NDArray[np.floating], temperature: float = 1.0) -> Shares:
    """softmax(logits / temperature) of each row, (n, C)."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: Shares = powers / powers.sum(axis=1, keepdims=True)
    return shares


def reliability(truth: Truth, shares: Shares) -> tuple[tuple[int, float, float], ...]:
    """(images, mean confidence, accuracy) of each of 15 equal bins of confidence that holds an image."""
    return tuple((entry.images, entry.confidence, entry.accuracy) for entry in metrics.reliability(truth, shares))


def expected_calibration_error(truth: Truth, shares: Shares) -> float:
    """ECE over 15 equal bins of the largest probability (Guo et al. 2017, arXiv:1706.04599)."""
    return _or_nan(metrics.expected_calibration_error(truth, shares))


def auroc(positive: NDArray[np.bool_], score: Shares) -> float:
    """Area under the ROC curve, ties half; NaN for one class."""
    return _or_nan(metrics.auroc(positive, score))


def macro_f1(truth: Truth, answer: Truth, classes: int) -> float:
    """Mean F1 over the classes that occur in ``truth``, of answers (n,) without probabilities."""
    figures = metrics.measure(Cases.answered_all(truth, np.eye(classes)[answer], tuple(map(str, range(classes)))))
    return _or_nan(figures.macro_f1)


def bootstrap(
    truth: Truth, shares: Shares, groups: NDArray[np.str_], *, rounds: int, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % intervals of (macro F1, accuracy), resampling whole patients or groups, not images; NaN for one group."""
    labels = tuple(map(str, range(shares.shape[1])))
    drawn = metrics.bootstrap(Cases.answered_all(truth, shares, labels, groups), rounds=rounds, seed=seed)
    return _ends(drawn.macro_f1), _ends(drawn.accuracy)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _ends(interval: Interval | None) -> tuple[float, float]:
    return (interval.low, interval.high) if interval else (math.nan, math.nan)
