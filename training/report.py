"""METRICS.md: what was measured of one chest classifier, in plain tables."""

from pathlib import Path

from csss.inference.card import ModelCard
from csss.inference.metrics import Figures, Summary, measure, summarise
from training.evidence import Evidence
from training.quantise import MOST_LOST
from training.report_trust import abstention, calibration, failures, foreign, heat, sets
from training.tables import OVERALL, number, overall, preface, span, table
from training.trials import OUTSIDE_SOURCES


def write_metrics(folder: Path, card: ModelCard, evidence: Evidence) -> None:
    """Write METRICS.md into ``folder``; every figure is of the test split unless it says otherwise."""
    summary = summarise(evidence.cases(evidence.test), seed=evidence.seed)
    parts = (
        _head(card, evidence),
        _whole(summary, evidence),
        _classes(summary),
        _sources(summary, evidence),
        _trials(evidence),
        heat(evidence),
        abstention(card, summary, evidence),
        sets(card, summary),
        foreign(card, evidence),
        calibration(card, summary, evidence),
        failures(evidence),
        _blends(evidence),
        _precisions(evidence),
        _course(evidence),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
    )
    (folder / "METRICS.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _head(card: ModelCard, evidence: Evidence) -> str:
    counts = ", ".join(f"{name} {len(evidence.split(name)):,}" for name in ("train", "val", "test"))
    return preface(
        card,
        command=evidence.command,
        seed=evidence.seed,
        data=f"{counts} pictures; fingerprint sha256 `{evidence.fingerprint_sha256}`",
        agreement=evidence.agreement,
        notes=(
            "A picture that the gate refuses counts as an error in accuracy, sensitivity, specificity and F1.",
            *([f"Teachers of the last course: {', '.join(evidence.teachers)}"] if evidence.teachers else []),
        ),
    )


def _whole(summary: Summary, evidence: Evidence) -> str:
    rows = [("this model", *overall(summary.figures), number(summary.figures.aurc))]
    if evidence.beside is not None:
        name, answers = evidence.beside
        other = measure(evidence.cases(answers))
        rows.append((name, *overall(other), number(other.aurc)))
    ends = summary.intervals
    interval = (
        f"95 % intervals of this model, {ends.rounds:,} bootstrap rounds over {ends.groups:,} patients and groups: "
        f"accuracy {span(ends.accuracy)}, balanced accuracy {span(ends.balanced_accuracy)}, "
        f"macro F1 {span(ends.macro_f1)}, ECE {span(ends.ece)}."
    )
    refused = f"Refused by the gate: {summary.figures.refused} of {summary.figures.images} test pictures."
    return "\n\n".join(("## All sources together", table(("", *OVERALL, "AURC"), rows), interval, refused))


def _classes(summary: Summary) -> str:
    rows = [
        (
            entry.label,
            str(entry.support),
            *(
                cell
                for name in ("sensitivity", "specificity", "precision", "f1")
                for cell in (number(getattr(entry, name)), span(getattr(ends, name)))
            ),
            number(entry.auroc),
        )
        for entry, ends in zip(summary.figures.classes, summary.intervals.classes, strict=True)
    ]
    names = ("sensitivity", "specificity", "precision", "F1")
    titles = ("label", "images", *(title for name in names for title in (name, "95 %")), "AUROC")
    confusion = [
        (label, *(str(count) for count in row))
        for label, row in zip(summary.labels, summary.figures.confusion, strict=True)
    ]
    return "\n\n".join(
        (
            "## Per class",
            table(titles, rows),
            "Confusion matrix (rows: truth, columns: likeliest label).",
            table(("truth", *summary.labels, "refused"), confusion),
            "![Confusion matrix](confusion.png)",
        )
    )


def _sources(summary: Summary, evidence: Evidence) -> str:
    beside: dict[str, Figures] = {}
    if evidence.beside is not None:
        beside = {name: measure(part) for name, part in evidence.cases(evidence.beside[1]).by_source()}
    rows = []
    for entry in summary.sources:
        held = ", ".join(
            f"{label.label} {number(label.sensitivity)}" for label in entry.figures.classes if label.support
        )
        other = overall(beside[entry.source])[1:3] if beside else ()
        rows.append((entry.source, str(entry.figures.images), *overall(entry.figures), *other, held))
    titles: tuple[str, ...] = ("source", "images", *OVERALL)
    if evidence.beside is not None:
        name = evidence.beside[0]
        titles += (f"balanced accuracy of {name}", f"macro F1 of {name}")
    note = "Balanced accuracy and macro F1 are over the labels that the source holds in the test split."
    return "\n\n".join(("## Per source", table((*titles, "sensitivity per label held"), rows), note))


def _trials(evidence: Evidence) -> str:
    """Nothing for a run that tried nothing."""
    if not evidence.trials:
        return ""
    rows = [(trial.recipe, *overall(trial.validation)[1:3], *overall(trial.outside)) for trial in evidence.trials]
    titles = ("fitted without those sources", "validation balanced accuracy", "validation macro F1",
              *(f"outside {name}" for name in OVERALL))  # fmt: skip
    classes = [
        (trial.recipe, *(number(entry.sensitivity) for entry in trial.outside.classes)) for trial in evidence.trials
    ]
    first = evidence.trials[0].outside.classes
    counts = ", ".join(f"{entry.label} {entry.support}" for entry in first if entry.support)
    note = (
        f"Fits without the sources {', '.join(OUTSIDE_SOURCES)}, measured on them ({counts}); labels that only those "
        "sources hold are left aside. They drew fewer pictures than the model that is shipped."
    )
    second = "Sensitivity per label on the outside sources:"
    tables = table(titles, rows), table(("recipe", *evidence.labels), classes)
    return "\n\n".join(("## Sources left out", note, tables[0], second, tables[1]))


def _blends(evidence: Evidence) -> str:
    """Nothing for a run of one course."""
    if not evidence.blends:
        return ""
    rows = [
        (str(each.course), f"{each.share:.2f}", number(each.loss), number(each.macro_f1)) for each in evidence.blends
    ]
    note = (
        "Weights between those before a course (0) and after it (1), on the validation split, before calibration. "
        "Each time those with the least loss were kept."
    )
    return "\n\n".join(("## Blend of weights", note, table(("course", "share", "loss", "macro F1"), rows)))


def _precisions(evidence: Evidence) -> str:
    """Nothing where only one way to store the network was tried."""
    if not evidence.precisions:
        return ""
    rows = [
        (each.name, f"{each.size_bytes / 2**20:.1f}", number(each.macro_f1), number(each.balanced_accuracy))
        for each in evidence.precisions
    ]
    note = (
        "Validation split, before calibration. The 8-bit file is shipped when it loses at most "
        f"{MOST_LOST:.3f} of both figures; every other figure here is of the file that is shipped."
    )
    titles = ("stored as", "MiB", "macro F1", "balanced accuracy")
    return "\n\n".join(("## How the network is stored", note, table(titles, rows)))


def _course(evidence: Evidence) -> str:
    rows = [
        (str(epoch.number), number(epoch.train_loss), number(epoch.val_loss), number(epoch.val_macro_f1))
        for epoch in evidence.history
    ]
    titles = ("stage", "training loss", "validation loss", "validation macro F1")
    return "\n\n".join(("## Course of the fit", table(titles, rows), "![Learning curves](learning.png)"))
