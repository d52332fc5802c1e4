"""Selective prediction: the risk at each coverage, and what the conformal sets hold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference.metrics.cases import Cases, Flags, Shares


@dataclass(frozen=True, slots=True)
class ConformalFigures:
    """Conformal sets of the ``images`` answered pictures.

    ``coverage`` is the share of sets that hold the truth, ``class_coverage`` the same per label (None for
    one without a case); ``mean_size`` in labels; ``single`` and ``empty`` are shares of sets of one and none.
    """

    images: int
    coverage: float
    mean_size: float
    single: float
    empty: float
    class_coverage: tuple[float | None, ...]


def risk_coverage(confidence: Shares, wrong: Flags) -> NDArray[np.float64]:
    """(n,) the error rate among the k most confident cases, k = 1 ... n; its mean is the AURC.

    Geifman and El-Yaniv 2017 (arXiv:1705.08500), AURC after Geifman et al. 2019 (arXiv:1805.08206). Cases
    of equal confidence count as if in random order, so the order in which they are given does not matter.
    """
    order = np.argsort(-confidence, kind="stable")
    _, first, block, size = np.unique(-confidence[order], return_index=True, return_inverse=True, return_counts=True)
    errors = np.bincount(block, weights=wrong[order].astype(float), minlength=len(size))
    before = np.cumsum(errors) - errors
    rank = np.arange(1, len(confidence) + 1)
    expected = before[block] + (rank - first[block]) * (errors / size)[block]
    risk: NDArray[np.float64] = expected / rank
    return risk


def risks(cases: Cases) -> NDArray[np.float64]:
    """`risk_coverage` of the likeliest labels; refused pictures come last and count as errors."""
    confidence = np.full(len(cases.truth), -1.0)
    confidence[~cases.refused] = cases.shares[~cases.refused].max(axis=1)
    return risk_coverage(confidence, cases.answer != cases.truth)


def measure_sets(cases: Cases) -> ConformalFigures | None:
    """The figures of the conformal sets; None without sets or without an answered picture."""
    answered = ~cases.refused
    if cases.sets is None or not answered.any():
        return None
    sets, truth = cases.sets[answered], cases.truth[answered]
    covered, size = sets[np.arange(len(truth)), truth], sets.sum(axis=1)
    per_label = (covered[truth == index] for index in range(len(cases.labels)))
    return ConformalFigures(
        images=len(truth),
        coverage=float(covered.mean()),
        mean_size=float(size.mean()),
        single=float((size == 1).mean()),
        empty=float((size == 0).mean()),
        class_coverage=tuple(float(held.mean()) if len(held) else None for held in per_label),
    )
