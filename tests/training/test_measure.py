"""The short ways to the shared metrics, against numbers worked out by hand."""

import numpy as np
import pytest
from training.measure import macro_f1, softmax_rows

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2])
ANSWER = np.array([0, 0, 0, 1, 1, 1, 0, 2])


def test_macro_f1_is_the_mean_over_the_labels_that_occur() -> None:
    assert macro_f1(TRUTH, ANSWER, 3) == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    assert macro_f1(TRUTH[:4], ANSWER[:4], 3) == pytest.approx(6 / 7)


def test_softmax_rows_divides_by_the_temperature() -> None:
    logits = np.log(np.array([[1.0, 3.0], [8.0, 2.0]]))
    np.testing.assert_allclose(softmax_rows(logits), [[0.25, 0.75], [0.8, 0.2]])
    np.testing.assert_allclose(softmax_rows(logits, 0.5), [[0.1, 0.9], [64 / 68, 4 / 68]])
