"""The pictures of METRICS.md: confusion matrix, reliability, risk and coverage, learning curves."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from csss.inference.metrics import Summary, summarise
from training.evidence import Evidence
from training.finetune import Epoch

PLOTS = ("confusion.png", "reliability.png", "risk.png", "learning.png")
RESOLUTION_DPI = 80


def draw_plots(folder: Path, evidence: Evidence) -> None:
    """Write the files named in ``PLOTS`` into ``folder``."""
    mpl.rcParams["font.size"] = 9
    summary = summarise(evidence.cases(evidence.test), rounds=2, seed=evidence.seed)
    figures = (_confusion(summary), _reliability(summary), _risk(summary), learning_curves(evidence.history))
    for name, figure in zip(PLOTS, figures, strict=True):
        # Without the software's name and version the same figures give the same bytes.
        figure.savefig(folder / name, dpi=RESOLUTION_DPI, metadata={"Software": None})


def _confusion(summary: Summary) -> Figure:
    counts = summary.figures.confusion[:, : len(summary.labels)]
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > 0.5 * counts[row].sum()
        axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    places = range(len(summary.labels))
    axes.set_xticks(places, summary.labels, rotation=30, ha="right")
    axes.set_yticks(places, summary.labels)
    axes.set(xlabel="likeliest label", ylabel="truth")
    return figure


def _reliability(summary: Summary) -> Figure:
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="grey", linewidth=1)
    axes.plot([entry.confidence for entry in summary.bins], [entry.accuracy for entry in summary.bins], marker="o")
    axes.set(xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    return figure


def _risk(summary: Summary) -> Figure:
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([share for share, _ in summary.curve], [risk for _, risk in summary.curve], marker=".")
    axes.set(xlabel="coverage (share of pictures with an answer)", ylabel="error rate", xlim=(0, 1))
    axes.set_ylim(bottom=0.0)
    return figure


def learning_curves(history: tuple[Epoch, ...]) -> Figure:
    """Losses and validation macro F1 over the stages of a fit."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in history]
    losses.plot(numbers, [epoch.train_loss for epoch in history], label="training")
    losses.plot(numbers, [epoch.val_loss for epoch in history], label="validation")
    losses.set(xlabel="stage", ylabel="loss")
    losses.legend()
    scores.plot(numbers, [epoch.val_macro_f1 for epoch in history])
    scores.set(xlabel="stage", ylabel="validation macro F1")
    return figure
