"""Prints comparisons as medians with their range, and how many times less ours takes than the papers."""

import statistics
from collections.abc import Mapping, Sequence

from bench.process import Figures, Side

ROWS = {
    "cpu_ms": "CPU ms an answer",
    "wall_ms": "wall ms an answer",
    "first_wall_ms": "start to first answer, wall ms",
    "first_cpu_ms": "start to first answer, CPU ms",
    "peak_mib": "peak memory, MiB",
}


def print_comparison(title: str, sides: Sequence[Side], figures: Mapping[str, Sequence[Figures]]) -> None:
    """One table: a row per figure, a column per side that ran; [x] = the papers' median over this median."""
    shown = [side for side in sides if side.name in figures]
    papers = next((side for side in shown if side.is_papers), None)
    print(f"\n{title}")
    print(f"{'':<31}" + "".join(f"{side.name:>30}" for side in shown))
    for field, words in ROWS.items():
        theirs = _values(figures[papers.name], field) if papers else None
        cells = (_cell(_values(figures[side.name], field), None if side.is_papers else theirs) for side in shown)
        print(f"{words:<31}" + "".join(f"{cell:>30}" for cell in cells))
    if papers is None:
        print("The papers' side is missing: no ratios. See bench/README.md.")


def _values(figures: Sequence[Figures], field: str) -> list[float]:
    return [getattr(run, field) for run in figures]


def _cell(values: Sequence[float], papers: Sequence[float] | None) -> str:
    middle = statistics.median(values)
    ratio = "" if papers is None else f" [{statistics.median(papers) / middle:.1f}x]"
    return f"{_short(middle)} ({_short(min(values))}-{_short(max(values))}){ratio}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
