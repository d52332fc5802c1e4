"""Summary: everything measured of one set of cases, whole, per label and per source, with intervals."""

from dataclasses import dataclass

import numpy as np

from csss.inference.metrics.cases import Cases
from csss.inference.metrics.figures import Figures, measure
from csss.inference.metrics.intervals import Intervals, bootstrap
from csss.inference.metrics.scores import Bin, reliability
from csss.inference.metrics.selective import ConformalFigures, measure_sets, risks

_COVERAGES = tuple(step / 20 for step in range(1, 21))


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """The figures of the pictures of one source."""

    source: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Summary:
    """``curve`` holds (coverage, error rate) at every twentieth of the pictures, the most confident first."""

    labels: tuple[str, ...]
    figures: Figures
    intervals: Intervals
    sources: tuple[SourceFigures, ...]
    bins: tuple[Bin, ...]
    curve: tuple[tuple[float, float], ...]
    conformal: ConformalFigures | None


def summarise(cases: Cases, *, rounds: int = 1000, seed: int = 42) -> Summary:
    """Measure ``cases``; the same cases and seed give the same numbers."""
    answered = ~cases.refused
    return Summary(
        labels=cases.labels,
        figures=measure(cases),
        intervals=bootstrap(cases, rounds=rounds, seed=seed),
        sources=tuple(SourceFigures(name, measure(part)) for name, part in cases.by_source()),
        bins=reliability(cases.truth[answered], cases.shares[answered]),
        curve=_curve(cases),
        conformal=measure_sets(cases),
    )


def _curve(cases: Cases) -> tuple[tuple[float, float], ...]:
    risk = risks(cases)
    if not len(risk):
        return ()
    kept = np.ceil(np.array(_COVERAGES) * len(risk) - 1e-9).astype(int)
    return tuple((share, float(risk[count - 1])) for share, count in zip(_COVERAGES, kept, strict=True))
