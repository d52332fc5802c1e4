"""METRICS.md of a model of several findings, in plain tables."""

from collections import Counter
from pathlib import Path

from csss.inference.card import ModelCard
from csss.inference.findings_rule import NO_FINDING
from csss.inference.metrics import FindingsSummary, WholeFigures
from training.findings_evidence import FindingsEvidence
from training.findings_fit import MARGIN
from training.tables import number, preface, span, table

_ERRORS = 20
_WHOLE = ("mean AUROC", "mean average precision", "macro F1", "balanced accuracy", "mean ECE")


def write_findings_metrics(folder: Path, card: ModelCard, evidence: FindingsEvidence) -> None:
    """Write METRICS.md into ``folder``; every figure is of the test split unless it says otherwise."""
    summary = evidence.summary
    parts = (
        _head(card, evidence),
        _whole(summary),
        _rates(summary),
        _areas(summary),
        _calibration(card, evidence),
        _statements(summary, evidence),
        _sources(summary),
        _heat(evidence),
        _foreign(evidence),
        _errors(evidence),
        _course(evidence),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
    )
    (folder / "METRICS.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _head(card: ModelCard, evidence: FindingsEvidence) -> str:
    data = evidence.data
    counts = ", ".join(f"{name} {len(data.of(name)):,}" for name in ("train", "val", "test"))
    return preface(
        card,
        command=evidence.command,
        seed=evidence.seed,
        data=f"layout {data.layout}; {counts} pictures; fingerprint sha256 `{data.fingerprint_sha256}`",
        agreement=evidence.agreement,
        notes=(
            "Kept for comparison: it never reads for a patient.",
            "A picture that the gate refuses counts as an error in sensitivity, specificity and F1.",
            *data.notes,
        ),
    )


def _whole(summary: FindingsSummary) -> str:
    ends = summary.intervals
    found = (ends.mean_auroc, ends.mean_average_precision, ends.macro_f1, ends.balanced_accuracy, ends.mean_ece)
    rows = [("test", *_figures(summary.whole)), ("95 %", *map(span, found))]
    note = (
        f"Means over the labels, each by itself. Intervals: {ends.rounds:,} bootstrap rounds over {ends.groups:,} "
        f"patients and groups. Refused by the gate: {summary.whole.refused} of {summary.whole.images} pictures."
    )
    return "\n\n".join(("## All labels together", table(("", *_WHOLE), rows), note))


def _figures(whole: WholeFigures) -> tuple[str, ...]:
    means = whole.mean_auroc, whole.mean_average_precision, whole.macro_f1, whole.balanced_accuracy, whole.mean_ece
    return tuple(map(number, means))


def _rates(summary: FindingsSummary) -> str:
    titles = (
        "label",
        "pictures",
        "threshold",
        "sensitivity",
        "95 %",
        "specificity",
        "95 %",
        "precision",
        "F1",
        "F1, 95 %",
    )
    rows = [
        (
            entry.label,
            str(entry.support),
            number(entry.present_from),
            number(entry.sensitivity),
            span(ends.sensitivity),
            number(entry.specificity),
            span(ends.specificity),
            number(entry.precision),
            number(entry.f1),
            span(ends.f1),
        )
        for entry, ends in zip(summary.classes, summary.class_intervals, strict=True)
    ]
    return "\n\n".join(("## Per label, at its own threshold", table(titles, rows)))


def _areas(summary: FindingsSummary) -> str:
    titles = ("label", "AUROC", "95 %", "average precision", "95 %", "share of pictures with it")
    answered = max(summary.whole.images - summary.whole.refused, 1)
    rows = [
        (
            entry.label,
            number(entry.auroc),
            span(ends.auroc),
            number(entry.average_precision),
            span(ends.average_precision),
            number((entry.support - entry.refused) / answered),
        )
        for entry, ends in zip(summary.classes, summary.class_intervals, strict=True)
    ]
    note = "The average precision of guessing is the share of pictures that have the label."
    return "\n\n".join(("## Per label, over all thresholds", table(titles, rows), note, "![AUROC](auroc.png)"))


def _calibration(card: ModelCard, evidence: FindingsEvidence) -> str:
    data, rule = evidence.data, card.findings
    if rule is None:
        return ""
    held = {split: data.truth[data.rows(split)].sum(axis=0) for split in ("train", "val")}
    rows = [
        (
            label,
            str(held["train"][index]),
            str(held["val"][index]),
            f"{evidence.weights[index]:.2f}",
            number(card.calibration.scale[index]),
            number(card.calibration.bias[index]),
            number(rule.present_from[index]),
            number(rule.absent_below[index]),
            number(evidence.summary.classes[index].ece),
        )
        for index, label in enumerate(data.labels)
    ]
    titles = (
        "label",
        "train",
        "val",
        "weight in the loss",
        "scale",
        "bias",
        "present from",
        "clearly absent below",
        "ECE",
    )
    note = (
        "A present label weighs the square root of absent over present in the loss (1 to 20). Probability: "
        "sigmoid(scale x logit + bias), fitted on validation, as are both limits. ECE of the test split, 15 bins."
    )
    plot = "![Reliability by label](reliability.png)"
    return "\n\n".join(("## Calibration and limits", note, table(titles, rows), plot))


def _statements(summary: FindingsSummary, evidence: FindingsEvidence) -> str:
    whole, ends = summary.whole, summary.intervals
    given = [answer.prediction for answer in evidence.test if answer.prediction]
    reasons = Counter(str(reason) for each in given for reason in each.uncertain_reasons)
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "none"
    rows = [
        ("a result is stated (not Uncertain)", number(whole.coverage), span(ends.coverage)),
        (f'"{NO_FINDING}" stated, {whole.no_finding} times: right', number(whole.no_finding_right),
         span(ends.no_finding_right)),
        ("all findings of the picture right", number(whole.exact), span(ends.exact)),
    ]  # fmt: skip
    note = (
        f'"{NO_FINDING}" is stated when every label is clearly absent: below {MARGIN} of its threshold, and below what '
        f"the stated share of its own validation pictures reach. Reasons for Uncertain: {told}."
    )
    return "\n\n".join(("## What is stated", note, table(("share of pictures", "value", "95 %"), rows)))


def _sources(summary: FindingsSummary) -> str:
    rows = [(name, str(part.images), *_figures(part)) for name, part in summary.sources]
    note = "Means over the labels that can be judged in that source."
    return "\n\n".join(("## Per source", table(("source", "pictures", *_WHOLE), rows), note))


def _heat(evidence: FindingsEvidence) -> str:
    found = evidence.localisation
    rows = [("as they are", *_figures(evidence.summary.whole)),
            ("corners blotted out", *_figures(evidence.without_corners))]  # fmt: skip
    localised = (
        f"Localisation: pictures without findings got one half of a picture with findings of the same source. The map "
        f"of the label with the largest logit is hottest in that half in {number(found.hits)} of {found.pictures} "
        f"({found.low:.3f} to {found.high:.3f}, chance 0.5). Randomisation: mean correlation of the maps with those "
        f"under a head drawn at random {number(found.alike)}. Share of the heat in the estimated lung fields "
        f"{number(found.inside)}."
    )
    return "\n\n".join(("## Where the evidence lies", table(("test pictures", *_WHOLE), rows), localised))


def _foreign(evidence: FindingsEvidence) -> str:
    """Nothing for a run that looked at none."""
    if not evidence.foreign:
        return ""
    kinds = Counter(kind for kind, _ in evidence.foreign)
    refused = Counter(kind for kind, answer in evidence.foreign if answer.refusal)
    stated = Counter(kind for kind, answer in evidence.foreign if answer.stated)
    rows = [(kind, str(count), str(refused[kind]), str(stated[kind])) for kind, count in sorted(kinds.items())]
    return "## Pictures that are no chest X-rays\n\n" + table(("kind", "pictures", "refused", "a result stated"), rows)


def _errors(evidence: FindingsEvidence) -> str:
    """The false alarms with the largest probabilities over their thresholds, and what those pictures have."""
    found = []
    limits = {entry.label: entry.present_from for entry in evidence.summary.classes}
    for sample, answer in zip(evidence.data.of("test"), evidence.test, strict=True):
        for label, share in answer.prediction.probabilities if answer.prediction else ():
            if share >= limits[label] and label not in sample.labels:
                found.append((share, sample.file, label, sample.label.replace("|", ", ")))
    found.sort(reverse=True)
    rows = [(file, label, number(share), truth) for share, file, label, truth in found[:_ERRORS]]
    if not rows:
        return ""
    return "## The most confident false alarms\n\n" + table(("picture", "stated", "probability", "labels"), rows)


def _course(evidence: FindingsEvidence) -> str:
    rows = [
        (str(epoch.number), number(epoch.train_loss), number(epoch.val_loss), number(epoch.val_macro_f1))
        for epoch in evidence.history
    ]
    note = "F1 is that where a logit is above 0, before calibration and thresholds."
    titles = ("stage", "training loss", "validation loss", "validation macro F1")
    return "\n\n".join(("## Course of the fit", note, table(titles, rows), "![Learning curves](learning.png)"))
