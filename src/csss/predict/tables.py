"""Tables of plain text, and numbers as a summary spells them."""

from collections.abc import Iterable, Sequence

from csss.inference.metrics import Interval

_NOTHING = "n/a"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of equal columns; the first column to the left, the others to the right."""
    lines = [tuple(titles), *map(tuple, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(titles))]
    return "\n".join(_line(line, widths) for line in lines)


def number(value: float | None) -> str:
    """Three decimals, or n/a where there is nothing to judge by."""
    return _NOTHING if value is None else f"{value:.3f}"


def span(interval: Interval | None) -> str:
    """The two ends of an interval; nothing without one."""
    return f"{interval.low:.3f} to {interval.high:.3f}" if interval else ""


def bracket(interval: Interval | None) -> str:
    """The same in brackets, to stand behind its figure."""
    return f" ({interval.low:.3f}-{interval.high:.3f})" if interval else ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((first, *rest)).rstrip()
