"""Markdown tables and numbers as METRICS.md spells them."""

import math
from collections.abc import Iterable

from csss.inference.card import ModelCard
from csss.inference.metrics import Figures, Interval


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Three decimals, or n/a where there is nothing to judge by."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def span(interval: Interval | None) -> str:
    """The two ends of an interval."""
    return "n/a" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def overall(figures: Figures) -> tuple[str, str, str, str]:
    """Accuracy, balanced accuracy, macro F1 and ECE."""
    return (
        number(figures.accuracy),
        number(figures.balanced_accuracy),
        number(figures.macro_f1),
        number(figures.ece),
    )


OVERALL = ("accuracy", "balanced accuracy", "macro F1", "ECE")


def preface(card: ModelCard, *, command: str, seed: int, data: str, agreement: float, notes: tuple[str, ...]) -> str:
    """How METRICS.md of a chest model begins: where its figures come from, and what to know before reading them."""
    lines = (
        f"# {card.name}, version {card.version}: what was measured",
        "",
        "Every figure was taken from the exported model through the code that serves it (gate and checks included),",
        "on pictures of patients and groups that it was not fitted on. Written by the training command, not by hand.",
        "",
        f"- Command: `{command}`",
        f"- Seed: {seed}",
        f"- Data: {data}",
        f"- Exported model against torch: largest difference of a logit {agreement:.1e}",
        *(f"- {note}" for note in notes),
    )
    return "\n".join(lines)
