"""Prediction: what one model said about one picture, kept whole."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import CsssError
from csss.imaging.quality import QualityFinding
from csss.inference.card import UNCERTAIN, Risk


class InferenceRefused(CsssError):
    """The model's answer cannot be trusted at all, so there is none; ``code`` says why."""

    status = 422
    code = "inference-refused"


class UncertainReason(StrEnum):
    """Why a result reads "Uncertain" and a person must look without the model's help."""

    LOW_CONFIDENCE = "low-confidence"
    SET_OF_TWO = "set-of-two"
    OUT_OF_DISTRIBUTION = "out-of-distribution"
    QUALITY = "quality"


class Stage(StrEnum):
    """The parts of a prediction whose time is kept."""

    READ = "read"
    DECODE = "decode"
    GATE = "gate"
    PREPARE = "prepare"
    MODEL = "model"
    EXPLAIN = "explain"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate took the picture for: its likeliest label with its share, and how far from the known it lies.

    ``sure`` is False when the share or the distance is beyond the gate's own limits.
    """

    model: str
    version: str
    label: str
    display: str
    share: float
    distance: float
    limit: float
    sure: bool


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The full answer: ``label`` is a label's name or "Uncertain", ``top_label`` the likeliest label.

    ``confidence`` is its probability; ``heat`` float32 (h, w) in [0, 1] covers the whole picture and shows what
    speaks for ``heat_of`` rather than for ``heat_against`` (see `choose_explained`; None for no other), relative to the
    hottest place; it is None, and ``regions`` are none, where nothing does. All of them are None where the model's maps
    may not be shown, and for a picture unlike the known ones.
    ``input_sha256`` is the hash of the decoded pixels; ``stage_ms`` are wall-clock milliseconds.
    ``ood_distance`` is the feature-space distance that was compared with ``ood_limit``.
    ``conformal_set`` are the labels that cannot be ruled out at the stated ``coverage``; ``quality`` is
    what the checks of the picture found; ``gate`` what it was taken for; ``phantom`` tells that it is a
    drawing of this product and no picture of a person. ``calibration`` names the method. For a model of independent
    findings ``label`` may also be "No Finding", ``tau`` is the threshold of ``top_label``, and ``findings`` are all
    labels that reach their own thresholds, the most urgent first.
    """

    label: str
    top_label: str
    confidence: float
    probabilities: tuple[tuple[str, float], ...]
    tau: float
    uncertain: bool
    uncertain_reasons: tuple[UncertainReason, ...]
    risk: Risk
    regions: tuple[str, ...]
    heat: NDArray[np.float32] | None
    ood_distance: float
    ood_limit: float
    conformal_set: tuple[str, ...]
    coverage: float | None
    quality: tuple[QualityFinding, ...]
    gate: GateVerdict | None
    phantom: bool
    input_sha256: str
    model: str
    version: str
    model_sha256: str
    calibration: str
    stage_ms: tuple[tuple[Stage, float], ...]
    findings: tuple[str, ...] = ()
    heat_of: str | None = None
    heat_against: str | None = None


def raise_threshold(prediction: Prediction, tau: float, *, floor: Risk) -> Prediction:
    """The same prediction under a site's higher threshold; a site can be more careful, never less.

    What becomes Uncertain by it gets at least the risk ``floor`` (the card's ``floor_when_uncertain``).
    Raises InferenceRefused ``threshold-out-of-range`` for a tau below the prediction's own or from 1 on.
    """
    if not prediction.tau <= tau < 1.0:
        message = "The site's threshold is lower than the model's own, or not below 1."
        raise InferenceRefused(message, code="threshold-out-of-range")
    if prediction.confidence >= tau:
        return replace(prediction, tau=tau)
    reasons = dict.fromkeys((UncertainReason.LOW_CONFIDENCE, *prediction.uncertain_reasons))
    return replace(
        prediction,
        tau=tau,
        label=UNCERTAIN,
        uncertain=True,
        uncertain_reasons=tuple(reasons),
        risk=max(prediction.risk, floor, key=lambda risk: risk.rank),
    )


def join_stages(
    first: tuple[tuple[Stage, float], ...], second: tuple[tuple[Stage, float], ...]
) -> tuple[tuple[Stage, float], ...]:
    """The times of two parts of one prediction; a stage that both have is added up."""
    total: dict[Stage, float] = {}
    for stage, spent_ms in (*first, *second):
        total[stage] = total.get(stage, 0.0) + spent_ms
    return tuple((stage, total[stage]) for stage in Stage if stage in total)
