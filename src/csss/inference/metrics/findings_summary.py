"""Summary of independent findings: per label, whole and per source, with intervals by patient."""

from dataclasses import dataclass, fields

import numpy as np

from csss.inference.metrics.figures import known
from csss.inference.metrics.findings import FindingCases, FindingRates, rate_findings
from csss.inference.metrics.intervals import Interval, draw_groups, interval_of
from csss.inference.metrics.scores import Bin, positive_bins
from csss.inference.metrics.tally import Floats

_CELLS_AT_ONCE = 4_000_000
"""Keeps the memory of a chunk of rounds small for any number of pictures."""


@dataclass(frozen=True, slots=True)
class FindingFigures:
    """One label by itself at its threshold ``present_from``; None where the set holds nothing to judge by.

    ``support`` are the pictures that have it, ``refused`` those of them without an answer (errors in
    ``sensitivity`` and ``f1``). ``auroc``, ``average_precision`` and ``ece`` are of answered pictures.
    """

    label: str
    present_from: float
    support: int
    refused: int
    sensitivity: float | None
    specificity: float | None
    precision: float | None
    f1: float | None
    auroc: float | None
    average_precision: float | None
    ece: float | None


@dataclass(frozen=True, slots=True)
class FindingIntervals:
    """95 % intervals of one label's figures; None where no round could judge it."""

    label: str
    sensitivity: Interval | None
    specificity: Interval | None
    precision: Interval | None
    f1: Interval | None
    auroc: Interval | None
    average_precision: Interval | None
    ece: Interval | None


@dataclass(frozen=True, slots=True)
class WholeFigures:
    """Means over the labels that can be judged, and shares of pictures.

    ``balanced_accuracy`` is the mean of sensitivity and specificity; ``exact`` the share of pictures whose findings are
    all right; ``coverage`` of results that are not "Uncertain"; ``no_finding_right`` of right ones among the
    ``no_finding`` pictures that were stated to have none.
    """

    images: int
    refused: int
    mean_auroc: float | None
    mean_average_precision: float | None
    macro_f1: float | None
    balanced_accuracy: float | None
    mean_ece: float | None
    exact: float | None
    coverage: float | None
    no_finding: int
    no_finding_right: float | None


@dataclass(frozen=True, slots=True)
class WholeIntervals:
    """95 % percentile intervals (Efron 1979) from ``rounds`` resamplings of ``groups`` whole groups."""

    rounds: int
    groups: int
    seed: int
    mean_auroc: Interval | None
    mean_average_precision: Interval | None
    macro_f1: Interval | None
    balanced_accuracy: Interval | None
    mean_ece: Interval | None
    exact: Interval | None
    coverage: Interval | None
    no_finding_right: Interval | None


@dataclass(frozen=True, slots=True)
class FindingsSummary:
    """Everything measured of one set; ``bins`` are the reliability diagrams of the labels."""

    labels: tuple[str, ...]
    whole: WholeFigures
    intervals: WholeIntervals
    classes: tuple[FindingFigures, ...]
    class_intervals: tuple[FindingIntervals, ...]
    sources: tuple[tuple[str, WholeFigures], ...]
    bins: tuple[tuple[Bin, ...], ...]


def summarise_findings(cases: FindingCases, *, rounds: int = 1000, seed: int = 42) -> FindingsSummary:
    """Measure ``cases``; the same cases and seed give the same numbers. Intervals need two groups or more."""
    drawn = _resample(cases, rounds, seed)
    answered = ~cases.refused
    return FindingsSummary(
        labels=cases.labels,
        whole=measure_whole(cases),
        intervals=WholeIntervals(
            rounds=rounds,
            groups=len(np.unique(cases.group)),
            seed=seed,
            **{name: interval_of(values) for name, values in _means(drawn).items()},
        ),
        classes=measure_labels(cases),
        class_intervals=tuple(
            FindingIntervals(label, *(interval_of(getattr(drawn, name)[:, index]) for name in _PER_LABEL))
            for index, label in enumerate(cases.labels)
        ),
        sources=tuple((name, measure_whole(part)) for name, part in cases.by_source()),
        bins=tuple(
            positive_bins(cases.truth[answered, index], cases.shares[answered, index])
            for index in range(len(cases.labels))
        ),
    )


def measure_labels(cases: FindingCases) -> tuple[FindingFigures, ...]:
    """The figures of each label."""
    rates = rate_findings(cases, np.ones((1, len(cases.stated))))
    return tuple(
        FindingFigures(
            label,
            float(cases.present_from[index]),
            int(cases.truth[:, index].sum()),
            int((cases.truth[:, index] & cases.refused).sum()),
            *(known(getattr(rates, name)[0, index]) for name in _PER_LABEL),
        )
        for index, label in enumerate(cases.labels)
    )


def measure_whole(cases: FindingCases) -> WholeFigures:
    """The figures over all labels and pictures."""
    means = _means(rate_findings(cases, np.ones((1, len(cases.stated)))))
    return WholeFigures(
        images=len(cases.stated),
        refused=int(cases.refused.sum()),
        no_finding=int((cases.stated == len(cases.labels)).sum()),
        **{name: known(values[0]) for name, values in means.items()},
    )


_PER_LABEL = tuple(field.name for field in fields(FindingIntervals))[1:]


def _means(rates: FindingRates) -> dict[str, Floats]:
    """(R,) each; F1 and balanced accuracy over the labels that occur."""
    return {
        "mean_auroc": _mean(rates.auroc),
        "mean_average_precision": _mean(rates.average_precision),
        "macro_f1": _mean(np.where(np.isnan(rates.sensitivity), np.nan, rates.f1)),
        "balanced_accuracy": _mean((rates.sensitivity + rates.specificity) / 2.0),
        "mean_ece": _mean(rates.ece),
        "exact": rates.exact,
        "coverage": rates.coverage,
        "no_finding_right": rates.no_finding_right,
    }


def _mean(values: Floats) -> Floats:
    judged = ~np.isnan(values)
    count = judged.sum(axis=1)
    return np.where(count, np.where(judged, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _resample(cases: FindingCases, rounds: int, seed: int) -> FindingRates:
    """The rates of each round, in which whole groups are drawn with replacement."""
    names, member = np.unique(cases.group, return_inverse=True)
    wanted = rounds if len(names) > 1 else 0
    step = max(1, _CELLS_AT_ONCE // max(1, len(member)))
    parts = [rate_findings(cases, np.ones((0, len(member))))]
    parts += [
        rate_findings(cases, times[start : start + step, member])
        for times in draw_groups(len(names), wanted, seed)
        for start in range(0, len(times), step)
    ]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(FindingRates)
    }
    return FindingRates(**joined)
