"""Tables of figures: true ones pass whatever their rounding, impossible ones are named with what they imply."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from training.datasets import UnreadableDataset
from training.lint.finding import Severity
from training.lint.tables import check_table, parse_range, read_table

HEAD = "class,n,sensitivity,specificity,precision,f1"


def check(path: Path, *lines: str) -> tuple[Severity, tuple[str, ...]]:
    (path / "table.csv").write_text("\n".join((HEAD, *lines)) + "\n")
    finding = check_table(read_table(path / "table.csv"))
    return finding.severity, finding.examples


def rows_of(confusion: NDArray[np.int64], form: str) -> list[str]:
    """The true table of a confusion matrix (rows: truth), printed in ``form``."""
    total, lines = confusion.sum(), []
    for index in range(len(confusion)):
        hits, cases, named = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
        figures = (
            hits / cases,
            1 - (named - hits) / (total - cases),
            hits / named if named else 0.0,
            2 * hits / (named + cases),
        )
        lines.append(",".join((f"c{index}", str(cases), *(format(figure, form) for figure in figures))))
    return [*lines, f"total,{total},{format(np.trace(confusion) / total, form)},,,"]


@pytest.mark.parametrize("form", [".2f", ".3f", ".4f", ".1%", ".2%"])
@pytest.mark.parametrize("seed", range(12))
def test_true_table_is_never_accused(tmp_path: Path, seed: int, form: str) -> None:
    random = np.random.default_rng(seed)
    confusion = random.integers(0, 12, (4, 4)) + np.diag(random.integers(1, 300, 4))
    assert check(tmp_path, *rows_of(confusion, form)) == (Severity.CLEAR, ())


def test_precision_that_sensitivity_and_specificity_rule_out_is_named_with_what_they_imply(tmp_path: Path) -> None:
    # 90 of 100 found, 5 % of 900 wrongly called: precision is 90 / 135.
    severity, examples = check(tmp_path, "a,100,0.900,0.950,0.850,", "b,900,,,,")
    assert severity is Severity.SERIOUS
    assert examples == (
        "a: no counts give sensitivity 0.900 and specificity 0.950 and precision 0.850 with 100 of 1000 cases. "
        "Sensitivity and specificity imply a precision of 66.7% to 66.7% and an F1 of 0.766 to 0.766",
    )
    assert check(tmp_path, "a,100,0.900,0.950,0.667,0.766", "b,900,,,,") == (Severity.CLEAR, ())


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["a,351.5,0.9,,,"], "a: the number of cases is 351.5, not a whole number"),
        (["a,many,0.9,,,"], "a: the number of cases is many, not a whole number"),
        (["a,10,0.893,,,"], "a: no number of right cases among 10 gives a sensitivity of 0.893"),
        (["a,5,1.000,0.95,,", "b,7,,,,"], "a: no number of false alarms among 7 gives a specificity of 0.95"),
        (
            ["a,100,0.900,,0.900,0.80"],
            "a: no counts give sensitivity 0.900 and precision 0.900 and f1 0.80 with 100 cases",
        ),
        (["a,100,0.90,,,", "total,50,,,,"], "a: 100 cases are more than the 50 of the whole table"),
    ],
)
def test_row_that_cannot_hold_is_named(tmp_path: Path, lines: list[str], problem: str) -> None:
    assert check(tmp_path, *lines) == (Severity.SERIOUS, (problem,))


def test_accuracy_that_the_classes_do_not_give_is_named(tmp_path: Path) -> None:
    severity, examples = check(tmp_path, "a,100,0.80,,,", "b,100,0.90,,,", "total,200,0.8951,,,")
    assert (severity, examples) == (
        Severity.SERIOUS,
        ("total: an accuracy of 0.8951 is said; the sensitivities of the classes give 85.00% to 85.00%",),
    )


def test_false_alarms_must_equal_the_missed_cases(tmp_path: Path) -> None:
    severity, examples = check(tmp_path, "a,100,0.80,0.99,,", "b,100,0.90,0.99,,")
    assert severity is Severity.SERIOUS
    assert examples[0].startswith("all classes: 30 to 30 cases are missed by their class")
    assert examples[0].endswith("the rows give 2 to 2")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0.90", 0.895, 0.905),
        ("0.9", 0.85, 0.95),
        ("89.51 %", 0.89505, 0.89515),
        ("89.51", 0.89505, 0.89515),
        ("100", 0.995, 1.0),
        ("0.000", 0.0, 0.0005),
    ],
)
def test_range_is_half_a_unit_of_the_last_digit(text: str, low: float, high: float) -> None:
    told = parse_range(text)
    assert told is not None
    assert (told.low, told.high) == pytest.approx((low, high))


@pytest.mark.parametrize("text", ["", "class,sensitivity\na,1\n", "class,n,sensitivity\na,10,high\n"])
def test_table_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UnreadableDataset):
        read_table(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("row", "severity", "words"),
    [
        # F1 is the harmonic mean of sensitivity and precision, whatever the number of cases.
        (
            "A,,0.95,,0.95,0.6",
            "serious",
            "an F1 of 0.6 is said; sensitivity 0.95 and precision 0.95 give 0.945 to 0.955",
        ),
        ("A,,0.95,,0.85,0.90", "clear", "The 1 rows of the table can all hold"),
        ("A,100,,,,", "not checked", "nothing was checked"),
        ("A,,0.9,0.8,,", "not checked", "nothing was checked"),
    ],
)
def test_a_row_without_its_number_of_cases_is_checked_as_far_as_it_goes(
    tmp_path: Path, row: str, severity: str, words: str
) -> None:
    for delimiter in (",", ";"):
        path = tmp_path / "table.csv"
        text = f"class,n,sensitivity,specificity,precision,f1\n{row}\n"
        path.write_text(text.replace(",", delimiter))
        found = check_table(read_table(path))
        assert found.severity == severity
        assert words in " ".join((found.title, *found.examples))


def test_rows_that_say_too_little_are_named_beside_those_that_hold(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("class,n,sensitivity,specificity,precision,f1\nA,10,0.9,,,\nB,,0.5,,,\n")
    assert check_table(read_table(path)).title == (
        "The 1 rows of the table can all hold within rounding. Not checked, for lack of figures: B."
    )


@pytest.mark.parametrize("name", ["macro avg", "weighted avg", "Mean", "micro-average"])
def test_a_mean_over_classes_follows_from_nothing_in_its_row(tmp_path: Path, name: str) -> None:
    """The confusion matrix [[90, 10], [50, 50]] as scikit-learn prints it."""
    path = tmp_path / "table.csv"
    rows = f"A,100,0.900,,0.643,0.750\nB,100,0.500,,0.833,0.625\n{name},,0.700,,0.738,0.688"
    path.write_text(f"class,n,sensitivity,specificity,precision,f1\n{rows}\n")
    found = check_table(read_table(path))
    assert (found.severity, name in found.title) == ("clear", True)
    assert found.title.startswith("The 2 rows")


def test_semicolons_part_cells_whose_decimal_point_is_a_comma(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("class;n;sensitivity;precision;f1\nA;;0,95;0,95;0,6\n")
    assert "give 0.945 to 0.955" in check_table(read_table(path)).examples[0]


@pytest.mark.parametrize("cell", ["nan", "inf", "NaN"])
def test_what_is_no_finite_number_is_refused(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"class,n,f1\nA,10,{cell}\n")
    with pytest.raises(UnreadableDataset, match="is no number"):
        read_table(path)
