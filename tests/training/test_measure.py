"""The figures, against numbers worked out by hand."""

import math

import numpy as np
import pytest
from training.measure import auroc, bootstrap, expected_calibration_error, macro_f1, measure, reliability

LABELS = ("a", "b", "c")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2])
SHARES = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.8, 0.1, 0.1],
        [0.6, 0.4, 0.0],
        [0.3, 0.7, 0.0],
        [0.1, 0.8, 0.1],
        [0.2, 0.5, 0.3],
        [0.6, 0.3, 0.1],
        [0.1, 0.2, 0.7],
    ]
)


def test_measure_counts_each_class() -> None:
    figures = measure(TRUTH, SHARES, LABELS)
    np.testing.assert_array_equal(figures.confusion, [[3, 1, 0], [1, 2, 0], [0, 0, 1]])
    first, second, third = figures.classes
    assert (first.images, second.images, third.images) == (4, 3, 1)
    assert (first.sensitivity, first.specificity, first.precision, first.f1) == (0.75, 0.75, 0.75, 0.75)
    assert (second.sensitivity, second.specificity) == (pytest.approx(2 / 3), 0.8)
    assert (third.sensitivity, third.specificity, third.f1, third.auroc) == (1.0, 1.0, 1.0, 1.0)
    assert figures.accuracy == 0.75
    assert figures.balanced_accuracy == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    assert figures.macro_f1 == pytest.approx((0.75 + 2 / 3 + 1) / 3)


def test_measure_leaves_labels_out_that_the_set_does_not_hold() -> None:
    figures = measure(TRUTH[:4], SHARES[:4], LABELS)
    assert figures.balanced_accuracy == 0.75
    assert figures.macro_f1 == pytest.approx(6 / 7)
    assert math.isnan(figures.classes[2].sensitivity)
    assert math.isnan(figures.classes[0].auroc)


def test_macro_f1_agrees_with_measure() -> None:
    assert macro_f1(TRUTH, SHARES.argmax(axis=1), 3) == pytest.approx(measure(TRUTH, SHARES, LABELS).macro_f1)


@pytest.mark.parametrize(
    ("positive", "score", "area"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 1.0),
        ([1, 0], [0.5, 0.5], 0.5),
        ([1, 0, 0, 1], [0.5, 0.5, 0.1, 0.9], 0.875),
    ],
)
def test_auroc_is_the_share_of_ordered_pairs(positive: list[int], score: list[float], area: float) -> None:
    assert auroc(np.array(positive, dtype=bool), np.array(score)) == pytest.approx(area)


def test_ece_weighs_the_gap_of_each_bin() -> None:
    shares = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 6)
    truth = np.array([0, 0, 0, 1, 0, 0, 0, 1, 1, 1])
    assert reliability(truth, shares) == (
        (6, pytest.approx(0.55), pytest.approx(0.5)),
        (4, pytest.approx(0.95), pytest.approx(0.75)),
    )
    assert expected_calibration_error(truth, shares) == pytest.approx(0.6 * 0.05 + 0.4 * 0.2)


def test_bootstrap_resamples_whole_groups() -> None:
    truth, shares = np.zeros(40, dtype=np.int64), np.tile([0.9, 0.1], (40, 1))
    shares[:20] = [0.1, 0.9]
    one_patient_each_half = np.array(["p"] * 20 + ["q"] * 20)
    _, accuracy = bootstrap(truth, shares, one_patient_each_half, rounds=200, seed=1)
    assert accuracy == (0.0, 1.0)
    _, narrow = bootstrap(truth, shares, np.arange(40).astype(str), rounds=200, seed=1)
    assert 0.3 < narrow[0] < 0.5 < narrow[1] < 0.7
