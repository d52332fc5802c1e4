"""Evidence: everything that was measured of one trained model, for its card and its METRICS.md."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference.prediction import Prediction
from training.archive import Sample
from training.fit import Epoch
from training.measure import Figures

OUTSIDE_SOURCES = ("hannover", "ieee8023", "nih14")
"""Left out together in the trials: collections of other hospitals than the two large ones of each label."""


@dataclass(frozen=True, slots=True)
class SourceProbe:
    """How the head on frozen features does on a source that it never saw."""

    source: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe fitted without the outside sources: on the rest's validation pictures, and on those sources."""

    recipe: str
    validation: Figures
    outside: Figures


@dataclass(frozen=True, slots=True)
class Choice:
    """One blend of weights on validation: ``over_sources`` is balanced accuracy averaged over sources."""

    share: float
    validation: Figures
    over_sources: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """``validation`` and ``test`` are the served predictions of those splits, in the order of ``samples``.

    ``without_corners`` are the test figures with the corners of the pictures blotted out. ``foreign``
    holds (kind, prediction) of pictures that are no chest X-rays. ``agreement`` is the largest
    difference of a logit between torch and the exported model.
    """

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    fingerprint_sha256: str
    validation: tuple[Prediction, ...]
    test: tuple[Prediction, ...]
    history: tuple[Epoch, ...]
    frozen: Figures
    probes: tuple[SourceProbe, ...]
    trials: tuple[Trial, ...]
    choices: tuple[Choice, ...]
    without_corners: Figures
    foreign: tuple[tuple[str, Prediction], ...]
    agreement: float
    command: str
    seed: int

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split in the order of its predictions."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def truth(self, name: str) -> NDArray[np.int64]:
        """Label indices (n,) of one split."""
        return np.array([self.labels.index(sample.label) for sample in self.split(name)], dtype=np.int64)

    def by_source(self, name: str) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """(source, rows within the split) for every source of one split."""
        sources = np.array([sample.source for sample in self.split(name)])
        for source in sorted(set(sources.tolist())):
            yield source, np.flatnonzero(sources == source)


def shares_of(predictions: tuple[Prediction, ...]) -> NDArray[np.float64]:
    """The probabilities (n, C) of predictions of one model."""
    return np.array([[share for _, share in prediction.probabilities] for prediction in predictions])
