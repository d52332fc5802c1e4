"""FindingsEvidence: everything that was measured of one model of several findings, for its card and METRICS.md."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from csss.inference.findings_rule import NO_FINDING
from csss.inference.metrics import NO_LABEL, FindingCases, FindingsSummary, WholeFigures
from training.evidence import Answer
from training.findings_data import FindingsData
from training.finetune import Epoch
from training.localise import Localisation


@dataclass(frozen=True, slots=True, eq=False)
class FindingsEvidence:
    """``test`` are the served answers to the test split, ``summary`` their figures; ``without_corners`` are those with
    the corners of the pictures blotted out.

    ``weights`` is what each present label counted in the loss. ``foreign`` holds (kind, answer) of pictures that are
    no chest X-rays. ``agreement`` is the largest difference of a logit between torch and the exported model.
    """

    data: FindingsData
    weights: tuple[float, ...]
    test: tuple[Answer, ...]
    summary: FindingsSummary
    without_corners: WholeFigures
    history: tuple[Epoch, ...]
    foreign: tuple[tuple[str, Answer], ...]
    localisation: Localisation
    agreement: float
    command: str
    seed: int


def to_finding_cases(
    data: FindingsData, split: str, answers: Iterable[Answer], present_from: tuple[float, ...]
) -> FindingCases:
    """The served answers to one split, in the order of its samples, as `csss.inference.metrics` measures them."""
    samples, given = data.of(split), tuple(answers)
    places = {label: index for index, label in enumerate((*data.labels, NO_FINDING))}
    count = len(data.labels)
    return FindingCases(
        labels=data.labels,
        truth=data.truth[data.rows(split)].astype(bool),
        shares=np.array([_shares(answer, count) for answer in given]).reshape(-1, count),
        present_from=np.array(present_from),
        stated=np.array(
            [places[each.prediction.label] if each.stated and each.prediction else NO_LABEL for each in given],
            dtype=np.int64,
        ),
        refused=np.array([answer.prediction is None for answer in given], dtype=bool),
        source=np.array([sample.source for sample in samples], dtype=np.str_),
        group=np.array([sample.split_group for sample in samples], dtype=np.str_),
    )


def _shares(answer: Answer, count: int) -> list[float]:
    if answer.prediction is None:
        return [0.0] * count
    return [share for _, share in answer.prediction.probabilities]
