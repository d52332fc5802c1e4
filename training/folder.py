"""Write the model folder of chest-mobilenetv2: network, head, golden case, figures and card."""

import hashlib
from dataclasses import replace
from pathlib import Path

from csss.imaging.phantom import Finding, phantom_chest
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import (
    GOLDEN_FILE,
    HEAD_FILE,
    MODEL_FILE,
    UNSTATED,
    Calibration,
    Coding,
    Explanation,
    FileHash,
    Ingredient,
    InputSpec,
    Label,
    ModelCard,
    OutOfDistribution,
    Risk,
    RiskRule,
    SourceFigures,
    Threshold,
    TrainingData,
    write_card,
)
from csss.inference.engines import ENGINES
from csss.inference.golden import keep_golden, write_golden
from csss.inference.head import Head, write_head
from csss.inference.tasks.classify import classify
from training.evidence import OUTSIDE_SOURCES, Evidence, shares_of
from training.measure import measure
from training.plots import PLOTS, draw_plots
from training.pretrained import PACKAGE, PACKAGE_VERSION, WEIGHTS_SHA256
from training.report import heat_outside, test_figures, write_metrics

GOLDEN_SEED = 1
GOLDEN_SIZE = (320, 320)
_SNOMED = "SNOMED CT"
_LABELS = {
    "COVID": Label("COVID", "COVID-19", Coding(_SNOMED, "840539006", "COVID-19"), Risk.HIGH),
    "Lung_Opacity": Label("Lung_Opacity", "Lung opacity", None, Risk.HIGH),
    "NIH_MERGED": Label("NIH_MERGED", "Other finding (NIH, mostly pneumonia)", None, Risk.HIGH),
    "Normal": Label("Normal", "None of these findings", None, Risk.LOW),
    "Viral_Pneumonia": Label(
        "Viral_Pneumonia", "Viral pneumonia", Coding(_SNOMED, "75570004", "Viral pneumonia"), Risk.HIGH
    ),
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


def draft_card(
    out: Path, labels: tuple[str, ...], spec: InputSpec, model: bytes, head: Head, temperature: float, limit: float
) -> ModelCard:
    """The card of the weights before their figures and golden case are known; ``out`` is NAME/VERSION."""
    name, version = out.resolve().parent.name, out.resolve().name
    packed = write_head(head)
    return ModelCard(
        name=name,
        version=version,
        task="classify",
        engine="onnx",
        modalities=("CR", "DX", UNSTATED),
        body_parts=("CHEST", "THORAX", "LUNG", UNSTATED),
        input=spec,
        labels=tuple(_LABELS[label] for label in labels),
        threshold=Threshold(
            tau=0.75,
            derivation="the default rule of the papers, max p >= 0.75, over calibrated probabilities",
            for_model_version=version,
            for_model_sha256=_sha256(model),
            for_head_sha256=_sha256(packed),
        ),
        calibration=Calibration("temperature", temperature, "the validation split"),
        ood=OutOfDistribution(
            "pca-mahalanobis", limit, "the 99th percentile of the validation split: 1 % of those are beyond it"
        ),
        risk=RiskRule(0.1, Risk.MODERATE, _RISK_RULE),
        explanation=Explanation(
            "grad-cam-closed-form",
            True,
            "Equals autograd to rounding. How well the maps localise findings is not measured for this version: read "
            "them as what the model looked at, which may be a marker, and not as where a finding is. "
            "Regions are fixed thirds of two rectangles, not segmented lungs.",
        ),
        intended_use=_INTENDED_USE,
        limits=("not measured yet",),
        training_data=TrainingData("0" * 64, "not measured yet", 0, 0, 0, 0.0, 0.0, 0.0, 0.0, ()),
        ingredients=(Ingredient("weights", "not listed yet", "not listed yet", None),),
        phantom_trained=False,
        files=(FileHash(MODEL_FILE, _sha256(model)), FileHash(HEAD_FILE, _sha256(packed))),
    )


def write_folder(out: Path, draft: ModelCard, model: bytes, head: Head, evidence: Evidence) -> ModelCard:
    """Write every file of the folder, the card last; returns the final card."""
    out.mkdir(parents=True, exist_ok=True)
    card = replace(
        draft,
        limits=_limits(evidence),
        training_data=_training_data(evidence),
        ingredients=_ingredients(evidence),
    )
    (out / MODEL_FILE).write_bytes(model)
    (out / HEAD_FILE).write_bytes(write_head(head))
    (out / GOLDEN_FILE).write_bytes(_golden(card, model, head))
    draw_plots(out, evidence)
    write_metrics(out, card, evidence)
    names = (MODEL_FILE, HEAD_FILE, GOLDEN_FILE, "METRICS.md", *PLOTS)
    card = replace(card, files=tuple(FileHash(name, _sha256((out / name).read_bytes())) for name in names))
    write_card(card, out)
    return card


def _golden(card: ModelCard, model: bytes, head: Head) -> bytes:
    pixels = phantom_chest(GOLDEN_SEED, size=GOLDEN_SIZE, finding=Finding.OPACITY)
    volume = Volume(pixels=pixels[None], kind=FileKind.PNG)
    return write_golden(keep_golden(pixels, classify(volume, card, head, ENGINES[card.engine](model, 1))))


def _training_data(evidence: Evidence) -> TrainingData:
    truth, shares, figures = evidence.truth("test"), shares_of(evidence.test), test_figures(evidence)
    sources = []
    for source, rows in evidence.by_source("test"):
        part = measure(truth[rows], shares[rows], evidence.labels)
        sources.append(SourceFigures(source, part.images, part.accuracy, part.balanced_accuracy))
    return TrainingData(
        fingerprint_sha256=evidence.fingerprint_sha256,
        description="Public chest radiographs of seven sources, short side 240 pixels, split by patient or group",
        train_images=len(evidence.split("train")),
        validation_images=len(evidence.split("val")),
        test_images=len(evidence.split("test")),
        test_accuracy=figures.accuracy,
        test_balanced_accuracy=figures.balanced_accuracy,
        test_macro_f1=figures.macro_f1,
        test_ece=figures.ece,
        sources=tuple(sources),
    )


def _ingredients(evidence: Evidence) -> tuple[Ingredient, ...]:
    weights = Ingredient(
        "MobileNetV2 weights fitted on ImageNet-1k (torchvision mobilenet_v2-b0353104)",
        f"Python package {PACKAGE} {PACKAGE_VERSION}",
        "MIT (package), BSD-3-Clause (torchvision); the pictures of ImageNet have terms of their own",
        WEIGHTS_SHA256,
    )
    licences: dict[str, set[str]] = {}
    for sample in evidence.samples:
        licences.setdefault(sample.source, set()).add(sample.licence)
    images = (
        Ingredient(f"chest radiographs: {source}", "public collection", "; ".join(sorted(licences[source])), None)
        for source in sorted(licences)
    )
    return (weights, *images)


def _limits(evidence: Evidence) -> tuple[str, ...]:
    weakest = min(test_figures(evidence).classes, key=lambda entry: entry.f1)
    return (
        "It was never measured in a hospital outside its sources. Accuracy there can be far lower" + _outside(evidence),
        "Label and source go together in the data (COVID and most Normals come from different collections), so part "
        "of the pooled accuracy is knowledge of the source and not of the disease.",
        "Viral_Pneumonia and most of Lung_Opacity are children's pictures (Kermany: viral, bacterial); telling those "
        "two apart on a radiograph is hard by nature.",
        f"Weakest label on the test split: {weakest.label}, F1 {weakest.f1:.2f} over {weakest.images} images. "
        "NIH_MERGED is 97 % pneumonia labels mined from report text, not an umbrella of all findings.",
        "Normal means none of these labels in these collections. It does not exclude any disease.",
        "The feature distance is a safety net and no gate: METRICS.md has the share of foreign pictures that it finds.",
        "It may partly read side markers and borders instead of lungs: "
        f"{100 * heat_outside(evidence.test):.0f} % of its heat maps on the test split lie mostly outside the lung "
        f"fields. With the corners blotted out, macro F1 goes from {test_figures(evidence).macro_f1:.2f} to "
        f"{evidence.without_corners.macro_f1:.2f}.",
        "It knows frontal views of upright or lying patients only; nothing checks the view before it reads.",
        "Some sources have unclear or non-commercial terms; see the ingredients before commercial use.",
    )


def _outside(evidence: Evidence) -> str:
    """What the runs without some sources say of a hospital never seen."""
    if evidence.trials:
        figures = [trial.outside.balanced_accuracy for trial in evidence.trials]
        names = ", ".join(OUTSIDE_SOURCES)
        return (
            f": fits without the sources {names} had balanced accuracies from {min(figures):.2f} to "
            f"{max(figures):.2f} on them."
        )
    if not evidence.probes:
        return "."
    worst = min(evidence.probes, key=lambda probe: probe.figures.balanced_accuracy)
    return (
        f": with the source {worst.source} left out of the fit of the head, balanced accuracy on it was "
        f"{worst.figures.balanced_accuracy:.2f}."
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
