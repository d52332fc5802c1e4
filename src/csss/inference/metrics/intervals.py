"""Bootstrap intervals over groups: how far the figures would move with other patients."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference.metrics.cases import Cases
from csss.inference.metrics.rates import rate
from csss.inference.metrics.tally import Floats, tally_groups, unpack

_DRAWS_AT_ONCE = 1_000_000
"""Keeps the memory of a chunk of rounds small for any number of groups."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The 2.5th and 97.5th percentile of the resampled figure."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassIntervals:
    """95 % intervals of one label's figures; None where no round could judge it."""

    label: str
    sensitivity: Interval | None
    specificity: Interval | None
    precision: Interval | None
    f1: Interval | None


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % percentile intervals (Efron 1979) from ``rounds`` resamplings of ``groups`` whole groups."""

    rounds: int
    groups: int
    seed: int
    accuracy: Interval | None
    balanced_accuracy: Interval | None
    macro_f1: Interval | None
    kappa: Interval | None
    ece: Interval | None
    coverage: Interval | None
    selective_accuracy: Interval | None
    classes: tuple[ClassIntervals, ...]


def bootstrap(cases: Cases, *, rounds: int = 1000, seed: int = 42) -> Intervals:
    """Intervals of the figures of ``cases``, groups drawn with replacement; no interval for under two groups.

    Pictures of one group stay together: they are not independent. A round in which a figure has nothing to
    judge by (a label that was not drawn) is left out of that figure's interval.
    """
    names, member = np.unique(cases.group, return_inverse=True)
    columns = tally_groups(cases, member, len(names))
    drawn = rate(unpack(_draw(columns, rounds if len(names) > 1 else 0, seed), len(cases.labels)))
    return Intervals(
        rounds=rounds,
        groups=len(names),
        seed=seed,
        accuracy=interval_of(drawn.accuracy),
        balanced_accuracy=interval_of(drawn.balanced_accuracy),
        macro_f1=interval_of(drawn.macro_f1),
        kappa=interval_of(drawn.kappa),
        ece=interval_of(drawn.ece),
        coverage=interval_of(drawn.coverage),
        selective_accuracy=interval_of(drawn.selective_accuracy),
        classes=tuple(
            ClassIntervals(
                label=label,
                sensitivity=interval_of(drawn.sensitivity[:, index]),
                specificity=interval_of(drawn.specificity[:, index]),
                precision=interval_of(drawn.precision[:, index]),
                f1=interval_of(drawn.f1[:, index]),
            )
            for index, label in enumerate(cases.labels)
        ),
    )


def draw_groups(groups: int, rounds: int, seed: int) -> Iterator[Floats]:
    """How often each of ``groups`` is drawn (with replacement) in each round, in chunks of rounds (some, G)."""
    random = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // max(1, groups))
    for start in range(0, rounds, step):
        count = min(step, rounds - start)
        picked = random.integers(0, groups, (count, groups)) + groups * np.arange(count)[:, None]
        yield np.bincount(picked.ravel(), minlength=count * groups).reshape(count, groups).astype(np.float64)


def interval_of(values: NDArray[np.float64]) -> Interval | None:
    """The interval of what the rounds gave, those aside that could not judge it; None when none could."""
    judged = values[~np.isnan(values)]
    if not len(judged):
        return None
    low, high = np.percentile(judged, (2.5, 97.5))
    return Interval(float(low), float(high))


def _draw(columns: Floats, rounds: int, seed: int) -> Floats:
    """The summed ``columns`` (G, K) of each round, (rounds, K)."""
    none = np.empty((0, columns.shape[1]))
    return np.concatenate([none, *(times @ columns for times in draw_groups(len(columns), rounds, seed))])
