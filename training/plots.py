"""The pictures of METRICS.md: confusion matrix, reliability diagram, learning curves."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from training.evidence import Evidence, shares_of
from training.measure import measure, reliability

PLOTS = ("confusion.png", "reliability.png", "learning.png")
_RESOLUTION_DPI = 80


def draw_plots(folder: Path, evidence: Evidence) -> None:
    """Write the files named in ``PLOTS`` into ``folder``."""
    mpl.rcParams["font.size"] = 9
    for name, figure in zip(PLOTS, (_confusion(evidence), _reliability(evidence), _learning(evidence)), strict=True):
        # Without the software's name and version the same figures give the same bytes.
        figure.savefig(folder / name, dpi=_RESOLUTION_DPI, metadata={"Software": None})


def _confusion(evidence: Evidence) -> Figure:
    counts = measure(evidence.truth("test"), shares_of(evidence.test), evidence.labels).confusion
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > 0.5 * counts[row].sum()
        axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    places = range(len(evidence.labels))
    axes.set_xticks(places, evidence.labels, rotation=30, ha="right")
    axes.set_yticks(places, evidence.labels)
    axes.set(xlabel="likeliest label", ylabel="truth")
    return figure


def _reliability(evidence: Evidence) -> Figure:
    bins = reliability(evidence.truth("test"), shares_of(evidence.test))
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="grey", linewidth=1)
    axes.plot([entry[1] for entry in bins], [entry[2] for entry in bins], marker="o")
    axes.set(xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    return figure


def _learning(evidence: Evidence) -> Figure:
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in evidence.history]
    losses.plot(numbers, [epoch.train_loss for epoch in evidence.history], label="training")
    losses.plot(numbers, [epoch.val_loss for epoch in evidence.history], label="validation")
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend()
    scores.plot(numbers, [epoch.val_macro_f1 for epoch in evidence.history])
    scores.set(xlabel="epoch", ylabel="validation macro F1")
    return figure
