"""The card of a chest classifier: what it accepts and says, drafted before and described after it was measured."""

from dataclasses import replace
from pathlib import Path

from csss.inference.card import (
    HEAD_FILE,
    MODEL_FILE,
    UNSTATED,
    Calibration,
    Coding,
    Conformal,
    Explanation,
    FileHash,
    GateNeed,
    Ingredient,
    InputSpec,
    Label,
    ModelCard,
    OutOfDistribution,
    Replay,
    Risk,
    RiskRule,
    SourceFigures,
    Threshold,
    TrainingData,
)
from csss.inference.metrics import measure
from csss.inference.shelf import Model
from training.archive import Sample
from training.card_words import describe_data, list_collections, list_limits
from training.datasets.mapping import UnknownClass
from training.evidence import Evidence
from training.localise import NORMAL, Localisation

CHANCE = 0.5
"""Heat maps are shown when the interval of the hits in the diseased half lies above this."""
MOST_ALIKE = 0.5
"""... and when their mean correlation with a random head's maps stays under this."""

_UNMEASURED = "not measured yet"
_SNOMED = "SNOMED CT"
_LABELS = {
    "COVID": Label("COVID", "COVID-19", Coding(_SNOMED, "840539006", "COVID-19"), Risk.HIGH),
    "Lung_Opacity": Label("Lung_Opacity", "Lung opacity", None, Risk.HIGH),
    "NIH_MERGED": Label("NIH_MERGED", "Other finding (NIH, mostly pneumonia)", None, Risk.HIGH),
    "Normal": Label("Normal", "None of these findings", None, Risk.LOW),
    "Viral_Pneumonia": Label(
        "Viral_Pneumonia", "Viral pneumonia", Coding(_SNOMED, "75570004", "Viral pneumonia"), Risk.HIGH
    ),
    "Sick": Label("Sick", "Cardiac disease", None, Risk.HIGH),
}
_RISK_RULE = (
    "An order of attention, not of severity: every label that names a finding is high, the one that names none "
    "is low. The result takes the highest risk among the labels with at least the plausible probability, and at "
    "least moderate when it is Uncertain. So being unsure raises the risk of a result or leaves it; it never lowers it."
)
_INTENDED_USE = (
    "To order and support the reading of frontal chest radiographs by a doctor who looks at every picture. "
    "It is not a diagnosis, has no regulatory clearance, and must not be used without that reading."
)
_FOR_COMPARISON = (
    "The recipe of the papers, kept so that every claim can be made beside it. It is never asked about a patient."
)


def demand_labels(samples: tuple[Sample, ...]) -> None:
    """Raises UnknownClass unless every picture has exactly one label that these cards have words for."""
    several = sum(len(sample.labels) > 1 for sample in samples)
    if several:
        raise UnknownClass(
            f"{several} pictures have several labels, and this model states one. `python -m training findings` fits "
            "one that states several; `python -m training split --five-labels` maps the public layouts to one label."
        )
    unknown = sorted({sample.label for sample in samples} - set(_LABELS))
    if unknown:
        raise UnknownClass(f"These models have no words for {', '.join(unknown)}; there are {', '.join(_LABELS)}.")


def need_gate(gate: Model) -> GateNeed:
    """What a chest model wants of the very ``gate`` that it is measured with."""
    return GateNeed(
        model=gate.card.name,
        seal=gate.seal,
        accepts=("chest-xray",),
        phantoms=("chest-phantom",),
        turned=("chest-xray-turned",),
        inverted=("chest-xray-inverted",),
    )


def draft_card(
    out: Path,
    labels: tuple[str, ...],
    spec: InputSpec,
    hashes: tuple[FileHash, ...],
    *,
    calibration: Calibration,
    conformal: Conformal | None,
    distance_limit: float,
    replay: Replay,
    gate: GateNeed | None,
    for_patients: bool,
    tried: bool = False,
) -> ModelCard:
    """The card of the weights before their figures and golden case are known; ``out`` is NAME/VERSION.

    One that was only ``tried`` is calibrated and measured like one for patients, and kept for comparison.
    """
    tau = "the default rule of the papers, max p >= 0.75" + (", over calibrated probabilities" * for_patients)
    bare = bare_chest_card(
        out,
        spec,
        hashes,
        labels=tuple(_LABELS[label] for label in labels),
        tau=(0.75, tau),
        calibration=calibration,
        distance=(distance_limit, "the 99th percentile of the validation split: 1 % of those are beyond it"),
        gate=gate,
        replay=replay,
        risk=RiskRule(0.1, Risk.MODERATE, _RISK_RULE),
    )
    return replace(
        bare,
        purpose="patients" if for_patients and not tried else "comparison",
        conformal=conformal,
        quality="chest" if for_patients else None,
        explanation=replace(bare.explanation, against=NORMAL if NORMAL in labels else None),
        intended_use=bare.intended_use if tried else _INTENDED_USE if for_patients else _FOR_COMPARISON,
    )


def bare_chest_card(
    out: Path,
    spec: InputSpec,
    hashes: tuple[FileHash, ...],
    *,
    labels: tuple[Label, ...],
    tau: tuple[float, str],
    calibration: Calibration,
    distance: tuple[float, str],
    gate: GateNeed | None,
    replay: Replay,
    risk: RiskRule,
) -> ModelCard:
    """What the card of any model of chest radiographs begins with; ``tau`` and ``distance`` come with their reasons.

    It is for comparison, and says that nothing was measured.
    """
    sha256 = {file.name: file.sha256 for file in hashes}
    version = out.resolve().name
    return ModelCard(
        name=out.resolve().parent.name,
        version=version,
        task="classify",
        purpose="comparison",
        engine="onnx",
        modalities=("CR", "DX", UNSTATED),
        body_parts=("CHEST", "THORAX", "LUNG", UNSTATED),
        input=spec,
        labels=labels,
        threshold=Threshold(*tau, version, sha256[MODEL_FILE], sha256[HEAD_FILE]),
        calibration=calibration,
        ood=OutOfDistribution("pca-mahalanobis", *distance),
        conformal=None,
        gate=gate,
        quality="chest",
        risk=risk,
        explanation=Explanation("grad-cam-closed-form", True, _UNMEASURED),
        intended_use="To compare methods. It is never asked about a patient.",
        limits=(_UNMEASURED,),
        training_data=TrainingData("0" * 64, _UNMEASURED, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, ()),
        ingredients=(Ingredient("weights", _UNMEASURED, _UNMEASURED, None),),
        phantom_trained=False,
        replay=replay,
        files=hashes,
    )


def describe(card: ModelCard, evidence: Evidence, parts: tuple[Ingredient, ...]) -> ModelCard:
    """``card`` with what was measured: figures, limits, whether its maps are shown; made of ``parts`` and pictures."""
    return replace(
        card,
        explanation=judge_maps(evidence.localisation, card.explanation.against),
        limits=list_limits(evidence),
        training_data=_training_data(evidence),
        ingredients=(*parts, *list_collections(evidence.samples)),
    )


def maps_earn_trust(found: Localisation) -> bool:
    """Whether maps point at findings clearly more often than chance and depend on what was learned."""
    return found.low > CHANCE and found.alike < MOST_ALIKE


def judge_maps(found: Localisation | None, against: str | None) -> Explanation:
    """What was measured of the maps, in words, and whether they are shown; see `Explanation` for ``against``."""
    if found is None:
        return Explanation("grad-cam-closed-form", False, "Kept for comparison only; its maps were not judged.")
    held = (
        f"They show what speaks for the likeliest finding rather than for {against}, also where {against} is likelier. "
        if against
        else ""
    )
    beside = f"; of the finding alone in {found.alone:.0%}" if against else ""
    measured = held + (
        f"On {found.pictures} Normals with one half taken from a diseased picture, the hottest point of the finding's "
        f"map lay in the diseased half in {found.hits:.0%} (95 % interval {found.low:.0%} to {found.high:.0%}, chance "
        f"50 %{beside}). {found.inside:.0%} of the heat over test pictures lies in the estimated lung fields; "
        f"correlation with the maps of a random head {found.alike:.2f}. "
    )
    verdict = (
        "They are no outline of a finding, and their colours are relative to the hottest place. Regions are thirds of "
        "estimated lung fields, not segmented ones."
    )
    if not maps_earn_trust(found):
        verdict = "That is too little to be shown: the maps are hidden."
    return Explanation("grad-cam-closed-form", maps_earn_trust(found), measured + verdict, against)


def _training_data(evidence: Evidence) -> TrainingData:
    cases = evidence.cases(evidence.test)
    whole = measure(cases)
    sources = tuple(
        SourceFigures(name, part.images, part.accuracy or 0.0, part.balanced_accuracy or 0.0)
        for name, part in ((name, measure(part)) for name, part in cases.by_source())
    )
    return TrainingData(
        fingerprint_sha256=evidence.fingerprint_sha256,
        description=describe_data(evidence.samples),
        train_images=len(evidence.split("train")),
        validation_images=len(evidence.split("val")),
        test_images=len(evidence.split("test")),
        test_accuracy=whole.accuracy or 0.0,
        test_balanced_accuracy=whole.balanced_accuracy or 0.0,
        test_macro_f1=whole.macro_f1 or 0.0,
        test_ece=whole.ece or 0.0,
        sources=sources,
    )
