"""Scores of probabilities: area under the ROC curve, calibration error, Brier score."""

from dataclasses import dataclass

import numpy as np

from csss.inference.metrics.cases import Flags, Indices, Shares

ECE_BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """The pictures whose confidence lies in one of 15 equal bins: how many, how sure, how often right."""

    images: int
    confidence: float
    accuracy: float


def bin_of(confidence: Shares) -> Indices:
    """(n,) the bin of each confidence: bin b holds [b / 15, (b + 1) / 15), the last one also 1."""
    return np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)


def reliability(truth: Indices, shares: Shares) -> tuple[Bin, ...]:
    """The reliability diagram of ``shares`` (n, C) against ``truth`` (n,): the bins that hold a picture."""
    if not len(truth):
        return ()
    return positive_bins(shares.argmax(axis=1) == truth, shares.max(axis=1))


def positive_bins(right: Flags, confidence: Shares) -> tuple[Bin, ...]:
    """The bins of ``confidence`` (n,) that hold a picture, with the share that ``right`` (n,) says yes to."""
    bins = bin_of(confidence)
    return tuple(
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (bins == index for index in range(ECE_BINS))
        if inside.any()
    )


def expected_calibration_error(truth: Indices, shares: Shares) -> float | None:
    """Mean gap of confidence and accuracy over the bins of `reliability`, weighted by pictures; None for none.

    Guo et al. 2017, arXiv:1706.04599.
    """
    if not len(truth):
        return None
    bins = reliability(truth, shares)
    return sum(entry.images * abs(entry.confidence - entry.accuracy) for entry in bins) / len(truth)


def brier(truth: Indices, shares: Shares) -> float | None:
    """Mean over pictures of the summed squared error of all labels' probabilities, in [0, 2]; None for none.

    Brier 1950, the original form over all classes.
    """
    if not len(truth):
        return None
    wanted = np.zeros_like(shares)
    wanted[np.arange(len(truth)), truth] = 1.0
    return float(((shares - wanted) ** 2).sum(axis=1).mean())


def auroc(positive: Flags, score: Shares) -> float | None:
    """Area under the ROC curve: the share of correctly ordered pairs, ties half; None when one kind is missing.

    Mann-Whitney statistic by middle ranks (Hanley and McNeil 1982).
    """
    count = int(positive.sum())
    if count in (0, len(positive)):
        return None
    _, inverse, repeats = np.unique(score, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(repeats) - (repeats - 1) / 2.0
    above = middle_rank[inverse][positive].sum() - count * (count + 1) / 2.0
    return float(above / (count * (len(positive) - count)))
