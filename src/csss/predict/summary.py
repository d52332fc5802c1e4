"""The summary of a measured run: as text for a reader, as a document for a program."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from csss.inference.metrics import Figures, Interval, Summary

_NOTHING = "n/a"


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
    summary: Summary
    refusals: Mapping[str, int]
    unlabelled: tuple[str, ...]
    ambiguous: tuple[str, ...]
    missing: tuple[str, ...]


def to_document(report: Report) -> dict[str, object]:
    """The whole report for JSON; None for what could not be judged."""
    summary = report.summary
    return {
        "model": report.model,
        "version": report.version,
        "model_sha256": report.model_sha256,
        "labels_file": report.labels_file,
        "split": report.split,
        "labels": list(summary.labels),
        "figures": _figures(summary.figures),
        "refusals": dict(report.refusals),
        "intervals_95": asdict(summary.intervals),
        "sources": {entry.source: _figures(entry.figures) for entry in summary.sources},
        "reliability": [asdict(entry) for entry in summary.bins],
        "risk_coverage": [list(point) for point in summary.curve],
        "conformal": asdict(summary.conformal) if summary.conformal else None,
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
    parts = [
        f"{report.model} {report.version} measured against {report.labels_file}{split}\n{_counted(report)}",
        _table(("all pictures", "value", "95 % interval"), _overall(summary)),
        "Per label, at the likeliest label also where the result is Uncertain (95 % intervals in brackets)\n"
        + _table(("label", "pictures", "sensitivity", "specificity", "precision", "F1", "AUROC"), _labels(summary)),
        "Confusion (rows: truth; columns: likeliest label)\n"
        + _table(("truth", *summary.labels, "not answered"), _confusion(summary)),
        *_sources(summary),
        *_sets(summary),
        _notes(summary),
    ]
    return "\n\n".join(parts)


def _figures(figures: Figures) -> dict[str, object]:
    return asdict(figures) | {"confusion": figures.confusion.tolist()}


def _counted(report: Report) -> str:
    figures = report.summary.figures
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
    yield "accuracy", _number(figures.accuracy), _span(intervals.accuracy)
    yield "balanced accuracy", _number(figures.balanced_accuracy), _span(intervals.balanced_accuracy)
    yield "macro F1", _number(figures.macro_f1), _span(intervals.macro_f1)
    yield "Cohen's kappa", _number(figures.kappa), _span(intervals.kappa)
    yield "calibration error (ECE, 15 bins)", _number(figures.ece), _span(intervals.ece)
    yield "Brier score (0 to 2)", _number(figures.brier), ""
    yield "area under risk-coverage (AURC)", _number(figures.aurc), ""
    yield "share with a stated label", _number(figures.coverage), _span(intervals.coverage)
    stated = _span(intervals.selective_accuracy)
    yield "accuracy of stated labels", _number(figures.selective_accuracy), stated


def _labels(summary: Summary) -> Iterator[tuple[str, ...]]:
    for entry, span in zip(summary.figures.classes, summary.intervals.classes, strict=True):
        yield (
            entry.label,
            f"{entry.support:,}",
            _number(entry.sensitivity) + _bracket(span.sensitivity),
            _number(entry.specificity) + _bracket(span.specificity),
            _number(entry.precision),
            _number(entry.f1),
            _number(entry.auroc),
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
            _number(entry.figures.accuracy),
            _number(entry.figures.balanced_accuracy),
            _number(entry.figures.macro_f1),
            _number(entry.figures.ece),
        )
        for entry in summary.sources
    )
    yield "Per source (balanced accuracy and macro F1 over the labels that it holds)\n" + _table(titles, rows)


def _sets(summary: Summary) -> Iterator[str]:
    """Nothing for a model without conformal sets."""
    sets = summary.conformal
    if sets is None:
        return
    per_label = ", ".join(
        f"{label} {_number(share)}" for label, share in zip(summary.labels, sets.class_coverage, strict=True)
    )
    yield (
        f"Conformal sets of {sets.images:,} answered pictures: {_number(sets.coverage)} hold the truth ({per_label}); "
        f"{sets.mean_size:.2f} labels on average, one label {_number(sets.single)}, none {_number(sets.empty)}"
    )


def _notes(summary: Summary) -> str:
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


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [tuple(titles), *map(tuple, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(titles))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell to the left, the others to the right."""
    first, *rest = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((first, *rest)).rstrip()


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"


def _span(interval: Interval | None) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if interval else ""


def _bracket(interval: Interval | None) -> str:
    return f" ({interval.low:.3f}-{interval.high:.3f})" if interval else ""
