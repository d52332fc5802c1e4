"""The figures, against numbers worked out by hand and against slow definitions written another way."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csss.inference.metrics import (
    NO_LABEL,
    Cases,
    CasesMalformed,
    Figures,
    auroc,
    expected_calibration_error,
    measure,
    measure_sets,
    reliability,
    risk_coverage,
    summarise,
)

LABELS = ("a", "b", "c")


def make_cases(
    truth: list[int],
    shares: list[list[float]],
    *,
    refused: list[int] | None = None,
    stated: list[int] | None = None,
    source: list[str] | None = None,
    group: list[str] | None = None,
    sets: list[list[int]] | None = None,
) -> Cases:
    count = len(truth)
    flags = np.zeros(count, dtype=bool)
    flags[refused or []] = True
    values = np.array(shares, dtype=float).reshape(count, -1 if count else 3)
    values[flags] = np.nan
    if stated is None:
        stated = [NO_LABEL if flag else int(np.argmax(row)) for flag, row in zip(flags, values, strict=True)]
    return Cases(
        labels=LABELS[: values.shape[1]],
        truth=np.array(truth, dtype=np.int64),
        shares=values,
        stated=np.array(stated, dtype=np.int64),
        refused=flags,
        source=np.array(source or [""] * count, dtype=np.str_),
        group=np.array(group or [str(row) for row in range(count)], dtype=np.str_),
        sets=None if sets is None else np.array(sets, dtype=bool),
    )


EIGHT = make_cases(
    [0, 0, 0, 0, 1, 1, 1, 2],
    [
        [0.9, 0.1, 0.0],
        [0.8, 0.1, 0.1],
        [0.6, 0.4, 0.0],
        [0.3, 0.7, 0.0],
        [0.1, 0.8, 0.1],
        [0.2, 0.5, 0.3],
        [0.6, 0.3, 0.1],
        [0.1, 0.2, 0.7],
    ],
    stated=[0, 0, NO_LABEL, 1, 1, NO_LABEL, 0, 2],
)


def test_measure_of_eight_pictures_by_hand() -> None:
    figures = measure(EIGHT)
    np.testing.assert_array_equal(figures.confusion, [[3, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0]])
    first, second, third = figures.classes
    assert (first.support, second.support, third.support) == (4, 3, 1)
    assert (first.sensitivity, first.specificity, first.precision, first.f1) == (0.75, 0.75, 0.75, 0.75)
    assert (second.sensitivity, second.specificity) == (pytest.approx(2 / 3), 0.8)
    assert (third.sensitivity, third.specificity, third.f1, third.auroc) == (1.0, 1.0, 1.0, 1.0)
    assert (figures.accuracy, figures.images, figures.refused) == (0.75, 8, 0)
    assert figures.balanced_accuracy == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    assert figures.macro_f1 == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    assert figures.kappa == pytest.approx((0.75 - 26 / 64) / (1 - 26 / 64))
    assert (figures.coverage, figures.selective_accuracy) == (6 / 8, 4 / 6)


def test_a_refused_picture_is_an_error_of_its_own_label_and_no_true_negative_of_others() -> None:
    cases = make_cases([0, 0, 1, 1], [[0.9, 0.1], [0.0, 0.0], [0.2, 0.8], [0.4, 0.6]], refused=[1])
    figures = measure(cases)
    np.testing.assert_array_equal(figures.confusion, [[1, 0, 1], [0, 2, 0]])
    first, second = figures.classes
    assert (figures.accuracy, figures.balanced_accuracy, figures.refused) == (0.75, 0.75, 1)
    assert (first.refused, first.sensitivity, first.precision, first.f1) == (1, 0.5, 1.0, pytest.approx(2 / 3))
    assert (second.refused, second.sensitivity, second.specificity) == (0, 1.0, 0.5)
    assert (figures.coverage, figures.selective_accuracy) == (0.75, 1.0)
    assert figures.kappa == pytest.approx((0.75 - (2 * 1 + 2 * 2) / 16) / (1 - (2 * 1 + 2 * 2) / 16))
    assert figures.aurc == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert figures.brier == pytest.approx((0.02 + 0.08 + 0.32) / 3)


def test_what_cannot_be_judged_is_none() -> None:
    only_first = measure(make_cases([0, 0], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]]))
    first, second, third = only_first.classes
    assert (first.specificity, first.auroc) == (None, None)
    assert (second.sensitivity, second.precision, second.f1) == (None, 0.0, 0.0)
    assert (third.sensitivity, third.precision, third.f1, third.specificity) == (None, None, None, 1.0)
    assert (only_first.balanced_accuracy, only_first.macro_f1) == (0.5, pytest.approx(2 / 3))


def test_of_nothing_or_of_refusals_alone_nothing_is_known() -> None:
    nothing = measure(make_cases([], []))
    known = (nothing.accuracy, nothing.balanced_accuracy, nothing.macro_f1, nothing.kappa, nothing.ece)
    assert (*known, nothing.brier, nothing.aurc, nothing.coverage, nothing.selective_accuracy) == (None,) * 9
    refused = measure(make_cases([0, 1], [[0.0, 0.0], [0.0, 0.0]], refused=[0, 1]))
    assert (refused.accuracy, refused.aurc, refused.coverage) == (0.0, 1.0, 0.0)
    assert (refused.ece, refused.brier, refused.selective_accuracy, refused.classes[0].auroc) == (None,) * 4


def test_kappa_is_none_when_chance_alone_agrees() -> None:
    assert measure(make_cases([0, 0], [[0.9, 0.1], [0.8, 0.2]])).kappa is None


@pytest.mark.parametrize(
    ("positive", "score", "area"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 1.0),
        ([1, 0], [0.5, 0.5], 0.5),
        ([1, 0, 0, 1], [0.5, 0.5, 0.1, 0.9], 0.875),
        ([1, 1], [0.5, 0.6], None),
    ],
)
def test_auroc_is_the_share_of_ordered_pairs(positive: list[int], score: list[float], area: float | None) -> None:
    assert auroc(np.array(positive, dtype=bool), np.array(score)) == area


def test_ece_weighs_the_gap_of_each_bin() -> None:
    shares = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 6)
    truth = np.array([0, 0, 0, 1, 0, 0, 0, 1, 1, 1])
    bins = [(entry.images, entry.confidence, entry.accuracy) for entry in reliability(truth, shares)]
    assert bins == [(6, pytest.approx(0.55), pytest.approx(0.5)), (4, pytest.approx(0.95), pytest.approx(0.75))]
    assert expected_calibration_error(truth, shares) == pytest.approx(0.6 * 0.05 + 0.4 * 0.2)


def test_confidence_of_one_belongs_to_the_last_bin() -> None:
    assert expected_calibration_error(np.array([0, 1]), np.array([[1.0, 0.0], [0.95, 0.05]])) == pytest.approx(
        abs((1.0 + 0.95) / 2 - 0.5)
    )


def test_risk_coverage_by_hand() -> None:
    risk = risk_coverage(np.array([0.9, 0.6, 0.8, 0.7]), np.array([False, True, True, False]))
    assert risk.tolist() == pytest.approx([0.0, 1 / 2, 1 / 3, 1 / 2])


def test_risk_coverage_of_equal_confidences_is_the_mean_over_their_orders() -> None:
    wrong = np.array([True, False, False, True])
    confidence = np.array([0.5, 0.9, 0.5, 0.5])
    orders = [[1, *rest] for rest in permutations([0, 2, 3])]
    slow = np.mean([np.cumsum(wrong[order]) / np.arange(1, 5) for order in orders], axis=0)
    np.testing.assert_allclose(risk_coverage(confidence, wrong), slow)


def test_measure_sets_is_of_answered_pictures() -> None:
    cases = make_cases(
        [0, 1, 1, 0],
        [[0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.8, 0.1, 0.1], [0.0, 0.0, 0.0]],
        refused=[3],
        sets=[[1, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]],
    )
    figures = measure_sets(cases)
    assert figures is not None
    assert (figures.images, figures.coverage, figures.mean_size) == (3, pytest.approx(2 / 3), pytest.approx(4 / 3))
    assert (figures.single, figures.empty) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert figures.class_coverage == (1.0, 0.5, None)
    assert measure_sets(EIGHT) is None


def test_summary_measures_each_source_by_itself() -> None:
    cases = make_cases([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]], source=["y", "x", "y", "x"])
    summary = summarise(cases, rounds=10)
    assert [(entry.source, entry.figures.accuracy) for entry in summary.sources] == [("x", 0.5), ("y", 1.0)]
    assert summary.figures.accuracy == 0.75


def test_summary_curve_ends_at_the_error_rate_of_all() -> None:
    summary = summarise(EIGHT, rounds=10)
    assert len(summary.curve) == 20
    assert (summary.curve[0], summary.curve[-1]) == ((0.05, 0.0), (1.0, 0.25))
    assert summary.curve[9] == (0.5, pytest.approx((1 / 2) / 4))


@pytest.mark.parametrize(
    "broken",
    [
        {"truth": [0, 3]},
        {"truth": [-1, 0]},
        {"truth": [0]},
        {"stated": [0, 3]},
        {"stated": [0, -2]},
        {"refused": [True, False]},
        {"shares": [[0.5, math.nan, 0.5], [1, 0, 0]]},
        {"shares": [[0.5, 0.5], [1, 0]]},
        {"source": ["x"]},
        {"sets": [[True, False, False]]},
    ],
)
def test_cases_refuse_arrays_that_do_not_fit(broken: dict[str, list[object]]) -> None:
    parts = {
        "truth": np.array([0, 1]),
        "shares": np.array([[1.0, 0, 0], [0, 1, 0]]),
        "stated": np.array([0, 1]),
        "refused": np.array([False, False]),
        "source": np.array(["", ""]),
        "group": np.array(["", ""]),
    }
    Cases(labels=LABELS, **parts)
    with pytest.raises(CasesMalformed) as caught:
        Cases(labels=LABELS, **parts | {name: np.array(value) for name, value in broken.items()})
    assert caught.value.code == "cases-malformed"


@st.composite
def drawn_cases(draw: st.DrawFn) -> Cases:
    """Up to 30 pictures of three labels; coarse probabilities, so that ties are frequent."""
    count = draw(st.integers(1, 30))
    parts = draw(st.lists(st.tuples(*[st.integers(0, 4)] * 3).filter(any), min_size=count, max_size=count))
    shares = [[value / sum(row) for value in row] for row in parts]
    truth = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    refused = [row for row in range(count) if draw(st.integers(0, 4)) == 0]
    named = [draw(st.booleans()) and row not in refused for row in range(count)]
    stated = [int(np.argmax(row)) if says else NO_LABEL for row, says in zip(shares, named, strict=True)]
    sources = draw(st.lists(st.sampled_from("xy"), min_size=count, max_size=count))
    return make_cases(truth, shares, refused=refused, stated=stated, source=sources)


def slow_answers(cases: Cases) -> list[int | None]:
    """The likeliest label of each picture, the first among equals; None for a refused one."""
    return [
        None if flag else max(range(3), key=lambda label: (row[label], -label))
        for flag, row in zip(cases.refused.tolist(), cases.shares.tolist(), strict=True)
    ]


def slow_class(cases: Cases, label: int) -> tuple[float | None, ...]:
    """Sensitivity, specificity, precision, F1 and AUROC, counted picture by picture."""
    answers, truth = slow_answers(cases), cases.truth.tolist()
    pairs = list(zip(truth, answers, strict=True))
    mine = [answer == label for true, answer in pairs if true == label]
    others = [answer is not None and answer != label for true, answer in pairs if true != label]
    called = [true == label for true, answer in pairs if answer == label]
    sensitivity = sum(mine) / len(mine) if mine else None
    specificity = sum(others) / len(others) if others else None
    precision = sum(called) / len(called) if called else None
    f1 = None
    if mine or called:
        f1 = 2 * sum(mine) / (len(mine) + len(called))
    rows = [row for row, flag in enumerate(cases.refused) if not flag]
    score = cases.shares[:, label]
    wins = [
        1.0 if score[one] > score[two] else 0.5 * (score[one] == score[two])
        for one in rows
        for two in rows
        if truth[one] == label != truth[two]
    ]
    return sensitivity, specificity, precision, f1, (sum(wins) / len(wins) if wins else None)


def slow_ece(cases: Cases) -> float | None:
    kept = [
        (max(row), answer == true)
        for row, answer, true in zip(cases.shares.tolist(), slow_answers(cases), cases.truth.tolist(), strict=True)
        if answer is not None
    ]
    total = 0.0
    for index in range(15):
        inside = [entry for entry in kept if int(entry[0] * 15) == index or (index == 14 and entry[0] == 1.0)]
        if inside:
            confidence = sum(entry[0] for entry in inside) / len(inside)
            total += len(inside) * abs(confidence - sum(entry[1] for entry in inside) / len(inside))
    return total / len(kept) if kept else None


def mean_of_known(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


@settings(max_examples=150, deadline=None)
@given(drawn_cases())
def test_measure_agrees_with_counting_one_by_one(cases: Cases) -> None:
    figures = measure(cases)
    answers, truth = slow_answers(cases), cases.truth.tolist()
    right = sum(answer == true for answer, true in zip(answers, truth, strict=True))
    assert figures.accuracy == pytest.approx(right / len(truth))
    slow = [slow_class(cases, label) for label in range(3)]
    for entry, wanted in zip(figures.classes, slow, strict=True):
        got = (entry.sensitivity, entry.specificity, entry.precision, entry.f1, entry.auroc)
        assert got == tuple(value if value is None else pytest.approx(value) for value in wanted)
    present = [slow[label] for label in sorted(set(truth))]
    assert figures.balanced_accuracy == pytest.approx(mean_of_known([entry[0] for entry in present]))
    assert figures.macro_f1 == pytest.approx(mean_of_known([entry[3] for entry in present]))
    wanted_ece = slow_ece(cases)
    assert figures.ece == (None if wanted_ece is None else pytest.approx(wanted_ece, abs=1e-12))
    named = [(true, label) for true, label in zip(truth, cases.stated.tolist(), strict=True) if label >= 0]
    assert figures.coverage == pytest.approx(len(named) / len(truth))
    hits = sum(true == label for true, label in named)
    assert figures.selective_accuracy == (pytest.approx(hits / len(named)) if named else None)


@settings(max_examples=60, deadline=None)
@given(drawn_cases(), st.randoms(use_true_random=False))
def test_measure_does_not_depend_on_the_order_of_the_cases(cases: Cases, random: object) -> None:
    order = list(range(len(cases.truth)))
    random.shuffle(order)
    assert _numbers(measure(cases.of(np.array(order)))) == pytest.approx(
        _numbers(measure(cases)), abs=1e-12, nan_ok=True
    )


def _numbers(figures: Figures) -> list[float]:
    values = (figures.accuracy, figures.macro_f1, figures.kappa, figures.ece, figures.brier, figures.aurc)
    return [math.nan if value is None else value for value in (*values, *(entry.auroc for entry in figures.classes))]
