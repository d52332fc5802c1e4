"""Trials: fits without whole sources, measured on them: the nearest thing here to an outside hospital."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import Unprocessable
from training.archive import Sample

OUTSIDE_SOURCES = ("hannover", "ieee8023", "nih14")
"""Left out together: collections of other hospitals than the two large ones of each label."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of a fit without the outside sources, and the outside rows whose label the rest still holds."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    outside: NDArray[np.int64]


def leave_out(samples: tuple[Sample, ...], sources: tuple[str, ...] = OUTSIDE_SOURCES) -> Kept:
    """Split the rows of ``samples`` for a fit that never sees ``sources``.

    Outside pictures of a label that no other source holds are left aside: nobody could name them. Raises
    Unprocessable ``no-outside-sources`` where nothing is left to measure.
    """
    kept = [row for row, sample in enumerate(samples) if sample.source not in sources]
    train = [row for row in kept if samples[row].split == "train"]
    known = {samples[row].label for row in train}
    outside = [row for row, sample in enumerate(samples) if sample.source in sources and sample.label in known]
    if not outside:
        raise Unprocessable("The data hold none of the sources that a trial leaves out.", code="no-outside-sources")
    return Kept(
        np.array(train, dtype=np.int64),
        np.array([row for row in kept if samples[row].split == "val"], dtype=np.int64),
        np.array(outside, dtype=np.int64),
    )
