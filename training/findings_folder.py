"""Finish a fitted model of several findings: calibrate, measure through the serving path, write its folder."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from csss.inference.card import Ingredient, InputSpec, ModelCard
from csss.inference.findings_rule import NO_FINDING
from csss.inference.head import Head
from csss.inference.metrics import measure_whole, summarise_findings
from csss.inference.shelf import Model
from csss.inference.tasks.findings import to_shares
from training.augment import hide_corners
from training.calibrate import distances, fit_distance
from training.evidence import Answer
from training.findings_aim import shift_of
from training.findings_card import describe_findings, draft_findings_card
from training.findings_data import FindingsData
from training.findings_evidence import FindingsEvidence, to_finding_cases
from training.findings_fit import choose_thresholds, fit_calibration, make_rule, rule_out
from training.findings_plots import FINDINGS_PLOTS, draw_findings
from training.findings_report import write_findings_metrics
from training.finetune import Epoch
from training.folder import LIMIT_PERCENTILE
from training.localise import NORMAL, Localisation, localise
from training.model_folder import METRICS_FILE, open_draft, seal_folder
from training.served import answer_foreign, answer_samples, compare_logits

COVERAGE = 0.95
_VALIDATION = "the validation split"


@dataclass(frozen=True, slots=True, eq=False)
class FittedFindings:
    """A fitted network: ``model`` its backbone as ONNX, ``pooled`` (n, K) its features of all samples of ``data``.

    ``dense`` holds w1 (H, K), b1 (H,), w2 (C, H), b2 (C,); ``weights`` (C,) is what a present label counted in the
    loss.
    """

    data: FindingsData
    spec: InputSpec
    model: bytes
    backbone: nn.Module
    pooled: NDArray[np.float32]
    dense: tuple[NDArray[np.float32], ...]
    weights: NDArray[np.float64]
    history: tuple[Epoch, ...]
    command: str
    seed: int
    ingredient: Ingredient


def finish_findings(fitted: FittedFindings, *, out: Path, gate: Path | None, foreign: Path | None) -> ModelCard:
    """Write the model folder ``out`` (NAME/VERSION) with everything that was measured; returns its card."""
    data, validation = fitted.data, fitted.data.rows("val")
    head = _make_head(fitted)
    logits = np.stack([head.logits(row)[1] for row in fitted.pooled[validation]])
    truth = data.truth[validation].astype(bool)
    calibration = fit_calibration(logits, truth, shift_of(fitted.weights), _VALIDATION)
    shares = to_shares(logits, calibration)
    conformal = rule_out(shares, truth, COVERAGE, _VALIDATION)
    model = open_draft(
        out,
        fitted.model,
        head,
        gate,
        lambda hashes, need: draft_findings_card(
            out,
            data.labels,
            fitted.spec,
            hashes,
            calibration=calibration,
            conformal=conformal,
            rule=make_rule(choose_thresholds(shares, truth), conformal),
            distance_limit=float(np.percentile(distances(head, fitted.pooled[validation]), LIMIT_PERCENTILE)),
            gate=need,
        ),
    )
    evidence = _measure(fitted, model, head, foreign)

    def describe_all(card: ModelCard) -> tuple[str, ...]:
        draw_findings(out, evidence)
        write_findings_metrics(out, card, evidence)
        return METRICS_FILE, *FINDINGS_PLOTS

    return seal_folder(model, describe_findings(model.card, evidence, fitted.ingredient), describe_all)


def _make_head(fitted: FittedFindings) -> Head:
    """The head; its distance is that to the middle of all training pictures, which belong to no one class."""
    rows = fitted.data.rows("train")
    w1, b1, w2, b2 = fitted.dense
    everything = np.zeros(len(rows), dtype=np.int64)
    centre, directions, middle, residual = fit_distance(fitted.pooled[rows], everything, 1)
    return Head(w1, b1, w2, b2, centre, directions, np.repeat(middle, len(w2), axis=0), residual)


def _measure(fitted: FittedFindings, model: Model, head: Head, foreign: Path | None) -> FindingsEvidence:
    data, samples = fitted.data, fitted.data.of("test")
    test = answer_samples(model, data.path, samples)
    blotted = answer_samples(model, data.path, samples, change=hide_corners)
    present_from = model.card.findings.present_from if model.card.findings else ()
    return FindingsEvidence(
        data=data,
        weights=tuple(float(weight) for weight in fitted.weights),
        test=test,
        summary=summarise_findings(to_finding_cases(data, "test", test, present_from), seed=fitted.seed),
        without_corners=measure_whole(to_finding_cases(data, "test", blotted, present_from)),
        history=fitted.history,
        foreign=answer_foreign(model, foreign) if foreign else (),
        localisation=_localise(fitted, model, head, test),
        agreement=compare_logits(model, fitted.backbone, fitted.spec, head, data.path, samples),
        command=fitted.command,
        seed=fitted.seed,
    )


def _localise(fitted: FittedFindings, model: Model, head: Head, test: tuple[Answer, ...]) -> Localisation:
    """As for models of one label, where a picture without findings is a Normal."""
    named = tuple(
        replace(sample, label=NORMAL) if sample.label == NO_FINDING else sample for sample in fitted.data.of("test")
    )
    return localise(model, head, fitted.data.path, named, tuple(each.prediction for each in test), fitted.seed)
