"""The pictures of METRICS.md of a model of several findings: areas by label, reliability by label, learning curves."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from csss.inference.metrics import FindingsSummary
from training.findings_evidence import FindingsEvidence
from training.plots import RESOLUTION_DPI, learning_curves

FINDINGS_PLOTS = ("auroc.png", "reliability.png", "learning.png")


def draw_findings(folder: Path, evidence: FindingsEvidence) -> None:
    """Write the files named in ``FINDINGS_PLOTS`` into ``folder``."""
    mpl.rcParams["font.size"] = 9
    figures = (_areas(evidence.summary), _reliability(evidence.summary), learning_curves(evidence.history))
    for name, figure in zip(FINDINGS_PLOTS, figures, strict=True):
        # Without the software's name and version the same figures give the same bytes.
        figure.savefig(folder / name, dpi=RESOLUTION_DPI, metadata={"Software": None})


def _areas(summary: FindingsSummary) -> Figure:
    figure = Figure(figsize=(5.6, 1.2 + 0.28 * len(summary.labels)), layout="constrained")
    axes = figure.subplots()
    for place, (entry, ends) in enumerate(zip(summary.classes, summary.class_intervals, strict=True)):
        if ends.auroc is not None:
            axes.plot((ends.auroc.low, ends.auroc.high), (place, place), color="tab:blue")
        if entry.auroc is not None:
            axes.plot(entry.auroc, place, marker="o", color="tab:blue")
    axes.axvline(0.5, color="grey", linewidth=1)
    axes.set_yticks(range(len(summary.labels)), summary.labels)
    axes.invert_yaxis()
    axes.set(xlabel="AUROC on the test split, 95 % intervals", xlim=(0.0, 1.02))
    return figure


def _reliability(summary: FindingsSummary) -> Figure:
    columns = min(5, len(summary.labels))
    rows = -(-len(summary.labels) // columns)
    figure = Figure(figsize=(1.9 * columns, 1.9 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for axes, label, bins in zip(panels, summary.labels, summary.bins, strict=False):
        axes.plot((0, 1), (0, 1), color="grey", linewidth=1)
        axes.plot([entry.confidence for entry in bins], [entry.accuracy for entry in bins], marker=".")
        axes.set_title(label, fontsize=8)
    for axes in panels[len(summary.labels) :]:
        axes.set_axis_off()
    figure.supxlabel("mean probability")
    figure.supylabel("share of pictures with the finding")
    return figure
