"""What a check says: how grave, how many, examples, why it matters and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """SERIOUS makes figures untrue; WARNING may; NOTE is worth knowing; CLEAR: nothing found; SKIPPED: not checked."""

    SERIOUS = "serious"
    WARNING = "warning"
    NOTE = "note"
    CLEAR = "clear"
    SKIPPED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check. ``count`` is of what ``title`` names; ``table`` are rows, the first the heading."""

    check: str
    severity: Severity
    title: str
    count: int = 0
    examples: tuple[str, ...] = ()
    why: str = ""
    what_to_do: str = ""
    table: tuple[tuple[str, ...], ...] = ()


def clear(check: str, title: str, *, table: tuple[tuple[str, ...], ...] = ()) -> Finding:
    """A check that found nothing; ``table`` may still show its figures."""
    return Finding(check, Severity.CLEAR, title, table=table)


def skipped(check: str, title: str) -> Finding:
    """A check that could not be made; the title says why."""
    return Finding(check, Severity.SKIPPED, title)
