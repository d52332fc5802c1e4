"""What the card of a chest model says of its limits and pictures, as it follows from the data and the figures."""

import re

from csss.inference.card import Ingredient
from csss.inference.metrics import measure
from training.archive import Sample
from training.evidence import Evidence
from training.lint.sources import STRONG_V, cramers_v, label_by_source
from training.trials import OUTSIDE_SOURCES

_CHILDREN = "kermany"
_SAME_PEOPLE = {"nih14", "radiography_normal", "mendeley_9d55cttn5h"}
"""Collections that took pictures from the NIH's."""
_FREE = re.compile(
    r"\b(CC0|CC[ -]BY|MIT|BSD|Apache|ODC-BY|PDDL|OGL|Open Government Licen[cs]e|public domain|unrestricted)\b", re.I
)
_RESTRICTED = re.compile(r"\b(NC|ND|non-?commercial|unclear|unknown|not (stated|verified))\b", re.I)


def describe_data(samples: tuple[Sample, ...]) -> str:
    """One sentence: what the pictures are, where they come from, and by what they were split."""
    sources = sorted({sample.source for sample in samples})
    where = f"{len(sources)} sources ({', '.join(sources)})" if len(sources) > 1 else f"one source ({sources[0]})"
    known = sum(sample.patient is not None for sample in samples)
    by = (
        "patient" if known == len(samples)
        else f"patient where one is known ({known:,} of {len(samples):,} pictures), else by group" if known
        else "group; no patients are known"
    )  # fmt: skip
    return f"Chest radiographs of {where}, split by {by}"


def list_collections(samples: tuple[Sample, ...]) -> tuple[Ingredient, ...]:
    """The sources of the pictures with their licences."""
    licences: dict[str, set[str]] = {}
    for sample in samples:
        licences.setdefault(sample.source, set()).add(sample.licence)
    return tuple(
        Ingredient(f"chest radiographs: {source}", "the training data", "; ".join(sorted(licences[source])), None)
        for source in sorted(licences)
    )


def list_limits(evidence: Evidence) -> tuple[str, ...]:
    """What whoever reads its results has to know; the gravest first."""
    whole = measure(evidence.cases(evidence.test))
    weakest = min(whole.classes, key=lambda entry: entry.f1 or 0.0)
    hidden = evidence.without_corners.macro_f1 if evidence.without_corners else None
    return (
        *_tried(evidence.draw_share),
        "It was never measured in a hospital outside its sources. Accuracy there can be far lower" + _outside(evidence),
        *_confounded(evidence.samples),
        *_children(evidence),
        f"Weakest label on the test split: {weakest.label}, F1 {weakest.f1 or 0.0:.2f} over {weakest.support} images."
        + _merged(evidence.labels),
        *_persons(evidence.samples),
        "Normal means none of these labels in these collections. It does not exclude any disease.",
        "It may partly read side markers and borders instead of lungs: with the corners blotted out, macro F1 goes "
        f"from {whole.macro_f1 or 0.0:.2f} to {hidden or 0.0:.2f}.",
        "It knows frontal views of upright or lying patients only. Nothing notices a lateral or a mirrored one.",
        *_terms(evidence.samples),
    )


def _tried(share: float) -> tuple[str, ...]:
    if share >= 1.0:
        return ()
    return (f"Fitted with {share:.3g} of the draws of the recipe, for a quick try: it is never asked about a patient.",)


def _outside(evidence: Evidence) -> str:
    """What the fits without some sources say of a hospital never seen."""
    figures = sorted(f"{trial.outside.balanced_accuracy or 0.0:.2f}" for trial in evidence.trials)
    if not figures:
        return "."
    without = ", ".join(OUTSIDE_SOURCES)
    if figures[0] == figures[-1]:
        return f": a fit without the sources {without} had a balanced accuracy of {figures[0]} on them."
    return f": fits without the sources {without} had balanced accuracies from {figures[0]} to {figures[-1]} on them."


def _confounded(samples: tuple[Sample, ...]) -> tuple[str, ...]:
    _, sources, table = label_by_source(samples)
    if len(sources) < 2:
        return ("All pictures come from one source: nothing is known of any other scanner or hospital.",)
    strength = cramers_v(table)
    if strength < STRONG_V:
        return ()
    return (
        f"Label and source go together in the data (Cramer's V {strength:.2f}; 0 is none, 1 is complete), so part of "
        "the pooled accuracy is knowledge of the source and not of the disease.",
    )


def _children(evidence: Evidence) -> tuple[str, ...]:
    if not {"Viral_Pneumonia", "Lung_Opacity"} <= set(evidence.labels) or not any(
        _CHILDREN in sample.source.lower() for sample in evidence.samples
    ):
        return ()
    return (
        "Viral_Pneumonia and most of Lung_Opacity are children's pictures (Kermany: viral, bacterial); telling those "
        "two apart on a radiograph is hard by nature.",
    )


def _merged(labels: tuple[str, ...]) -> str:
    if "NIH_MERGED" not in labels:
        return ""
    return " NIH_MERGED is pneumonia as labels mined from report text have it, not an umbrella of all findings."


def _persons(samples: tuple[Sample, ...]) -> tuple[str, ...]:
    unknown = sum(sample.patient is None for sample in samples)
    shared = len(_SAME_PEOPLE & {sample.source for sample in samples}) > 1
    if not unknown:
        return ()
    also = ", and several collections hold pictures of the NIH" if shared else ""
    return (
        f"{unknown:,} of {len(samples):,} pictures carry no patient number{also}: the same person may be in training "
        "and test under two names.",
    )


def _terms(samples: tuple[Sample, ...]) -> tuple[str, ...]:
    """What is not known to be free counts as restricted."""
    licences = {sample.licence for sample in samples}
    if all(_FREE.search(licence) and not _RESTRICTED.search(licence) for licence in licences):
        return ()
    return ("Some sources have unclear or non-commercial terms; see the ingredients before commercial use.",)
