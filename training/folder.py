"""Finish a fitted chest classifier: calibrate, measure through the serving path, write its model folder."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from csss.inference.card import Calibration, Ingredient, InputSpec, ModelCard, Replay
from csss.inference.head import Head
from csss.inference.metrics import measure
from csss.inference.shelf import Model, Shelf
from csss.inference.tasks.classify import calibrate
from training.archive import Sample, fingerprint
from training.augment import hide_corners
from training.blend import Blend
from training.calibrate import distances, fit_distance
from training.chest_card import describe, draft_card
from training.conformal import choose_calibration, fit_sets
from training.evidence import Answer, CalibrationChoice, Evidence, Trial
from training.finetune import Epoch
from training.localise import localise
from training.model_folder import METRICS_FILE, open_draft, seal_folder
from training.plots import PLOTS, draw_plots
from training.quantise import Precision
from training.report import write_metrics
from training.served import answer_foreign, answer_samples, compare_logits

COVERAGE = 0.90
LIMIT_PERCENTILE = 99.0
_VALIDATION = "the validation split"


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted network: ``model`` its backbone as ONNX, ``pooled`` (n, K) its features of all ``samples``.

    ``spec`` says what ``model`` eats, ``shown`` what ``backbone`` was fitted on (three equal planes).
    ``dense`` holds w1 (H, K), b1 (H,), w2 (C, H), b2 (C,). Without ``for_patients`` it is kept for comparison:
    not calibrated, no sets, no heat maps.
    """

    archive: Path
    samples: tuple[Sample, ...]
    spec: InputSpec
    shown: InputSpec
    model: bytes
    backbone: nn.Module
    pooled: NDArray[np.float32]
    dense: tuple[NDArray[np.float32], ...]
    history: tuple[Epoch, ...]
    trials: tuple[Trial, ...]
    blends: tuple[Blend, ...]
    precisions: tuple[Precision, ...]
    replay: Replay
    command: str
    seed: int
    ingredients: tuple[Ingredient, ...]
    for_patients: bool
    teachers: tuple[str, ...] = ()
    draw_share: float = 1.0

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the data in the order of the network's outputs."""
        return tuple(sorted({sample.label for sample in self.samples}))

    def rows(self, split: str) -> NDArray[np.int64]:
        """The rows of one split."""
        return np.flatnonzero([sample.split == split for sample in self.samples])


def finish_folder(
    fitted: Fitted, *, out: Path, gate: Path | None, foreign: Path | None, beside: Path | None
) -> ModelCard:
    """Write the model folder ``out`` (NAME/VERSION) with everything that was measured; returns its card.

    ``gate`` is a shelf with the gate that the model stands behind, ``beside`` the folder of a model that is
    measured on the same test pictures.
    """
    head, logits, truth = _make_head(fitted)
    calibration, choices = _calibrate(fitted, logits, truth)
    shares = np.stack([calibrate(row, calibration) for row in logits])
    sets = fit_sets(shares, truth, COVERAGE, _VALIDATION, two_are_uncertain=False) if fitted.for_patients else None
    validation = fitted.rows("val")
    limit = float(np.percentile(distances(head, fitted.pooled[validation]), LIMIT_PERCENTILE))
    model = open_draft(
        out,
        fitted.model,
        head,
        gate,
        lambda hashes, need: draft_card(
            out,
            fitted.labels,
            fitted.spec,
            hashes,
            calibration=calibration,
            conformal=sets,
            distance_limit=limit,
            replay=fitted.replay,
            gate=need,
            for_patients=fitted.for_patients,
            tried=fitted.draw_share < 1.0,
        ),
    )
    evidence = _measure(fitted, model, head, choices, foreign=foreign, beside=beside)

    def describe_all(card: ModelCard) -> tuple[str, ...]:
        draw_plots(out, evidence)
        write_metrics(out, card, evidence)
        return METRICS_FILE, *PLOTS

    return seal_folder(model, describe(model.card, evidence, fitted.ingredients), describe_all)


def _make_head(fitted: Fitted) -> tuple[Head, NDArray[np.float32], NDArray[np.int64]]:
    """The head, and the logits (n, C) and truth (n,) of the validation split."""
    labels = fitted.labels
    truth = np.array([labels.index(sample.label) for sample in fitted.samples], dtype=np.int64)
    train, validation = fitted.rows("train"), fitted.rows("val")
    w1, b1, w2, b2 = fitted.dense
    head = Head(w1, b1, w2, b2, *fit_distance(fitted.pooled[train], truth[train], len(labels)))
    logits = np.stack([head.logits(row)[1] for row in fitted.pooled[validation]])
    return head, logits, truth[validation]


def _calibrate(
    fitted: Fitted, logits: NDArray[np.float32], truth: NDArray[np.int64]
) -> tuple[Calibration, tuple[CalibrationChoice, ...]]:
    if not fitted.for_patients:
        return Calibration("identity", 1.0, (), (), "not calibrated, as in the papers"), ()
    groups = np.array([fitted.samples[row].split_group for row in fitted.rows("val")])
    return choose_calibration(logits, truth, groups, _VALIDATION)


def _measure(
    fitted: Fitted,
    model: Model,
    head: Head,
    choices: tuple[CalibrationChoice, ...],
    *,
    foreign: Path | None,
    beside: Path | None,
) -> Evidence:
    splits = {name: tuple(sample for sample in fitted.samples if sample.split == name) for name in ("val", "test")}
    test = answer_samples(model, fitted.archive, splits["test"])
    blotted = answer_samples(model, fitted.archive, splits["test"], change=hide_corners)
    evidence = Evidence(
        samples=fitted.samples,
        labels=fitted.labels,
        fingerprint_sha256=fingerprint(fitted.samples),
        validation=answer_samples(model, fitted.archive, splits["val"]),
        test=test,
        history=fitted.history,
        beside=_ask_beside(beside, fitted.archive, splits["test"]),
        trials=fitted.trials,
        calibrations=choices,
        blends=fitted.blends,
        precisions=fitted.precisions,
        without_corners=None,
        foreign=answer_foreign(model, foreign) if foreign else (),
        localisation=None,
        agreement=compare_logits(model, fitted.backbone, fitted.shown, head, fitted.archive, splits["test"]),
        command=fitted.command,
        seed=fitted.seed,
        teachers=fitted.teachers,
        draw_share=fitted.draw_share,
    )
    predictions = tuple(answer.prediction for answer in test)
    return replace(
        evidence,
        without_corners=measure(evidence.cases(blotted)),
        localisation=localise(model, head, fitted.archive, splits["test"], predictions, fitted.seed)
        if fitted.for_patients
        else None,
    )


def _ask_beside(
    folder: Path | None, archive: Path, samples: tuple[Sample, ...]
) -> tuple[str, tuple[Answer, ...]] | None:
    if folder is None:
        return None
    model = Shelf(folder.parents[1]).model(folder.parent.name, folder.name)
    return f"{model.card.name} {model.card.version}", answer_samples(model, archive, samples)
