"""Check a table of published figures: can its numbers have come from any count of cases at all?

A row counts ``n`` cases of its class among ``total`` cases. Whole numbers TP <= n and FP <= total - n must exist with
sensitivity = TP / n, specificity = 1 - FP / (total - n), precision = TP / (TP + FP), F1 = 2 TP / (TP + FP + n), each
within half a unit of the last digit that was printed. Over all classes of one table (one label per case) the correct
cases are the sum of TP, and the sum of FP equals the sum of the missed.
"""

import csv
import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.datasets.problems import UnreadableDataset
from training.lint.finding import Finding, Severity, clear, skipped

TOTALS = frozenset({"total", "accuracy", "all", "overall"})
_MEANS = ("avg", "average", "mean", "macro", "micro", "weighted")
METRICS = ("sensitivity", "specificity", "precision", "f1")
_CHECK = "figures of a table"
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Range:
    """What a printed number can have been before it was rounded."""

    low: float
    high: float
    printed: str


@dataclass(frozen=True, slots=True)
class Row:
    """One class (or the totals): its number of cases as printed, and the figures that are there."""

    name: str
    cases: str
    figures: dict[str, Range]

    @property
    def is_total(self) -> bool:
        return self.name.lower() in TOTALS

    @property
    def is_mean(self) -> bool:
        """Whether it is a mean over classes, whose F1 is the mean of theirs and follows from nothing in its row."""
        return any(word in self.name.lower().replace("-", " ").split() for word in _MEANS)


@dataclass(frozen=True, slots=True)
class Counts:
    """The true positives and false positives that agree with a row, lowest and highest."""

    cases: int
    hits: tuple[int, int]
    alarms: tuple[int, int]


def read_table(path: Path) -> tuple[Row, ...]:
    """The rows of a CSV with the columns class, n, sensitivity, specificity, precision, f1; all but class may be empty.

    A row named total or accuracy may give the number of all cases and, in a column ``accuracy`` or else in
    ``sensitivity``, the share of right ones. Percent and fractions are both read. Raises UnreadableDataset.
    """
    try:
        lines = _read_lines(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableDataset(f"{path} cannot be read as a CSV table.") from error
    if not lines or not {"class", "n"} <= set(lines[0]):
        found = ", ".join(name for name in (lines[0] if lines else ()) if name) or "nothing"
        raise UnreadableDataset(f"{path} needs the columns class, n, {', '.join(METRICS)}; found {found}.")
    return tuple(_row(line) for line in lines if (line["class"] or "").strip())


def _read_lines(text: str) -> list[dict[str, str]]:
    """The lines of a table whose cells are parted by commas, or by semicolons as spreadsheets write them."""
    title = text.partition("\n")[0]
    if title.count(";") <= title.count(","):
        return list(csv.DictReader(text.splitlines()))
    # Where cells are parted by semicolons, a comma is the decimal point.
    lines = csv.DictReader(text.splitlines(), delimiter=";")
    return [{name: (cell or "").replace(",", ".") for name, cell in line.items() if name} for line in lines]


def check_table(rows: tuple[Row, ...]) -> Finding:
    """Whether every row and the whole table can hold, with the row and the reason for each that cannot."""
    problems = [f"{row.name}: the number of cases is {row.cases}, not a whole number" for row in rows if _is_odd(row)]
    classes = [row for row in rows if not row.is_total and not row.is_mean]
    total = _total(rows)
    counted: list[Counts] = []
    untold = [row.name for row in rows if row.is_mean or (row in classes and not _can_be_checked(row))]
    for row in classes:
        outcome = _check_row(row, total) or _check_shares(row)
        if isinstance(outcome, str):
            problems.append(f"{row.name}: {outcome}")
        elif outcome is not None:
            counted.append(outcome)
    if counted and len(counted) == len(classes) and sum(each.cases for each in counted) == total:
        problems += _check_whole(rows, counted, total)
    checked = sum(_can_be_checked(row) for row in classes)
    if not problems and not checked:
        return skipped(_CHECK, "No row of the table has figures that bound each other, so nothing was checked.")
    if not problems:
        rest = f" Not checked, for lack of figures: {', '.join(untold[:20])}." if untold else ""
        return clear(_CHECK, f"The {checked} rows of the table can all hold within rounding.{rest}")
    return Finding(
        _CHECK,
        Severity.SERIOUS,
        f"Statements of the table that cannot be true, whatever the cases were: {len(problems)}.",
        len(problems),
        tuple(problems[:20]),
        "The figures follow from the same counts by plain arithmetic. Where they contradict each other, at least one "
        "was not measured as it is said, and none of them should be relied on.",
        "Ask for the confusion matrix and compute the figures from it.",
    )


def parse_range(text: str) -> Range | None:
    """The interval that rounds to the printed number, as fractions: "89.51 %", "89.51" and "0.8951" alike.

    None for an empty cell. Raises UnreadableDataset for anything else.
    """
    stripped = text.strip()
    if not stripped:
        return None
    try:
        number = Decimal(stripped.removesuffix("%").strip())
    except InvalidOperation as error:
        raise UnreadableDataset(f'"{stripped}" in the table is no number.') from error
    if not number.is_finite():
        raise UnreadableDataset(f'"{stripped}" in the table is no number.')
    exponent = number.as_tuple().exponent
    half = Decimal(5).scaleb((exponent if isinstance(exponent, int) else 0) - 1)
    scale = 100 if stripped.endswith("%") or number > 1 else 1
    low, high = (number - half) / scale, (number + half) / scale
    return Range(max(0.0, float(low)), min(1.0, float(high)), stripped)


def _row(line: dict[str, str]) -> Row:
    ranges = {name: parse_range(line.get(name) or "") for name in (*METRICS, "accuracy")}
    return Row(
        line["class"].strip(),
        (line["n"] or "").strip(),
        {name: value for name, value in ranges.items() if value is not None},
    )


def _cases(row: Row) -> int | None:
    return int(float(row.cases)) if row.cases and not _is_odd(row) else None


def _is_odd(row: Row) -> bool:
    try:
        return bool(row.cases) and (not float(row.cases).is_integer() or float(row.cases) < 0)
    except ValueError:
        return True


def _total(rows: tuple[Row, ...]) -> int | None:
    """All cases: as the row of totals says, else the sum of the classes where every class has its number."""
    said = [cases for row in rows if row.is_total and (cases := _cases(row)) is not None]
    if said:
        return said[0]
    numbers = [_cases(row) for row in rows if not row.is_total and not row.is_mean]
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) and len(known) > 1 else None


def _can_be_checked(row: Row) -> bool:
    return bool(_cases(row) and row.figures) or {"sensitivity", "precision", "f1"} <= set(row.figures)


def _check_shares(row: Row) -> str | None:
    """What holds whatever the number of cases: F1 is the harmonic mean of sensitivity and precision."""
    if not {"sensitivity", "precision", "f1"} <= set(row.figures):
        return None
    sensitivity, precision, told = (row.figures[name] for name in ("sensitivity", "precision", "f1"))
    low, high = (
        _share(2 * one * other, one + other)
        for one, other in ((sensitivity.low, precision.low), (sensitivity.high, precision.high))
    )
    if told.low <= high + _ROUNDING and told.high >= low - _ROUNDING:
        return None
    return (
        f"an F1 of {told.printed} is said; sensitivity {sensitivity.printed} and precision {precision.printed} give "
        f"{low:.3f} to {high:.3f}, whatever the number of cases"
    )


def _check_row(row: Row, total: int | None) -> Counts | str | None:
    cases = _cases(row)
    if not cases:
        return None
    if total is not None and cases > total:
        return f"{cases} cases are more than the {total} of the whole table"
    others = total - cases if total is not None else None
    hits = np.arange(cases + 1, dtype=np.float64)
    told = row.figures.get("sensitivity")
    if told:
        hits = hits[(hits / cases >= told.low - _ROUNDING) & (hits / cases <= told.high + _ROUNDING)]
        if not len(hits):
            return f"no number of right cases among {cases} gives a sensitivity of {told.printed}"
    low, high = _alarm_bounds(row, hits, cases, others)
    possible = np.floor(high + _ROUNDING) >= np.ceil(low - _ROUNDING)
    if not possible.any():
        return _explain(row, hits, cases, others)
    # Without a total and without precision or F1, nothing bounds the false alarms; the table's sums are then not made.
    most = float(high[possible].max())
    return Counts(
        cases,
        (int(hits[possible].min()), int(hits[possible].max())),
        (int(np.ceil(low[possible].min() - _ROUNDING)), 2**53 if math.isinf(most) else int(most + _ROUNDING)),
    )


def _alarm_bounds(
    row: Row, hits: NDArray[np.float64], cases: int, others: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each number of hits, the least and the most false alarms that every figure of the row allows."""
    low = np.zeros(len(hits))
    high = np.full(len(hits), math.inf if others is None else float(others))
    figures = row.figures
    if "specificity" in figures and others is not None:
        low = np.maximum(low, (1 - figures["specificity"].high) * others)
        high = np.minimum(high, (1 - figures["specificity"].low) * others)
    with np.errstate(divide="ignore", invalid="ignore"):
        if "precision" in figures:
            # With no hit and no alarm precision is undefined and often printed as 0; alarms without a hit give 0.
            low = np.maximum(low, np.nan_to_num(hits / figures["precision"].high - hits, nan=0.0, posinf=math.inf))
            most = hits / figures["precision"].low - hits
            high = np.minimum(high, np.where(hits == 0, _zero_is_in(figures["precision"]), most))
        if "f1" in figures:
            low = np.maximum(low, np.nan_to_num(2 * hits / figures["f1"].high - hits - cases, nan=0.0, posinf=math.inf))
            most = 2 * hits / figures["f1"].low - hits - cases
            high = np.minimum(high, np.where(hits == 0, _zero_is_in(figures["f1"]), most))
    return low, high


def _zero_is_in(told: Range) -> float:
    """The most alarms when there is no hit: any number where the figure may be zero, else none at all."""
    return math.inf if told.low <= 0 else -1.0


def _explain(row: Row, hits: NDArray[np.float64], cases: int, others: int | None) -> str:
    """Which reported figure cannot stand beside sensitivity and specificity, and what these imply."""
    spoken = " and ".join(f"{name} {told.printed}" for name, told in row.figures.items() if name != "accuracy")
    if others is None or "specificity" not in row.figures:
        return f"no counts give {spoken} with {cases} cases"
    told = row.figures["specificity"]
    alarms = [math.ceil((1 - told.high) * others - _ROUNDING), math.floor((1 - told.low) * others + _ROUNDING)]
    if alarms[0] > alarms[1]:
        return f"no number of false alarms among {others} gives a specificity of {told.printed}"
    lowest, highest = float(hits.min()), float(hits.max())
    precision = (_share(lowest, lowest + alarms[1]), _share(highest, highest + alarms[0]))
    f1 = (_share(2 * lowest, lowest + alarms[1] + cases), _share(2 * highest, highest + alarms[0] + cases))
    return (
        f"no counts give {spoken} with {cases} of {cases + others} cases. Sensitivity and specificity imply a "
        f"precision of {precision[0]:.1%} to {precision[1]:.1%} and an F1 of {f1[0]:.3f} to {f1[1]:.3f}"
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _check_whole(rows: tuple[Row, ...], counted: list[Counts], total: int) -> list[str]:
    problems = []
    right = [sum(each.hits[end] for each in counted) for end in (0, 1)]
    alarms = [sum(each.alarms[end] for each in counted) for end in (0, 1)]
    if alarms[0] > total - right[0] or alarms[1] < total - right[1]:
        problems.append(
            f"all classes: {total - right[1]} to {total - right[0]} cases are missed by their class, so as many must "
            f"be false alarms of another; the rows give {alarms[0]} to {alarms[1]}"
        )
    for row in rows:
        told = row.figures.get("accuracy") or row.figures.get("sensitivity")
        if (
            row.is_total
            and told
            and not (told.low * total - _ROUNDING <= right[1] and told.high * total + _ROUNDING >= right[0])
        ):
            problems.append(
                f"{row.name}: an accuracy of {told.printed} is said; the sensitivities of the classes give "
                f"{right[0] / total:.2%} to {right[1] / total:.2%}"
            )
    return problems
