"""Classify one picture: probabilities, the threshold rule that fails closed, risk, and heat map."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from csss.imaging.volume import Volume, pixel_sha256
from csss.inference.card import MODEL_FILE, UNCERTAIN, ModelCard, Risk
from csss.inference.engines import Engine
from csss.inference.explain import grad_cam, name_regions
from csss.inference.head import Head
from csss.inference.prediction import InferenceRefused, Prediction, Stage, UncertainReason
from csss.inference.prepare import prepare

Floats = NDArray[np.float32]

_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of the threshold rule: the likeliest label and whether it may be stated."""

    top_index: int
    confidence: float
    reasons: tuple[UncertainReason, ...]

    @property
    def uncertain(self) -> bool:
        return bool(self.reasons)


def classify(volume: Volume, card: ModelCard, head: Head, engine: Engine) -> Prediction:
    """What the model of ``card`` says about ``volume``.

    Raises InferenceRefused when the network's answer is no finite probability vector (never a class
    then), Unprocessable when the volume is not a single picture.
    """
    started = perf_counter()
    batch = prepare(volume, card.input)
    prepared = perf_counter()
    features = _single(engine.run(batch), head)
    # Overflow needs no warning here: what it leaves is not finite, and `judge` refuses that.
    with np.errstate(over="ignore", invalid="ignore"):
        pooled = features.mean(axis=(1, 2))
        hidden, logits = head.logits(pooled)
        probabilities = soften(logits, card.calibration.temperature)
        distance = head.distance(pooled)
    verdict = judge(probabilities, len(card.labels), card.threshold.tau, distance, card.ood.limit)
    ran = perf_counter()
    heat = grad_cam(features, hidden, head, verdict.top_index) if card.explanation.shown else None
    regions = name_regions(heat) if heat is not None else ()
    explained = perf_counter()
    names = tuple(label.name for label in card.labels)
    return Prediction(
        label=UNCERTAIN if verdict.uncertain else names[verdict.top_index],
        top_label=names[verdict.top_index],
        confidence=verdict.confidence,
        probabilities=tuple(zip(names, (float(p) for p in probabilities), strict=True)),
        tau=card.threshold.tau,
        uncertain=verdict.uncertain,
        uncertain_reasons=verdict.reasons,
        risk=rate_risk(probabilities, verdict.uncertain, card),
        regions=regions,
        heat=heat,
        ood_distance=distance,
        ood_limit=card.ood.limit,
        input_sha256=pixel_sha256(volume),
        model=card.name,
        version=card.version,
        model_sha256=card.file_sha256(MODEL_FILE) or "",
        calibrated=card.calibration.method != "identity",
        stage_ms=(
            (Stage.PREPARE, 1000.0 * (prepared - started)),
            (Stage.MODEL, 1000.0 * (ran - prepared)),
            (Stage.EXPLAIN, 1000.0 * (explained - ran)),
        ),
    )


def soften(logits: Floats, temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature) in double precision, (C,); not finite where the logits are not."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = logits.astype(np.float64) / temperature
        powers = np.exp(scaled - scaled.max())
        shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def judge(probabilities: NDArray[np.floating], labels: int, tau: float, distance: float, limit: float) -> Verdict:
    """The papers' rule ``max p >= tau``, and the distance rule ``distance <= limit``; both fail closed.

    Raises InferenceRefused for anything but ``labels`` finite shares in [0, 1] that sum to 1, for a
    tau outside [0.5, 1) and for a distance or limit that is not finite.
    """
    if not 0.5 <= tau < 1.0:
        raise InferenceRefused("The threshold is outside [0.5, 1).", code="threshold-out-of-range")
    if probabilities.shape != (labels,):
        raise InferenceRefused("The model answered in another shape.", code="model-output-wrong-shape")
    if not (np.isfinite(probabilities).all() and np.isfinite([distance, limit]).all()):
        raise InferenceRefused("The model's answer is not a number.", code="model-output-not-finite")
    total = float(probabilities.sum(dtype=np.float64))
    if float(probabilities.min()) < 0.0 or abs(total - 1.0) > _SUM_TOLERANCE:
        raise InferenceRefused("The model's answer is no probability.", code="model-output-not-probability")
    top = int(probabilities.argmax())
    confidence = min(float(probabilities[top]), 1.0)
    reasons = []
    if not confidence >= tau:
        reasons.append(UncertainReason.LOW_CONFIDENCE)
    if not distance <= limit:
        reasons.append(UncertainReason.OUT_OF_DISTRIBUTION)
    return Verdict(top, confidence, tuple(reasons))


def rate_risk(probabilities: NDArray[np.floating], uncertain: bool, card: ModelCard) -> Risk:
    """The highest risk among the plausible labels, and at least the floor when the model is unsure.

    The likeliest label is always among the plausible ones, so being unsure can raise the risk of a
    result but never lower it.
    """
    top = int(probabilities.argmax())
    plausible = [
        label.risk
        for index, label in enumerate(card.labels)
        if index == top or probabilities[index] >= card.risk.plausible_from
    ]
    if uncertain:
        plausible.append(Risk(card.risk.floor_when_uncertain))
    return max(plausible, key=lambda risk: risk.rank)


def _single(features: Floats, head: Head) -> Floats:
    if features.ndim != 4 or features.shape[:2] != (1, head.feature_count) or 0 in features.shape:
        raise InferenceRefused("The model answered in another shape.", code="model-output-wrong-shape")
    if not np.isfinite(features).all():
        raise InferenceRefused("The model's answer is not a number.", code="model-output-not-finite")
    single: Floats = features[0]
    return single
