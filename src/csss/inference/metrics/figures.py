"""Figures: one set of cases measured, per label and whole."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference.metrics.cases import Cases
from csss.inference.metrics.rates import rate
from csss.inference.metrics.scores import auroc, brier
from csss.inference.metrics.selective import risks
from csss.inference.metrics.tally import Floats, tally


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One label against the rest at the likeliest label; None where the set holds no case to judge by.

    ``support`` are the cases of this label, ``refused`` those of them without an answer (errors in
    ``sensitivity`` and ``f1``). ``auroc`` is over answered pictures: a refused one has no score.
    """

    label: str
    support: int
    refused: int
    sensitivity: float | None
    specificity: float | None
    precision: float | None
    f1: float | None
    auroc: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """A whole set; every rate is of the forced choice of the likeliest label unless it says otherwise.

    ``confusion`` (C, C + 1): rows truth, columns likeliest label, last column refused. A refused picture
    is an error in accuracy, balanced accuracy, macro F1, kappa and ``aurc``; ``ece`` and ``brier`` (in
    [0, 2]) are of answered pictures. ``coverage`` is the share of all pictures whose result stated a label
    (the tau rule), ``selective_accuracy`` the share of right ones among those. None means nothing to judge by.
    """

    images: int
    refused: int
    accuracy: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    kappa: float | None
    ece: float | None
    brier: float | None
    aurc: float | None
    coverage: float | None
    selective_accuracy: float | None
    classes: tuple[ClassFigures, ...]
    confusion: NDArray[np.int64]


def measure(cases: Cases) -> Figures:
    """All figures of ``cases``; definitions and sources in `rates`, `scores` and `selective`."""
    sums = tally(cases)
    rates = rate(sums)
    answered = ~cases.refused
    truth, shares = cases.truth[answered], cases.shares[answered]
    confusion = np.rint(sums.confusion).astype(np.int64)
    risk = risks(cases)
    classes = tuple(
        ClassFigures(
            label=label,
            support=int(confusion[index].sum()),
            refused=int(confusion[index, -1]),
            sensitivity=known(rates.sensitivity[index]),
            specificity=known(rates.specificity[index]),
            precision=known(rates.precision[index]),
            f1=known(rates.f1[index]),
            auroc=auroc(truth == index, shares[:, index]),
        )
        for index, label in enumerate(cases.labels)
    )
    return Figures(
        images=len(cases.truth),
        refused=int(cases.refused.sum()),
        accuracy=known(rates.accuracy),
        balanced_accuracy=known(rates.balanced_accuracy),
        macro_f1=known(rates.macro_f1),
        kappa=known(rates.kappa),
        ece=known(rates.ece),
        brier=brier(truth, shares),
        aurc=float(risk.mean()) if len(risk) else None,
        coverage=known(rates.coverage),
        selective_accuracy=known(rates.selective_accuracy),
        classes=classes,
        confusion=confusion,
    )


def known(value: Floats) -> float | None:
    """The number, None for NaN."""
    return None if np.isnan(value) else float(value)
