"""The part of a summary that is about a model of independent findings: as text, and as a document."""

from collections.abc import Iterator
from dataclasses import asdict

from csss.inference.metrics import FindingsSummary
from csss.predict.tables import bracket, number, span, table


def findings_document(summary: FindingsSummary) -> dict[str, object]:
    """The figures for JSON; None for what could not be judged."""
    return {
        "labels": list(summary.labels),
        "figures": asdict(summary.whole) | {"classes": [asdict(entry) for entry in summary.classes]},
        "intervals_95": asdict(summary.intervals) | {"classes": [asdict(entry) for entry in summary.class_intervals]},
        "sources": {name: asdict(figures) for name, figures in summary.sources},
        "reliability": {
            label: [asdict(entry) for entry in bins] for label, bins in zip(summary.labels, summary.bins, strict=True)
        },
    }


def findings_in_words(summary: FindingsSummary) -> Iterator[str]:
    """The tables, in the order in which they are to be read."""
    yield table(("all pictures", "value", "95 % interval"), _whole(summary))
    yield (
        "Per label by itself, at its own threshold also where the result is Uncertain (95 % intervals in brackets)\n"
        + table(("label", "pictures", "threshold", "sensitivity", "specificity", "precision", "F1"), _rates(summary))
    )
    yield (
        "Per label over all thresholds, of answered pictures\n"
        + table(("label", "AUROC", "average precision", "calibration error"), _areas(summary))
    )
    yield from _sources(summary)


def _whole(summary: FindingsSummary) -> Iterator[tuple[str, ...]]:
    whole, ends = summary.whole, summary.intervals
    yield "mean AUROC", number(whole.mean_auroc), span(ends.mean_auroc)
    yield "mean average precision", number(whole.mean_average_precision), span(ends.mean_average_precision)
    yield "macro F1", number(whole.macro_f1), span(ends.macro_f1)
    yield "balanced accuracy, mean of the labels", number(whole.balanced_accuracy), span(ends.balanced_accuracy)
    yield "calibration error (ECE, 15 bins), mean", number(whole.mean_ece), span(ends.mean_ece)
    yield "all findings of the picture right", number(whole.exact), span(ends.exact)
    yield "share with a stated result", number(whole.coverage), span(ends.coverage)
    yield f'right of {whole.no_finding:,} "No Finding"', number(whole.no_finding_right), span(ends.no_finding_right)


def _rates(summary: FindingsSummary) -> Iterator[tuple[str, ...]]:
    for entry, ends in zip(summary.classes, summary.class_intervals, strict=True):
        yield (
            entry.label,
            f"{entry.support:,}",
            number(entry.present_from),
            number(entry.sensitivity) + bracket(ends.sensitivity),
            number(entry.specificity) + bracket(ends.specificity),
            number(entry.precision),
            number(entry.f1),
        )


def _areas(summary: FindingsSummary) -> Iterator[tuple[str, ...]]:
    for entry, ends in zip(summary.classes, summary.class_intervals, strict=True):
        yield (
            entry.label,
            number(entry.auroc) + bracket(ends.auroc),
            number(entry.average_precision) + bracket(ends.average_precision),
            number(entry.ece),
        )


def _sources(summary: FindingsSummary) -> Iterator[str]:
    """Nothing when the labels name no source."""
    if [name for name, _ in summary.sources] in ([], [""]):
        return
    titles = "source", "pictures", "not answered", "mean AUROC", "macro F1", "balanced accuracy", "ECE"
    rows = (
        (
            name or "(not said)",
            f"{figures.images:,}",
            f"{figures.refused:,}",
            *map(number, (figures.mean_auroc, figures.macro_f1, figures.balanced_accuracy, figures.mean_ece)),
        )
        for name, figures in summary.sources
    )
    yield "Per source (means over the labels that can be judged there)\n" + table(titles, rows)
