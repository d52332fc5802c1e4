"""Rates from a Tally, for one set or many at once; NaN wherever a rate would divide by nothing.

A refused picture is an error in every rate of the forced choice, as in the "intention to diagnose" of
Schuetz et al. 2012 (BMJ 345:e6717): it is neither a hit of its own label nor a true negative of another.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference.metrics.tally import Floats, Tally


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Each label against the rest, arrays (..., C); each set, arrays (...)."""

    sensitivity: Floats
    specificity: Floats
    precision: Floats
    f1: Floats
    accuracy: Floats
    balanced_accuracy: Floats
    macro_f1: Floats
    kappa: Floats
    ece: Floats
    coverage: Floats
    selective_accuracy: Floats


def rate(sums: Tally) -> Rates:
    """All rates of ``sums``.

    ``f1`` is 2 TP / (cases + named), 0 for a label that occurs and is never named. Balanced accuracy
    and macro F1 are means over the labels that occur. ``kappa`` is Cohen's (1960), "refused" being an
    answer like any other. ``ece`` is Guo et al. 2017 (arXiv:1706.04599) over 15 equal bins of the largest
    probability, of answered pictures. ``coverage`` is the share of all pictures with a stated label.
    """
    classes = sums.confusion.shape[-2]
    hits = np.diagonal(sums.confusion[..., :classes], axis1=-2, axis2=-1)
    cases, named = sums.confusion.sum(axis=-1), sums.confusion[..., :classes].sum(axis=-2)
    refused = sums.confusion[..., classes]
    images = cases.sum(axis=-1)
    others = images[..., None] - cases
    refused_others = refused.sum(axis=-1, keepdims=True) - refused
    sensitivity, f1 = divide(hits, cases), divide(2.0 * hits, cases + named)
    accuracy = divide(hits.sum(axis=-1), images)
    chance = divide((cases * named).sum(axis=-1), images**2)
    gaps = np.abs(sums.bin_confidence - sums.bin_right).sum(axis=-1)
    return Rates(
        sensitivity=sensitivity,
        specificity=divide(others - (named - hits) - refused_others, others),
        precision=divide(hits, named),
        f1=f1,
        accuracy=accuracy,
        balanced_accuracy=_mean_over(sensitivity, cases > 0),
        macro_f1=_mean_over(f1, cases > 0),
        kappa=divide(accuracy - chance, 1.0 - chance),
        ece=divide(gaps, named.sum(axis=-1)),
        coverage=divide(sums.stated, images),
        selective_accuracy=divide(sums.stated_right, sums.stated),
    )


def divide(part: Floats, whole: Floats) -> Floats:
    """``part / whole``, NaN where ``whole`` is not above 0."""
    shape = np.broadcast_shapes(np.shape(part), np.shape(whole))
    shares: Floats = np.divide(part, whole, out=np.full(shape, np.nan), where=np.asarray(whole) > 0)
    return shares


def _mean_over(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    return divide(np.where(counted, values, 0.0).sum(axis=-1), counted.sum(axis=-1).astype(float))
