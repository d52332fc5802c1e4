"""Cases: what was true of each picture and what the model answered, as arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import CsssError

Indices = NDArray[np.int64]
Shares = NDArray[np.float64]
Flags = NDArray[np.bool_]
Names = NDArray[np.str_]

NO_LABEL = -1
"""In ``Cases.stated``: the result read "Uncertain", or there was none."""


class CasesMalformed(CsssError):
    """The arrays of cases do not fit together."""

    status = 422
    code = "cases-malformed"


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """n pictures of known truth, each answered or refused; C = ``len(labels)``.

    ``truth`` (n,) label indices; ``shares`` (n, C) probabilities, never read where ``refused`` (n,);
    ``stated`` (n,) the label's index that the result named, NO_LABEL for "Uncertain" and for a refused
    picture; ``source`` (n,) and ``group`` (n,) names, a group being what must not be torn apart
    (a patient); ``sets`` (n, C) the labels of each conformal set, None when the model gives none.
    Raises CasesMalformed ``cases-malformed``.
    """

    labels: tuple[str, ...]
    truth: Indices
    shares: Shares
    stated: Indices
    refused: Flags
    source: Names
    group: Names
    sets: Flags | None = None

    def __post_init__(self) -> None:
        count, classes = len(self.truth), len(self.labels)
        arrays = (self.truth, self.stated, self.refused, self.source, self.group)
        if any(array.shape != (count,) for array in arrays) or self.shares.shape != (count, classes):
            raise CasesMalformed("The arrays of the cases have different lengths.")
        if self.sets is not None and self.sets.shape != (count, classes):
            raise CasesMalformed("The conformal sets do not fit the cases.")
        if count and not (_within(self.truth, 0, classes) and _within(self.stated, NO_LABEL, classes)):
            raise CasesMalformed("A case names a label that the model does not have.")
        if (self.stated[self.refused] != NO_LABEL).any():
            raise CasesMalformed("A refused picture cannot have a stated label.")
        if not np.isfinite(self.shares[~self.refused]).all():
            raise CasesMalformed("A probability is no number.")

    @classmethod
    def answered_all(cls, truth: Indices, shares: Shares, labels: tuple[str, ...], group: Names | None = None) -> Self:
        """Cases of a model that refused nothing and always stated its likeliest label; one source."""
        return cls(
            labels=labels,
            truth=truth,
            shares=shares,
            stated=shares.argmax(axis=1),
            refused=np.zeros(len(truth), dtype=bool),
            source=np.full(len(truth), ""),
            group=np.arange(len(truth)).astype(str) if group is None else group,
        )

    @property
    def answer(self) -> Indices:
        """(n,) index of the likeliest label, whether stated or not; C for a refused picture."""
        answer = np.full(len(self.truth), len(self.labels), dtype=np.int64)
        answer[~self.refused] = self.shares[~self.refused].argmax(axis=1)
        return answer

    def by_source(self) -> Iterator[tuple[str, "Cases"]]:
        """(source, its cases) in order of the sources' names."""
        for name in np.unique(self.source).tolist():
            yield name, self.of(self.source == name)

    def of(self, rows: Flags) -> "Cases":
        """The cases where ``rows`` (n,) is true."""
        return Cases(
            labels=self.labels,
            truth=self.truth[rows],
            shares=self.shares[rows],
            stated=self.stated[rows],
            refused=self.refused[rows],
            source=self.source[rows],
            group=self.group[rows],
            sets=None if self.sets is None else self.sets[rows],
        )


def _within(indices: Indices, low: int, high: int) -> bool:
    return bool(low <= indices.min() and indices.max() < high)
