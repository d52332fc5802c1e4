"""Figures of independent findings, against numbers worked out by hand and slow definitions written another way."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csss.inference.metrics import (
    NO_LABEL,
    CasesMalformed,
    FindingCases,
    auroc,
    average_precision,
    measure_labels,
    measure_whole,
    rate_findings,
    summarise_findings,
)

NONE = 2
"""What `FindingCases.stated` holds for "No Finding" with two labels."""


def make_cases(
    truth: list[tuple[int, int]],
    shares: list[tuple[float, float]],
    *,
    refused: tuple[int, ...] = (),
    stated: list[int] | None = None,
    source: list[str] | None = None,
    group: list[str] | None = None,
    present_from: tuple[float, float] = (0.5, 0.2),
) -> FindingCases:
    count = len(truth)
    flags = np.isin(np.arange(count), refused)
    values = np.array(shares, dtype=float).reshape(count, 2)
    values[flags] = np.nan
    return FindingCases(
        labels=("mass", "hernia"),
        truth=np.array(truth, dtype=bool).reshape(count, 2),
        shares=values,
        present_from=np.array(present_from),
        stated=np.array([NO_LABEL] * count if stated is None else stated, dtype=np.int64),
        refused=flags,
        source=np.array(source or [""] * count, dtype=np.str_),
        group=np.array(group or [str(row) for row in range(count)], dtype=np.str_),
    )


SIX = make_cases(
    [(1, 1), (1, 0), (0, 0), (0, 1), (0, 0), (1, 0)],
    [(0.9, 0.3), (0.5, 0.1), (0.6, 0.1), (0.2, 0.1), (0.1, 0.2), (0.0, 0.0)],
    refused=(5,),
    stated=[0, 0, 0, NONE, NO_LABEL, NO_LABEL],
    source=["a", "a", "a", "b", "b", "b"],
)


def test_each_label_by_hand() -> None:
    mass, hernia = measure_labels(SIX)
    # Mass: 3 have it, found in 2, one refused; 3 have it not, one false alarm.
    assert (mass.support, mass.refused, mass.present_from) == (3, 1, 0.5)
    np.testing.assert_allclose(
        [mass.sensitivity, mass.specificity, mass.precision, mass.f1], [2 / 3, 2 / 3, 2 / 3, 4 / 6]
    )
    # Hernia: two have it, found in 1; of the four others one is a false alarm and the refused one no true negative.
    np.testing.assert_allclose(
        [hernia.sensitivity, hernia.specificity, hernia.precision, hernia.f1], [1 / 2, 2 / 4, 1 / 2, 2 / 4]
    )
    # Answered: mass 0.9+ 0.5+ against 0.6 0.2 0.1: five of six pairs; hernia 0.3+ 0.1+ against 0.1 0.1 0.2.
    np.testing.assert_allclose([mass.auroc, hernia.auroc], [5 / 6, (3 + 0.5 + 0.5 + 0) / 6])
    # Precision where a positive is met: mass 1/1, 2/3; hernia 1/1, and 2 of 5 among all that reach 0.1.
    np.testing.assert_allclose([mass.average_precision, hernia.average_precision], [(1 + 2 / 3) / 2, (1 + 2 / 5) / 2])


def test_calibration_error_by_hand() -> None:
    mass, hernia = measure_labels(SIX)
    # Fifteen bins: 0.9, 0.5, 0.6, 0.2, 0.1 lie in bins of their own.
    assert mass.ece == pytest.approx((0.1 + 0.5 + 0.6 + 0.2 + 0.1) / 5)
    # 0.3 is the first of its bin; 0.1 three times with one positive; 0.2 alone.
    assert hernia.ece == pytest.approx((0.7 + abs(0.3 - 1.0) + 0.2) / 5)


def test_the_whole_by_hand() -> None:
    whole = measure_whole(SIX)
    mass, hernia = measure_labels(SIX)
    assert (whole.images, whole.refused, whole.no_finding) == (6, 1, 1)
    assert whole.mean_auroc == pytest.approx((mass.auroc + hernia.auroc) / 2)
    assert whole.macro_f1 == pytest.approx((mass.f1 + hernia.f1) / 2)
    assert whole.balanced_accuracy == pytest.approx((2 / 3 + 2 / 3 + 1 / 2 + 2 / 4) / 4)
    # Rows 0 and 1 have exactly the findings that reach their thresholds; row 3 is stated to have none, and has one.
    assert (whole.exact, whole.coverage, whole.no_finding_right) == (pytest.approx(2 / 6), pytest.approx(4 / 6), 0.0)


def test_what_cannot_be_judged_is_none_and_left_out_of_the_means() -> None:
    cases = make_cases([(1, 0), (0, 0)], [(0.9, 0.1), (0.1, 0.3)])
    _, hernia = measure_labels(cases)
    assert (hernia.sensitivity, hernia.auroc, hernia.average_precision, hernia.f1) == (None, None, None, 0.0)
    whole = measure_whole(cases)
    assert (whole.mean_auroc, whole.macro_f1, whole.no_finding_right) == (1.0, 1.0, None)
    empty = summarise_findings(make_cases([], []))
    assert (empty.whole.mean_auroc, empty.whole.exact, empty.classes[0].ece, empty.sources) == (None, None, None, ())


def test_refused_pictures_have_no_areas_and_are_never_right() -> None:
    cases = make_cases([(1, 1), (0, 0)], [(0.9, 0.1), (0.1, 0.3)], refused=(0, 1))
    mass, _ = measure_labels(cases)
    assert measure_whole(cases).exact == 0.0
    assert (mass.sensitivity, mass.specificity, mass.precision, mass.auroc, mass.ece) == (0.0, 0.0, None, None, None)


SCORED = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9])), min_size=1, max_size=20)


@given(SCORED)
@settings(max_examples=60, deadline=None)
def test_areas_agree_with_slow_definitions(scored: list[tuple[bool, float]]) -> None:
    positive, score = (np.array(column) for column in zip(*scored, strict=True))
    found = measure_labels(make_cases([(int(p), 0) for p in positive], [(s, 0.0) for s in score]))[0]
    one_way = auroc(positive, score)
    assert (found.auroc is None) is (one_way is None)
    if one_way is not None:
        assert found.auroc == pytest.approx(one_way)
    if not positive.any():
        assert average_precision(positive, score) is None
        return
    # At each level: the share of positives that lie just there, times the precision of all that reach it.
    parts = []
    for level in sorted(set(score), reverse=True):
        reached = score >= level
        parts.append((positive & (score == level)).sum() / positive.sum() * positive[reached].mean())
    assert average_precision(positive, score) == pytest.approx(math.fsum(parts))
    assert found.average_precision == pytest.approx(math.fsum(parts))


def test_a_case_that_counts_twice_is_like_two_cases() -> None:
    random = np.random.default_rng(5)
    truth = [tuple(row) for row in random.integers(0, 2, (12, 2)).tolist()]
    shares = [tuple(row) for row in random.choice([0.1, 0.2, 0.5, 0.8], (12, 2)).tolist()]
    stated = random.integers(NO_LABEL, NONE + 1, 12).tolist()
    stated[4] = NO_LABEL
    cases = make_cases(truth, shares, refused=(4,), stated=stated)
    times = random.integers(0, 4, (3, 12))
    rates = rate_findings(cases, times.astype(float))
    for row, counts in enumerate(times):
        places = np.repeat(np.arange(12), counts)
        again = make_cases(
            [truth[place] for place in places],
            [shares[place] for place in places],
            refused=tuple(np.flatnonzero(places == 4)),
            stated=[stated[place] for place in places],
        )
        slow = measure_labels(again)
        for name in ("sensitivity", "specificity", "precision", "f1", "auroc", "average_precision", "ece"):
            wanted = [np.nan if (value := getattr(entry, name)) is None else value for entry in slow]
            np.testing.assert_allclose(getattr(rates, name)[row], wanted, atol=1e-12)
        whole = measure_whole(again)
        np.testing.assert_allclose([rates.exact[row], rates.coverage[row]], [whole.exact, whole.coverage])


def test_intervals_are_drawn_over_whole_patients() -> None:
    random = np.random.default_rng(6)
    truth = [tuple(row) for row in random.integers(0, 2, (60, 2)).tolist()]
    shares = [tuple(row) for row in random.random((60, 2)).tolist()]
    alone = summarise_findings(make_cases(truth, shares), rounds=200)
    # Every picture three times is no more evidence when the three are one patient's ...
    names = [str(row) for row in range(60)] * 3
    together = summarise_findings(make_cases(truth * 3, shares * 3, group=names), rounds=200)
    assert (together.intervals.groups, alone.intervals.groups) == (60, 60)
    width = [each.high - each.low for each in (alone.class_intervals[0].auroc, together.class_intervals[0].auroc)]
    assert width[1] == pytest.approx(width[0], rel=0.25)
    # ... and the same seed gives the same ends, around the figure itself.
    again = summarise_findings(make_cases(truth, shares), rounds=200)
    assert again == alone
    assert alone.class_intervals[0].auroc.low < alone.classes[0].auroc < alone.class_intervals[0].auroc.high
    assert alone.intervals.mean_auroc.low < alone.whole.mean_auroc < alone.intervals.mean_auroc.high


def test_one_patient_has_no_intervals() -> None:
    summary = summarise_findings(make_cases([(1, 0), (0, 1)], [(0.9, 0.1), (0.1, 0.9)], group=["p", "p"]))
    assert (summary.intervals.mean_auroc, summary.class_intervals[0].f1) == (None, None)


def test_sources_and_bins() -> None:
    summary = summarise_findings(SIX, rounds=3)
    assert [(name, part.images, part.refused) for name, part in summary.sources] == [("a", 3, 0), ("b", 3, 1)]
    assert summary.sources[0][1] == measure_whole(SIX.of(np.arange(6) < 3))
    first = summary.bins[1][0]
    assert (first.images, first.confidence, first.accuracy) == (3, pytest.approx(0.1), pytest.approx(1 / 3))


@pytest.mark.parametrize(
    "changes",
    [
        {"stated": [3, 0, 0, NONE, NO_LABEL, NO_LABEL]},
        {"stated": [0, 0, 0, 0, 0, 0]},
        {"present_from": (0.5,)},
        {"source": ["a"]},
    ],
)
def test_cases_that_do_not_fit_are_refused(changes: dict[str, object]) -> None:
    parts = {"refused": (5,), "truth": [(0, 1)] * 6, "shares": [(0.1, 0.2)] * 6}
    with pytest.raises(CasesMalformed):
        make_cases(**parts | changes)


def test_a_probability_that_is_no_number_is_refused() -> None:
    with pytest.raises(CasesMalformed, match="no number"):
        make_cases([(0, 1)], [(float("nan"), 0.2)])
