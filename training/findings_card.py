"""The card of a model of several findings: what it may be used for, and what was measured of it."""

from dataclasses import replace
from pathlib import Path

from csss.inference.card import (
    FLOAT_REPLAY,
    Calibration,
    Conformal,
    FileHash,
    GateNeed,
    Ingredient,
    InputSpec,
    Label,
    ModelCard,
    Risk,
    RiskRule,
    SourceFigures,
    TrainingData,
)
from csss.inference.findings_rule import NO_FINDING, FindingsRule
from training.card_words import list_collections
from training.chest_card import bare_chest_card, judge_maps
from training.datasets import Layout
from training.findings_evidence import FindingsEvidence
from training.findings_fit import FEWEST

_INTENDED_USE = (
    "To compare methods. It is never asked about a patient: models of several findings are not shown in the product."
)
_TAU = "not used: each label has a threshold of its own (findings.present_from), bound to these weights with this entry"
_DISTANCE = (
    "the 99th percentile of the validation split: 1 % of those are farther from the middle of all training pictures"
)
_RISK_RULE = (
    "An order of attention, not of severity: every finding is high. The result takes the highest risk among the labels "
    "that are not clearly absent, and at least moderate when it is Uncertain; low is left for a result in which every "
    "label is clearly absent."
)


def draft_findings_card(
    out: Path,
    labels: tuple[str, ...],
    spec: InputSpec,
    hashes: tuple[FileHash, ...],
    *,
    calibration: Calibration,
    conformal: Conformal,
    rule: FindingsRule,
    distance_limit: float,
    gate: GateNeed | None,
) -> ModelCard:
    """The card of the weights before their figures and golden case are known; ``out`` is NAME/VERSION."""
    bare = bare_chest_card(
        out,
        spec,
        hashes,
        labels=tuple(Label(label, label.replace("_", " "), None, Risk.HIGH) for label in labels),
        tau=(0.5, _TAU),
        calibration=calibration,
        distance=(distance_limit, _DISTANCE),
        gate=gate,
        replay=FLOAT_REPLAY,
        risk=RiskRule(0.5, Risk.MODERATE, _RISK_RULE),
    )
    return replace(
        bare,
        task="findings",
        conformal=conformal,
        intended_use=_INTENDED_USE,
        findings=rule,
    )


def describe_findings(card: ModelCard, evidence: FindingsEvidence, backbone: Ingredient) -> ModelCard:
    """``card`` with what was measured: figures, limits, ingredients, and whether its maps may be shown."""
    return replace(
        card,
        explanation=judge_maps(evidence.localisation, None),
        limits=_limits(card, evidence),
        training_data=_training_data(evidence),
        ingredients=(backbone, *list_collections(evidence.data.samples)),
    )


def _training_data(evidence: FindingsEvidence) -> TrainingData:
    data, whole = evidence.data, evidence.summary.whole
    return TrainingData(
        fingerprint_sha256=data.fingerprint_sha256,
        description=(
            f"Pictures with any number of {len(data.labels)} findings (layout {data.layout}), split by patient or "
            "group. Accuracy is the share of pictures with all findings right; balanced accuracy, F1 and calibration "
            "error are means over the labels, each by itself."
        ),
        train_images=len(data.of("train")),
        validation_images=len(data.of("val")),
        test_images=len(data.of("test")),
        test_accuracy=whole.exact or 0.0,
        test_balanced_accuracy=whole.balanced_accuracy or 0.0,
        test_macro_f1=whole.macro_f1 or 0.0,
        test_ece=whole.mean_ece or 0.0,
        sources=tuple(
            SourceFigures(name, figures.images, figures.exact or 0.0, figures.balanced_accuracy or 0.0)
            for name, figures in evidence.summary.sources
        ),
    )


def _limits(card: ModelCard, evidence: FindingsEvidence) -> tuple[str, ...]:
    data, limits = evidence.data, []
    validation = data.truth[data.rows("val")]
    few = [label for label, count in zip(data.labels, validation.sum(axis=0), strict=True) if count < FEWEST]
    if few:
        limits.append(f"Too few validation pictures to choose a threshold by (fewer than {FEWEST}): {', '.join(few)}.")
    if card.findings and not all(card.findings.absent_below):
        never = [label for label, limit in zip(data.labels, card.findings.absent_below, strict=True) if not limit]
        limits.append(f'It never rules out {", ".join(never)}, so it never states "{NO_FINDING}".')
    if data.layout == Layout.NIH14:
        limits.append(
            "The labels of ChestX-ray14 were mined from the text of reports. They have errors, and what a report does "
            "not mention counts as absent."
        )
    return (
        *limits,
        "It was never measured in a hospital outside its sources.",
        f'"{NO_FINDING}" means none of these labels. It does not exclude any disease.',
        "Labels are stated each by itself: how findings go together was learned from the data, not checked.",
        "The distance to the training pictures is one for all labels; rare findings lie farther out than common ones.",
    )
