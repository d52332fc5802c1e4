"""Tally: the sums over cases from which most figures follow, for one set or for many resampled sets at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference.metrics.cases import NO_LABEL, Cases, Indices
from csss.inference.metrics.scores import ECE_BINS, bin_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over any leading axes "..." (none for one set, rounds for resampled ones).

    ``confusion`` (..., C, C + 1): truth by likeliest label, last column refused. ``stated`` and
    ``stated_right`` (...): results that named a label, and the right one. ``bin_confidence`` and
    ``bin_right`` (..., 15): confidence and right answers in each bin of confidence.
    """

    confusion: Floats
    stated: Floats
    stated_right: Floats
    bin_confidence: Floats
    bin_right: Floats


def tally_groups(cases: Cases, member: Indices, groups: int) -> Floats:
    """(G, K) sums of each group, in the columns that `unpack` takes apart; ``member`` (n,) is each case's group."""
    classes, answer = len(cases.labels), cases.answer
    confusion = np.zeros((groups, classes, classes + 1))
    np.add.at(confusion, (member, cases.truth, answer), 1.0)
    named = cases.stated != NO_LABEL
    stated = np.bincount(member[named], minlength=groups)
    stated_right = np.bincount(member[named & (cases.stated == cases.truth)], minlength=groups)
    rows = np.flatnonzero(~cases.refused)
    confidence = cases.shares[rows].max(axis=1)
    place = member[rows], bin_of(confidence)
    bin_confidence, bin_right = np.zeros((groups, ECE_BINS)), np.zeros((groups, ECE_BINS))
    np.add.at(bin_confidence, place, confidence)
    np.add.at(bin_right, place, (answer == cases.truth)[rows].astype(float))
    cells = confusion.reshape(groups, classes * (classes + 1))
    return np.column_stack((cells, stated, stated_right, bin_confidence, bin_right))


def tally(cases: Cases) -> Tally:
    """The sums of one set of cases."""
    return unpack(tally_groups(cases, np.zeros(len(cases.truth), dtype=np.int64), 1)[0], len(cases.labels))


def unpack(columns: Floats, classes: int) -> Tally:
    """The Tally in ``columns`` (..., K)."""
    cells = classes * (classes + 1)
    leading = columns.shape[:-1]
    return Tally(
        confusion=columns[..., :cells].reshape(*leading, classes, classes + 1),
        stated=columns[..., cells],
        stated_right=columns[..., cells + 1],
        bin_confidence=columns[..., cells + 2 : -ECE_BINS],
        bin_right=columns[..., -ECE_BINS:],
    )
