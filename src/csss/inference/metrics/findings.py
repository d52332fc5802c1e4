"""Rates of independent findings, each label by itself, for one set of cases or many resampled ones at once.

As in `rates`, a refused picture is an error: it is neither a hit of a label that it has nor a true negative of one
that it has not. Areas and calibration need probabilities and are of answered pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from csss.inference.metrics.cases import NO_LABEL, CasesMalformed, Flags, Indices, Names, Shares
from csss.inference.metrics.rates import divide
from csss.inference.metrics.scores import ECE_BINS, bin_of
from csss.inference.metrics.tally import Floats


@dataclass(frozen=True, slots=True, eq=False)
class FindingCases:
    """n pictures, each with any number of C = ``len(labels)`` findings, each answered or refused.

    ``truth`` (n, C); ``shares`` (n, C) probabilities, never read where ``refused`` (n,); ``present_from`` (C,) the
    threshold of each label; ``stated`` (n,) the label's index that the result named, C for "No Finding", NO_LABEL for
    "Uncertain" and for a refused picture; ``source`` and ``group`` (n,) as in `Cases`. Raises CasesMalformed.
    """

    labels: tuple[str, ...]
    truth: Flags
    shares: Shares
    present_from: Shares
    stated: Indices
    refused: Flags
    source: Names
    group: Names

    def __post_init__(self) -> None:
        shape = (len(self.stated), len(self.labels))
        single = (self.refused, self.source, self.group)
        if self.truth.shape != shape or self.shares.shape != shape or self.present_from.shape != shape[1:]:
            raise CasesMalformed("The arrays of the cases do not fit together.")
        if any(array.shape != shape[:1] for array in single):
            raise CasesMalformed("The arrays of the cases have different lengths.")
        if ((self.stated < NO_LABEL) | (self.stated > shape[1])).any() or (self.stated[self.refused] != NO_LABEL).any():
            raise CasesMalformed("A case states a label that it cannot.")
        if not np.isfinite(self.shares[~self.refused]).all():
            raise CasesMalformed("A probability is no number.")

    @property
    def found(self) -> Flags:
        """(n, C) whether each label reaches its threshold; never for a refused picture."""
        reached = np.zeros(self.shares.shape, dtype=bool)
        reached[~self.refused] = self.shares[~self.refused] >= self.present_from
        return reached

    def by_source(self) -> Iterator[tuple[str, "FindingCases"]]:
        """(source, its cases) in order of the sources' names."""
        for name in np.unique(self.source).tolist():
            yield name, self.of(self.source == name)

    def of(self, rows: Flags) -> "FindingCases":
        """The cases where ``rows`` (n,) is true."""
        return FindingCases(
            labels=self.labels,
            truth=self.truth[rows],
            shares=self.shares[rows],
            present_from=self.present_from,
            stated=self.stated[rows],
            refused=self.refused[rows],
            source=self.source[rows],
            group=self.group[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class FindingRates:
    """Arrays (R, C) for each label, (R,) for each set; NaN wherever there is nothing to judge by.

    ``exact`` is the share of pictures whose findings at the thresholds are all right; ``coverage`` that of results that
    are not "Uncertain"; ``no_finding_right`` that of pictures without any finding among those stated so.
    """

    sensitivity: Floats
    specificity: Floats
    precision: Floats
    f1: Floats
    auroc: Floats
    average_precision: Floats
    ece: Floats
    exact: Floats
    coverage: Floats
    no_finding_right: Floats


def rate_findings(cases: FindingCases, times: Floats) -> FindingRates:
    """All rates when each case counts ``times`` (R, n), R sets at once."""
    truth, found, answered = cases.truth, cases.found, ~cases.refused
    hits, named = times @ (truth & found), times @ found.astype(float)
    held = times @ truth.astype(float)
    others = times.sum(axis=1)[:, None] - held
    spared = times @ (~truth & ~found & answered[:, None])
    all_right = answered & (truth == found).all(axis=1)
    healthy = cases.stated == len(cases.labels)
    images = times.sum(axis=1)
    areas = [
        _areas(truth[answered, index], cases.shares[answered, index], times[:, answered])
        for index in range(len(cases.labels))
    ]
    shape = (len(times), 0)
    return FindingRates(
        sensitivity=divide(hits, held),
        specificity=divide(spared, others),
        precision=divide(hits, named),
        f1=divide(2.0 * hits, held + named),
        auroc=np.column_stack([np.empty(shape), *(first for first, _ in areas)]),
        average_precision=np.column_stack([np.empty(shape), *(second for _, second in areas)]),
        ece=_calibration_errors(truth[answered], cases.shares[answered], times[:, answered]),
        exact=divide(times @ all_right.astype(float), images),
        coverage=divide(times @ (cases.stated != NO_LABEL).astype(float), images),
        no_finding_right=divide(times @ (healthy & ~truth.any(axis=1)), times @ healthy.astype(float)),
    )


def average_precision(positive: Flags, score: Shares) -> float | None:
    """Mean precision at the scores of the positives, equal scores taken together; None without a positive.

    The area under the precision-recall curve as steps, without interpolation.
    """
    value = _areas(positive, score, np.ones((1, len(positive))))[1][0]
    return None if np.isnan(value) else float(value)


def _areas(positive: Flags, score: Shares, times: Floats) -> tuple[Floats, Floats]:
    """Areas (R,) under the ROC curve (pairs in the right order, equal scores half) and the precision-recall curve."""
    order = np.argsort(-score, kind="stable")
    if not len(order):
        return np.full(len(times), np.nan), np.full(len(times), np.nan)
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0.0])
    ordered = times[:, order]
    of_positives = np.add.reduceat(ordered * positive[order], starts, axis=1)
    of_negatives = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    hits, alarms = of_positives.cumsum(axis=1), of_negatives.cumsum(axis=1)
    held, others = hits[:, -1], alarms[:, -1]
    below = others[:, None] - alarms + of_negatives / 2.0
    precision = np.nan_to_num(divide(hits, hits + alarms))
    return (
        divide((of_positives * below).sum(axis=1), held * others),
        divide((of_positives * precision).sum(axis=1), held),
    )


def _calibration_errors(truth: Flags, shares: Shares, times: Floats) -> Floats:
    """(R, C) mean gap of probability and share of positives over 15 equal bins of the probability, by label."""
    errors = np.empty((len(times), shares.shape[1]))
    for index in range(shares.shape[1]):
        place = np.eye(ECE_BINS)[bin_of(shares[:, index])]
        gaps = times @ (place * (shares[:, index] - truth[:, index])[:, None])
        errors[:, index] = divide(np.abs(gaps).sum(axis=1), times.sum(axis=1))
    return errors
