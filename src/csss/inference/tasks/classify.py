"""Classify one picture: probabilities, the threshold rule that fails closed, risk, and heat map."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from csss.imaging.quality import QualityFinding, check_chest
from csss.inference.card import MODEL_FILE, UNCERTAIN, Calibration, Conformal, ModelCard, Risk
from csss.inference.engines import Engine
from csss.inference.explain import choose_explained, grad_cam, name_regions
from csss.inference.framing import WHOLE, Frame, frame_lungs, spread_heat
from csss.inference.gate import UNGATED, Admission
from csss.inference.head import Head
from csss.inference.lungs import LungFields, check_fields, estimate_lungs
from csss.inference.prediction import InferenceRefused, Prediction, Stage, UncertainReason
from csss.inference.prepare import Picture, prepare_picture

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


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """What the rule of a task makes of one picture's logits, before gate and quality of the picture are heard.

    ``probabilities`` (C,); ``label`` is stated unless there are reasons against it; ``tau`` is what ``confidence``,
    the probability of the label ``top_index``, was compared with. ``plausible`` are the labels that count for the
    risk, ``chosen`` those of the conformal set, ``found`` those over thresholds of their own.
    """

    probabilities: NDArray[np.float64]
    label: str
    top_index: int
    confidence: float
    tau: float
    reasons: tuple[UncertainReason, ...]
    plausible: tuple[int, ...]
    chosen: tuple[int, ...]
    found: tuple[int, ...] = ()


Rule = Callable[[Floats, float, ModelCard], Statement]
"""Logits (C,) and feature distance to a Statement. Raises InferenceRefused."""


def classify(
    picture: Picture, card: ModelCard, head: Head, engine: Engine, admission: Admission = UNGATED
) -> Prediction:
    """What the model of ``card`` says about ``picture``, under the reserves of its ``admission``.

    Raises InferenceRefused when the network's answer is no finite probability vector (never a class then).
    """
    return answer(picture, card, head, engine, admission, state_one)


def state_one(logits: Floats, distance: float, card: ModelCard) -> Statement:
    """The rule of a model whose labels exclude each other: the likeliest label, where it reaches tau."""
    probabilities = calibrate(logits, card.calibration)
    verdict = judge(probabilities, len(card.labels), card.threshold.tau, distance, card.ood.limit)
    chosen = choose_set(probabilities, card.conformal)
    reasons = verdict.reasons
    if card.conformal is not None and card.conformal.two_are_uncertain and len(chosen) > 1:
        reasons += (UncertainReason.SET_OF_TWO,)
    return Statement(
        probabilities=probabilities,
        label=card.labels[verdict.top_index].name,
        top_index=verdict.top_index,
        confidence=verdict.confidence,
        tau=card.threshold.tau,
        reasons=reasons,
        plausible=find_plausible(probabilities, card),
        chosen=chosen,
    )


def answer(
    picture: Picture, card: ModelCard, head: Head, engine: Engine, admission: Admission, rule: Rule
) -> Prediction:
    """Prepare, run, state by the ``rule`` of the task, explain: the one way from a picture to a prediction.

    Raises InferenceRefused when the network's answer cannot be trusted.
    """
    started = perf_counter()
    framed = card.input.framing == "lungs"
    lungs = estimate_lungs(picture.small) if framed or card.quality == "chest" else None
    quality = (*admission.faults, *_check(picture, lungs if card.quality == "chest" else None))
    frame = frame_lungs(lungs) if framed and lungs else WHOLE
    batch = prepare_picture(picture, card.input, frame)
    prepared = perf_counter()
    features = _single(engine.run(batch), head)
    # Overflow needs no warning here: what it leaves is not finite, and `judge` refuses that.
    with np.errstate(over="ignore", invalid="ignore"):
        pooled = features.mean(axis=(1, 2))
        hidden, logits = head.logits(pooled)
        distance = head.distance(pooled)
        stated = rule(logits, distance, card)
    reasons = _all_reasons(stated, admission, any(finding.fault for finding in quality))
    ran = perf_counter()
    unknown = UncertainReason.OUT_OF_DISTRIBUTION in reasons
    shown = _explain(features, hidden, stated, card, head, frame, lungs) if not unknown else _Explained()
    explained = perf_counter()
    names = tuple(label.name for label in card.labels)
    return Prediction(
        label=UNCERTAIN if reasons else stated.label,
        top_label=names[stated.top_index],
        confidence=stated.confidence,
        probabilities=tuple(zip(names, (float(p) for p in stated.probabilities), strict=True)),
        tau=stated.tau,
        uncertain=bool(reasons),
        uncertain_reasons=reasons,
        risk=rate_risk(stated.plausible, bool(reasons), card),
        regions=shown.regions,
        heat=shown.heat,
        ood_distance=distance,
        ood_limit=card.ood.limit,
        conformal_set=tuple(names[index] for index in stated.chosen),
        coverage=card.conformal.coverage if card.conformal else None,
        quality=quality,
        gate=admission.verdict,
        phantom=admission.phantom,
        input_sha256=picture.sha256,
        model=card.name,
        version=card.version,
        model_sha256=card.file_sha256(MODEL_FILE) or "",
        calibration=card.calibration.method,
        stage_ms=(
            (Stage.PREPARE, 1000.0 * (prepared - started)),
            (Stage.MODEL, 1000.0 * (ran - prepared)),
            (Stage.EXPLAIN, 1000.0 * (explained - ran)),
        ),
        findings=tuple(names[index] for index in stated.found),
        heat_of=shown.of,
        heat_against=shown.against,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Explained:
    """A heat map (None: cold), the zones under it, and the labels it is of and held against; see `Prediction`."""

    heat: Floats | None = None
    regions: tuple[str, ...] = ()
    of: str | None = None
    against: str | None = None


def _explain(
    features: Floats,
    hidden: Floats,
    stated: Statement,
    card: ModelCard,
    head: Head,
    frame: Frame,
    lungs: LungFields | None,
) -> _Explained:
    if not card.explanation.shown:
        return _Explained()
    plain = card.index_of(card.explanation.against)
    of, against = choose_explained(stated.top_index, stated.probabilities, plain)
    heat = spread_heat(grad_cam(features, hidden, head, of, against), frame)
    regions = name_regions(heat, lungs)
    return _Explained(
        heat=heat if regions else None,
        regions=regions,
        of=card.labels[of].name,
        against=None if against is None else card.labels[against].name,
    )


def _check(picture: Picture, lungs: LungFields | None) -> tuple[QualityFinding, ...]:
    return () if lungs is None else (*check_chest(picture.small), *check_fields(lungs))


def calibrate(logits: Floats, calibration: Calibration) -> NDArray[np.float64]:
    """The probabilities (C,) that a card's calibration makes of logits (C,)."""
    if calibration.method == "vector":
        scale, bias = np.array(calibration.scale), np.array(calibration.bias)
        return soften(logits * scale + bias * calibration.temperature, calibration.temperature)
    return soften(logits, calibration.temperature)


def choose_set(probabilities: NDArray[np.floating], conformal: Conformal | None) -> tuple[int, ...]:
    """Indices of the labels that cannot be ruled out, the likeliest first; none without a conformal rule.

    The likeliest label is always among them: an empty set would say that no label fits, which is what
    the distance is for.
    """
    if conformal is None:
        return ()
    top = int(probabilities.argmax())
    order = np.argsort(-probabilities, kind="stable")
    return tuple(int(index) for index in order if index == top or probabilities[index] >= conformal.at_least[index])


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


def find_plausible(probabilities: NDArray[np.floating], card: ModelCard) -> tuple[int, ...]:
    """Indices of the labels that count for the risk; the likeliest one is always among them."""
    top = int(probabilities.argmax())
    return tuple(
        index for index, share in enumerate(probabilities) if index == top or share >= card.risk.plausible_from
    )


def rate_risk(plausible: tuple[int, ...], uncertain: bool, card: ModelCard) -> Risk:
    """The highest risk among the plausible labels, low without any, and at least the floor when the model is unsure.

    So being unsure can raise the risk of a result but never lower it.
    """
    risks = [Risk.LOW, *(card.labels[index].risk for index in plausible)]
    if uncertain:
        risks.append(Risk(card.risk.floor_when_uncertain))
    return max(risks, key=lambda risk: risk.rank)


def _all_reasons(stated: Statement, admission: Admission, faulty: bool) -> tuple[UncertainReason, ...]:
    """Every reason to say "Uncertain", in the order of `UncertainReason`."""
    found = set(stated.reasons)
    if admission.unsure:
        found.add(UncertainReason.OUT_OF_DISTRIBUTION)
    if faulty:
        found.add(UncertainReason.QUALITY)
    return tuple(reason for reason in UncertainReason if reason in found)


def _single(features: Floats, head: Head) -> Floats:
    if features.ndim != 4 or features.shape[:2] != (1, head.feature_count) or 0 in features.shape:
        raise InferenceRefused("The model answered in another shape.", code="model-output-wrong-shape")
    if not np.isfinite(features).all():
        raise InferenceRefused("The model's answer is not a number.", code="model-output-not-finite")
    single: Floats = features[0]
    return single
