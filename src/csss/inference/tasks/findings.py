"""State the findings of one picture: each label by itself, present, clearly absent, or neither."""

import numpy as np
from numpy.typing import NDArray

from csss.inference.card import Calibration, ModelCard
from csss.inference.engines import Engine
from csss.inference.findings_rule import NO_FINDING, FindingsRule
from csss.inference.gate import UNGATED, Admission
from csss.inference.head import Head
from csss.inference.prediction import InferenceRefused, Prediction, UncertainReason
from csss.inference.prepare import Picture
from csss.inference.tasks.classify import Floats, Statement, answer

Shares = NDArray[np.float64]


def find(picture: Picture, card: ModelCard, head: Head, engine: Engine, admission: Admission = UNGATED) -> Prediction:
    """What the model of ``card`` finds in ``picture``, under the reserves of its ``admission``.

    Raises InferenceRefused when one label's answer is no finite probability (then none is stated).
    """
    return answer(picture, card, head, engine, admission, state_findings)


def state_findings(logits: Floats, distance: float, card: ModelCard) -> Statement:
    """The rule of independent labels; it fails closed.

    Stated is, of the labels that reach their thresholds, the likeliest of the highest risk. Without any it is "No
    Finding" where every label is clearly absent, else nothing (low confidence). The label nearest to its threshold is
    explained then. Plausible is every label that is not clearly absent.
    """
    rule = _rule_of(card)
    shares = check_shares(to_shares(logits, card.calibration), len(card.labels), distance, card.ood.limit)
    found = _most_urgent_first(shares, np.array(rule.present_from), card)
    unsettled = tuple(int(index) for index in np.flatnonzero(shares >= np.array(rule.absent_below)))
    top = found[0] if found else _nearest(shares, rule)
    reasons = []
    if unsettled and not found:
        reasons.append(UncertainReason.LOW_CONFIDENCE)
    if not distance <= card.ood.limit:
        reasons.append(UncertainReason.OUT_OF_DISTRIBUTION)
    at_least = np.array(card.conformal.at_least if card.conformal else (2.0,) * len(shares))
    held = np.flatnonzero(shares >= at_least)
    return Statement(
        probabilities=shares,
        label=card.labels[top].name if found else NO_FINDING,
        top_index=top,
        confidence=float(shares[top]),
        tau=rule.present_from[top],
        reasons=tuple(reasons),
        plausible=unsettled,
        chosen=tuple(int(index) for index in held[np.argsort(-shares[held], kind="stable")]),
        found=found,
    )


def to_shares(logits: NDArray[np.floating], calibration: Calibration) -> Shares:
    """The calibrated probability of each label by itself, (..., C) of logits (..., C): they need not sum to 1."""
    scaled = logits.astype(np.float64) / calibration.temperature
    if calibration.method == "vector":
        scaled = scaled * np.array(calibration.scale) + np.array(calibration.bias)
    return np.asarray(sigmoid(scaled))


def sigmoid(values: Shares) -> Shares:
    """1 / (1 + exp(-values)), without overflow; not a number where ``values`` is not."""
    small = np.exp(-np.abs(values))
    shares: Shares = np.where(values >= 0.0, 1.0, small) / (1.0 + small)
    return shares


def check_shares(shares: Shares, labels: int, distance: float, limit: float) -> Shares:
    """``shares`` themselves. Raises InferenceRefused unless they are ``labels`` finite numbers in [0, 1].

    The distance and its limit must be finite, too.
    """
    if shares.shape != (labels,):
        raise InferenceRefused("The model answered in another shape.", code="model-output-wrong-shape")
    if not (np.isfinite(shares).all() and np.isfinite([distance, limit]).all()):
        raise InferenceRefused("The model's answer is not a number.", code="model-output-not-finite")
    if float(shares.min()) < 0.0 or float(shares.max()) > 1.0:
        raise InferenceRefused("The model's answer is no probability.", code="model-output-not-probability")
    return shares


def _rule_of(card: ModelCard) -> FindingsRule:
    if card.findings is None or len(card.findings.present_from) != len(card.labels):
        raise InferenceRefused("The model has no thresholds for its labels.", code="threshold-out-of-range")
    return card.findings


def _most_urgent_first(shares: Shares, present_from: Shares, card: ModelCard) -> tuple[int, ...]:
    found = [int(index) for index in np.flatnonzero(shares >= present_from)]
    return tuple(sorted(found, key=lambda index: (-card.labels[index].risk.rank, -shares[index], index)))


def _nearest(shares: Shares, rule: FindingsRule) -> int:
    """The label whose odds come nearest to those of its threshold; only asked when none reaches it."""
    present_from = np.array(rule.present_from)
    odds = shares / np.maximum(1.0 - shares, np.finfo(np.float64).tiny)
    return int((odds * (1.0 - present_from) / present_from).argmax())
