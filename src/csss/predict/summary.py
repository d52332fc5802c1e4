"""The summary of a measured run: as text for a reader, as a document for a program."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from csss.inference.metrics import Figures, FindingsSummary, Summary
from csss.predict.findings_tables import findings_document, findings_in_words
from csss.predict.tables import bracket, number, span, table

_MADE_FROM_PHANTOMS = "This model was made from drawn phantoms. Its figures say nothing about pictures of people."


@dataclass(frozen=True, slots=True)
class Report:
    """A measurement and what it was of; ``refusals`` counts pictures without an answer by error code.

    ``unlabelled``, ``ambiguous`` and ``missing`` are the files and rows that were not measured.
    """

    model: str
    version: str
    model_sha256: str
    labels_file: str
    split: str | None
    summary: Summary | FindingsSummary
    refusals: Mapping[str, int]
    unlabelled: tuple[str, ...]
    ambiguous: tuple[str, ...]
    missing: tuple[str, ...]
    phantom_trained: bool = False


def to_document(report: Report) -> dict[str, object]:
    """The whole report for JSON; None for what could not be judged."""
    summary = report.summary
    measured = findings_document(summary) if isinstance(summary, FindingsSummary) else _document(summary)
    return {
        "model": report.model,
        "version": report.version,
        "model_sha256": report.model_sha256,
        "phantom_trained": report.phantom_trained,
        "labels_file": report.labels_file,
        "split": report.split,
        **measured,
        "refusals": dict(report.refusals),
        "not_measured": {
            "unlabelled": list(report.unlabelled),
            "ambiguous": list(report.ambiguous),
            "missing": list(report.missing),
        },
    }


def in_words(report: Report) -> str:
    """The report as plain text of several tables."""
    summary = report.summary
    split = f', split "{report.split}"' if report.split else ""
    measured = findings_in_words(summary) if isinstance(summary, FindingsSummary) else _in_words(summary)
    parts = [
        f"{report.model} {report.version} measured against {report.labels_file}{split}\n{_counted(report)}",
        *([_MADE_FROM_PHANTOMS] if report.phantom_trained else []),
        *measured,
        _notes(summary),
    ]
    return "\n\n".join(parts)


def _document(summary: Summary) -> dict[str, object]:
    return {
        "labels": list(summary.labels),
        "figures": _figures(summary.figures),
        "intervals_95": asdict(summary.intervals),
        "sources": {entry.source: _figures(entry.figures) for entry in summary.sources},
        "reliability": [asdict(entry) for entry in summary.bins],
        "risk_coverage": [list(point) for point in summary.curve],
        "conformal": asdict(summary.conformal) if summary.conformal else None,
    }


def _in_words(summary: Summary) -> Iterator[str]:
    yield table(("all pictures", "value", "95 % interval"), _overall(summary))
    yield (
        "Per label, at the likeliest label also where the result is Uncertain (95 % intervals in brackets)\n"
        + table(("label", "pictures", "sensitivity", "specificity", "precision", "F1", "AUROC"), _labels(summary))
    )
    yield (
        "Confusion (rows: truth; columns: likeliest label)\n"
        + table(("truth", *summary.labels, "not answered"), _confusion(summary))
    )
    yield from _sources(summary)
    yield from _sets(summary)


def _figures(figures: Figures) -> dict[str, object]:
    return asdict(figures) | {"confusion": figures.confusion.tolist()}


def _counted(report: Report) -> str:
    summary = report.summary
    figures = summary.whole if isinstance(summary, FindingsSummary) else summary.figures
    why = ", ".join(f"{code} {count}" for code, count in report.refusals.items())
    text = f"{figures.images:,} labelled pictures, {figures.refused:,} not answered" + (f" ({why})" if why else "")
    left = len(report.unlabelled), len(report.ambiguous), len(report.missing)
    if any(left):
        text += (
            f"\nNot measured: {left[0]:,} files without a label, {left[1]:,} ambiguous files, "
            f"{left[2]:,} labels without a file"
        )
    return text


def _overall(summary: Summary) -> Iterator[tuple[str, ...]]:
    figures, intervals = summary.figures, summary.intervals
    yield "accuracy", number(figures.accuracy), span(intervals.accuracy)
    yield "balanced accuracy", number(figures.balanced_accuracy), span(intervals.balanced_accuracy)
    yield "macro F1", number(figures.macro_f1), span(intervals.macro_f1)
    yield "Cohen's kappa", number(figures.kappa), span(intervals.kappa)
    yield "calibration error (ECE, 15 bins)", number(figures.ece), span(intervals.ece)
    yield "Brier score (0 to 2)", number(figures.brier), ""
    yield "area under risk-coverage (AURC)", number(figures.aurc), ""
    yield "share with a stated label", number(figures.coverage), span(intervals.coverage)
    stated = span(intervals.selective_accuracy)
    yield "accuracy of stated labels", number(figures.selective_accuracy), stated


def _labels(summary: Summary) -> Iterator[tuple[str, ...]]:
    for entry, ends in zip(summary.figures.classes, summary.intervals.classes, strict=True):
        yield (
            entry.label,
            f"{entry.support:,}",
            number(entry.sensitivity) + bracket(ends.sensitivity),
            number(entry.specificity) + bracket(ends.specificity),
            number(entry.precision),
            number(entry.f1),
            number(entry.auroc),
        )


def _confusion(summary: Summary) -> Iterator[tuple[str, ...]]:
    for label, row in zip(summary.labels, summary.figures.confusion.tolist(), strict=True):
        yield label, *(f"{count:,}" for count in row)


def _sources(summary: Summary) -> Iterator[str]:
    """Nothing when the labels name no source."""
    if [entry.source for entry in summary.sources] in ([], [""]):
        return
    titles = "source", "pictures", "not answered", "accuracy", "balanced accuracy", "macro F1", "ECE"
    rows = (
        (
            entry.source or "(not said)",
            f"{entry.figures.images:,}",
            f"{entry.figures.refused:,}",
            number(entry.figures.accuracy),
            number(entry.figures.balanced_accuracy),
            number(entry.figures.macro_f1),
            number(entry.figures.ece),
        )
        for entry in summary.sources
    )
    yield "Per source (balanced accuracy and macro F1 over the labels that it holds)\n" + table(titles, rows)


def _sets(summary: Summary) -> Iterator[str]:
    """Nothing for a model without conformal sets."""
    sets = summary.conformal
    if sets is None:
        return
    per_label = ", ".join(
        f"{label} {number(share)}" for label, share in zip(summary.labels, sets.class_coverage, strict=True)
    )
    yield (
        f"Conformal sets of {sets.images:,} answered pictures: {number(sets.coverage)} hold the truth ({per_label}); "
        f"{sets.mean_size:.2f} labels on average, one label {number(sets.single)}, none {number(sets.empty)}"
    )


def _notes(summary: Summary | FindingsSummary) -> str:
    text = (
        "A picture without an answer counts as an error everywhere but in ECE, Brier score, AUROC and conformal sets,\n"
        "which need probabilities."
    )
    intervals = summary.intervals
    if intervals.groups < 2:
        return text + " No intervals: fewer than two patients or groups."
    return text + (
        f" Intervals: {intervals.rounds:,} resamplings of {intervals.groups:,} patients or groups "
        f"(seed {intervals.seed})."
    )
