"""Casebook: keeps of each labelled file only the numbers that its measurement needs."""

from array import array
from collections import Counter
from collections.abc import Mapping

import numpy as np

from csss.inference.metrics import NO_LABEL, Cases, Summary, summarise
from csss.inference.prediction import Prediction
from csss.inference.read_files import FileReading
from csss.predict.labels import Truth


class Casebook:
    """Collects readings of files whose label is known; flat memory for any number of files."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._place = {label: index for index, label in enumerate(labels)}
        self._truth = array("q")
        self._stated = array("q")
        self._refused = array("b")
        self._shares = array("d")
        self._sets = array("b")
        self._without_sets = False
        self._sources: list[str] = []
        self._groups: list[str] = []
        self._refusals: Counter[str] = Counter()

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many files were not answered, by the code of their error."""
        return dict(sorted(self._refusals.items()))

    def add(self, truth: Truth, reading: FileReading) -> None:
        """Keep what ``reading`` says of a file of known ``truth``."""
        self._truth.append(self._place[truth.label])
        self._sources.append(truth.source)
        self._groups.append(truth.group)
        self._refused.append(reading.prediction is None)
        if reading.prediction is None:
            self._refusals[reading.error.code if reading.error else "internal-error"] += 1
            self._stated.append(NO_LABEL)
            self._shares.extend([float("nan")] * len(self._labels))
            self._sets.extend([0] * len(self._labels))
        else:
            self._add_prediction(reading.prediction)

    def cases(self) -> Cases:
        """Everything added so far."""
        shape = (len(self._truth), len(self._labels))
        sets = np.array(self._sets, dtype=bool).reshape(shape)
        return Cases(
            labels=self._labels,
            truth=np.array(self._truth, dtype=np.int64),
            shares=np.array(self._shares, dtype=np.float64).reshape(shape),
            stated=np.array(self._stated, dtype=np.int64),
            refused=np.array(self._refused, dtype=bool),
            source=np.array(self._sources, dtype=np.str_),
            group=np.array(self._groups, dtype=np.str_),
            sets=None if self._without_sets else sets,
        )

    def summary(self) -> Summary:
        """What was measured of everything added so far."""
        return summarise(self.cases())

    def _add_prediction(self, prediction: Prediction) -> None:
        self._stated.append(NO_LABEL if prediction.uncertain else self._place[prediction.label])
        self._shares.extend(share for _, share in prediction.probabilities)
        self._sets.extend(label in prediction.conformal_set for label in self._labels)
        self._without_sets |= prediction.coverage is None
