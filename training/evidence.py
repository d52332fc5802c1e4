"""Evidence: everything that was measured of one trained model, for its card and its METRICS.md."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.inference.metrics import NO_LABEL, Cases, Figures
from csss.inference.prediction import Prediction
from training.archive import Sample
from training.blend import Blend
from training.finetune import Epoch
from training.localise import Localisation
from training.quantise import Precision


@dataclass(frozen=True, slots=True)
class Answer:
    """What the served model said about one picture, or the code with which it refused."""

    prediction: Prediction | None
    refusal: str | None

    @property
    def stated(self) -> bool:
        """Whether a label was stated."""
        return self.prediction is not None and not self.prediction.uncertain


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe fitted without the outside sources: on the rest's validation pictures, and on those sources."""

    recipe: str
    validation: Figures
    outside: Figures


@dataclass(frozen=True, slots=True)
class CalibrationChoice:
    """One way to calibrate, judged on validation pictures that it was not fitted on (five folds)."""

    method: str
    macro_f1: float
    balanced_accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """``validation`` and ``test`` are the served answers of those splits, in the order of ``samples``.

    ``beside`` is another model (its name) on the same test pictures. ``without_corners`` are the test figures
    with the corners of the pictures blotted out. ``foreign`` holds (kind, answer) of pictures that are no
    chest X-rays. ``agreement`` is the largest difference of a logit between torch and the exported model.
    ``teachers`` names the models that taught it; ``draw_share`` is how much of the recipe's draws the fit had.
    """

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    fingerprint_sha256: str
    validation: tuple[Answer, ...]
    test: tuple[Answer, ...]
    history: tuple[Epoch, ...]
    beside: tuple[str, tuple[Answer, ...]] | None
    trials: tuple[Trial, ...]
    calibrations: tuple[CalibrationChoice, ...]
    blends: tuple[Blend, ...]
    precisions: tuple[Precision, ...]
    without_corners: Figures | None
    foreign: tuple[tuple[str, Answer], ...]
    localisation: Localisation | None
    agreement: float
    command: str
    seed: int
    teachers: tuple[str, ...] = ()
    draw_share: float = 1.0

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split in the order of its answers."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def cases(self, answers: tuple[Answer, ...], split: str = "test") -> Cases:
        """The answers to one split as `csss.inference.metrics` measures them."""
        return to_cases(self.labels, self.split(split), answers)


def to_cases(labels: tuple[str, ...], samples: tuple[Sample, ...], answers: Iterable[Answer]) -> Cases:
    """The served answers (n) to ``samples`` (n) as cases over ``labels`` (C)."""
    given = tuple(answers)
    return Cases(
        labels=labels,
        truth=np.array([labels.index(sample.label) for sample in samples], dtype=np.int64),
        shares=np.array([_shares(answer, len(labels)) for answer in given]),
        stated=np.array([_stated(answer, labels) for answer in given], dtype=np.int64),
        refused=np.array([answer.prediction is None for answer in given]),
        source=np.array([sample.source for sample in samples]),
        group=np.array([sample.split_group for sample in samples]),
        sets=_sets(given, labels),
    )


def _shares(answer: Answer, count: int) -> list[float]:
    if answer.prediction is None:
        return [0.0] * count
    return [share for _, share in answer.prediction.probabilities]


def _stated(answer: Answer, labels: tuple[str, ...]) -> int:
    return labels.index(answer.prediction.label) if answer.stated and answer.prediction else NO_LABEL


def _sets(answers: tuple[Answer, ...], labels: tuple[str, ...]) -> NDArray[np.bool_] | None:
    if not any(answer.prediction and answer.prediction.coverage for answer in answers):
        return None
    held = [answer.prediction.conformal_set if answer.prediction else () for answer in answers]
    return np.array([[label in names for label in labels] for names in held])
