"""No figure of a shadow's agreement speaks of fewer than five scans, and none gives a hidden one back."""

import pytest

from csss.findings.shadowed import Agreement, Pair, compare
from csss.findings.veil import roughly, share_in_words, veil


def agreement(**cells: int) -> Agreement:
    """Cells by the first letters of what the active version and the shadow held likeliest: ``cc=20`` ..."""
    names = {"c": "calm", "s": "storm", "w": "wave"}
    pairs = [Pair(names[k[0]], names[k[0]], names[k[1]], names[k[1]], n, 0.1 * n) for k, n in cells.items()]
    return compare("tiny", "1", "ab" * 32, pairs)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "<5"), (1, "<5"), (4, "<5"), (5, "5+"), (9, "5+"), (10, "10+"), (1234, "1230+")]
)
def test_counts_are_rounded_down_to_fives(count: int, shown: str) -> None:
    assert roughly(count) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (40, 60, "67 %"),
        (55, 60, "92 %"),
        (56, 60, "at least 93 %"),
        (60, 60, "at least 93 %"),
        (4, 60, "at most 7 %"),
        (0, 64, "at most 7 %"),
        (3, 7, "not shown"),
        (5, 9, "at least 20 %"),
    ],
)
def test_a_share_that_speaks_of_fewer_than_five_is_a_bound(part: int, whole: int, shown: str) -> None:
    assert share_in_words(part, whole) == shown


def test_what_differs_by_single_scans_looks_the_same() -> None:
    """Whether one, two or no scan was read otherwise cannot be told apart by anything that is shown."""
    shown = [
        veil(agreement(cc=20, ss=20, **{key: few for key, few in (("cs", one), ("sc", other)) if few}))
        for one, other in ((0, 0), (1, 0), (0, 1), (2, 1))
    ]
    assert {(row.scans, row.same_stated, row.same_top, row.kappa, row.labels, row.counts) for row in shown} == {
        ("40+", "at least 90 %", "at least 90 %", None, ("calm", "storm"), (("20+", "<5"), ("<5", "20+")))
    }


def test_a_label_of_few_scans_is_left_out() -> None:
    shown = veil(agreement(cc=20, sc=12, ws=2))
    assert (shown.labels, shown.counts, shown.left_out) == (("calm", "storm"), (("20+", "<5"), ("10+", "<5")), True)
    assert (shown.scans, shown.same_top) == ("30+", "59 %")
    assert shown.confidence_difference == pytest.approx(0.1)


def test_kappa_is_told_only_where_no_cell_holds_a_few_scans() -> None:
    whole = agreement(cc=20, sc=12, ss=7)
    assert veil(whole).kappa == whole.kappa
    assert veil(agreement(cc=20, sc=12, ss=7, ws=2)).kappa is None


def test_a_mean_of_fewer_than_twenty_scans_is_not_told() -> None:
    assert veil(agreement(cc=12, ss=7)).confidence_difference is None
    assert veil(agreement(cc=12, ss=8)).confidence_difference == pytest.approx(0.1)
