"""FindingsBook: keeps of each file with any number of known findings only the numbers that measuring needs."""

from array import array
from collections import Counter
from collections.abc import Mapping

import numpy as np

from csss.inference.card import ModelCard
from csss.inference.findings_rule import NO_FINDING
from csss.inference.metrics import NO_LABEL, FindingCases, FindingsSummary, summarise_findings
from csss.inference.read_files import FileReading
from csss.predict.labels import Truth


class FindingsBook:
    """Collects readings of files whose findings are known; flat memory for any number of files."""

    def __init__(self, card: ModelCard) -> None:
        self._labels = tuple(label.name for label in card.labels)
        self._present_from = card.findings.present_from if card.findings else ()
        self._place = {label: index for index, label in enumerate((*self._labels, NO_FINDING))}
        self._truth = array("b")
        self._stated = array("q")
        self._refused = array("b")
        self._shares = array("d")
        self._sources: list[str] = []
        self._groups: list[str] = []
        self._refusals: Counter[str] = Counter()

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many files were not answered, by the code of their error."""
        return dict(sorted(self._refusals.items()))

    def add(self, truth: Truth, reading: FileReading) -> None:
        """Keep what ``reading`` says of a file of known ``truth``."""
        self._truth.extend(label in truth.labels for label in self._labels)
        self._sources.append(truth.source)
        self._groups.append(truth.group)
        prediction = reading.prediction
        self._refused.append(prediction is None)
        if prediction is None:
            self._refusals[reading.error.code if reading.error else "internal-error"] += 1
            self._stated.append(NO_LABEL)
            self._shares.extend([float("nan")] * len(self._labels))
        else:
            self._stated.append(NO_LABEL if prediction.uncertain else self._place[prediction.label])
            self._shares.extend(share for _, share in prediction.probabilities)

    def cases(self) -> FindingCases:
        """Everything added so far."""
        shape = (len(self._stated), len(self._labels))
        return FindingCases(
            labels=self._labels,
            truth=np.array(self._truth, dtype=bool).reshape(shape),
            shares=np.array(self._shares, dtype=np.float64).reshape(shape),
            present_from=np.array(self._present_from, dtype=np.float64),
            stated=np.array(self._stated, dtype=np.int64),
            refused=np.array(self._refused, dtype=bool),
            source=np.array(self._sources, dtype=np.str_),
            group=np.array(self._groups, dtype=np.str_),
        )

    def summary(self) -> FindingsSummary:
        """What was measured of everything added so far."""
        return summarise_findings(self.cases())
