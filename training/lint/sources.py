"""Check whether label and source are confounded: their table, Cramer's V, and a probe that predicts the source."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from training.archive import Sample
from training.lint.finding import Finding, Severity, clear, skipped
from training.lint.looks import Looked
from training.lint.probe import Probe, probe

FEWEST = 30
STRONG_V = 0.3
_TABLE = "label and source"
_PROBE = "source seen in the picture"


def check_sources(looked: Looked) -> list[Finding]:
    """The table of label x source with Cramer's V, and the probe inside each label."""
    sources = sorted({sample.source for sample in looked.samples})
    if len(sources) < 2:
        told = f"All pictures have one source ({sources[0]})" if sources else "No picture was readable"
        return [
            skipped(check, f"{told}: whether a model would work elsewhere cannot be seen from this data.")
            for check in (_TABLE, _PROBE)
        ]
    labels, sources, table = label_by_source(looked.samples)
    probes = probe_sources(looked, labels)
    told_apart = [label for label, each in probes.items() if each.tells_apart]
    return [_judge_table(labels, sources, table, visible=bool(told_apart) or not probes), _judge_probes(probes)]


def label_by_source(samples: Iterable[Sample]) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Labels, sources, and how many pictures of each source have each label (labels, sources)."""
    counts = Counter((label, sample.source) for sample in samples for label in sample.labels)
    labels, sources = (sorted({key[place] for key in counts}) for place in (0, 1))
    return labels, sources, np.array([[counts[label, source] for source in sources] for label in labels])


def cramers_v(table: NDArray[np.int64]) -> float:
    """Association of rows and columns of a contingency table, 0 (none) to 1 (one determines the other)."""
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    chi_square = float(((table - expected) ** 2 / expected).sum())
    return float(np.sqrt(chi_square / (table.sum() * (min(table.shape) - 1))))


def probe_sources(looked: Looked, labels: list[str]) -> dict[str, Probe]:
    """For each label with two sources of at least ``FEWEST`` pictures: can the source be told from the picture?"""
    features = np.stack([np.r_[look.spectrum, look.histogram] for look in looked.looks]).astype(np.float64)
    probes = {}
    for label in labels:
        held = [index for index, sample in enumerate(looked.samples) if label in sample.labels]
        enough = {name for name, count in Counter(looked.samples[i].source for i in held).items() if count >= FEWEST}
        rows = [index for index in held if looked.samples[index].source in enough]
        names = [looked.samples[index].source for index in rows]
        groups = [looked.samples[index].split_group for index in rows]
        if len(enough) > 1 and (result := probe(features[rows], names, groups)):
            probes[label] = result
    return probes


def _judge_table(labels: list[str], sources: list[str], table: NDArray[np.int64], *, visible: bool) -> Finding:
    strength = cramers_v(table)
    shown = (("label", *sources), *((label, *map(str, row)) for label, row in zip(labels, table.tolist(), strict=True)))
    lonely = [
        f"{label} comes from {sources[int(row.argmax())]} alone"
        for label, row in zip(labels, table, strict=True)
        if (row > 0).sum() == 1
    ] + [
        f"{source} holds {labels[int(column.argmax())]} alone"
        for source, column in zip(sources, table.T, strict=True)
        if (column > 0).sum() == 1
    ]
    if strength < STRONG_V and not lonely:
        return clear(_TABLE, f"Label and source are nearly independent (Cramer's V {strength:.2f}).", table=shown)
    severity = Severity.SERIOUS if strength >= STRONG_V and visible else Severity.WARNING
    return Finding(
        _TABLE,
        severity,
        f"Label and source go together (Cramer's V {strength:.2f}; 0 is none, 1 is complete).",
        len(lonely),
        tuple(lonely[:10]),
        "A model can learn from which hospital or collection a picture comes and guess the label from that. It then "
        "looks good on this data and fails in another hospital. Accuracy over all sources together hides this.",
        "Report every figure per source, leave whole sources out when choosing and measuring, and balance the drawing "
        "of pictures over label and source. Trust only figures from a hospital that gave no picture to learn from.",
        shown,
    )


def _judge_probes(probes: dict[str, Probe]) -> Finding:
    if not probes:
        return skipped(_PROBE, f"No label has two sources with at least {FEWEST} pictures each.")
    rows = [("label", "sources", "pictures", "balanced accuracy", "chance")]
    for label, each in probes.items():
        rows.append(
            (label, ", ".join(each.classes), str(each.pictures), f"{each.balanced_accuracy:.2f}", f"{each.chance:.2f}")
        )
    told = {label: each for label, each in probes.items() if each.tells_apart}
    if not told:
        return clear(_PROBE, "Simple features do not tell the source of a picture.", table=tuple(rows))
    return Finding(
        _PROBE,
        Severity.WARNING,
        f"Labels in which the source can be told from sharpness and grey levels alone: {len(told)} of {len(probes)}.",
        len(told),
        tuple(
            f"{label}: right in {each.balanced_accuracy:.0%} of the pictures (mean over sources), "
            f"by chance {each.chance:.0%}"
            for label, each in told.items()
        ),
        "All pictures of one label were compared, so this is not disease: scanners, resizing and compression leave "
        "traces that a network sees at once. Together with labels that go with sources it is a short cut.",
        "Train with blur, noise, JPEG quality, gamma and spectrum varied at random, and measure on left-out sources.",
        tuple(rows),
    )
