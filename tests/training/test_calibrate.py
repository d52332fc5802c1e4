"""What is fitted on validation: the temperature that generated the labels, and a distance that means something."""

import numpy as np
import pytest
from training.calibrate import distances, fit_distance, fit_temperature
from training.measure import softmax_rows

from csss.inference.head import Head


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_fit_temperature_finds_the_one_that_made_the_labels(temperature: float) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(scale=3.0, size=(20_000, 4)).astype(np.float32)
    shares = softmax_rows(logits, temperature)
    truth = (shares.cumsum(axis=1) > random.random((len(shares), 1))).argmax(axis=1)
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.05)


def test_softmax_rows_sum_to_one_at_any_scale() -> None:
    shares = softmax_rows(np.array([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]), 0.5)
    np.testing.assert_allclose(shares, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_distance_is_near_one_for_known_pictures_and_grows_outside() -> None:
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 3000)
    middle = random.normal(scale=3.0, size=(3, 100))
    spread = np.linspace(0.2, 2.0, 100)
    known = (middle[truth] + random.normal(size=(3000, 100)) * spread).astype(np.float32)
    parts = fit_distance(known, truth, 3)
    assert [part.shape for part in parts] == [(100,), (64, 100), (3, 64), (1,)]
    empty = np.zeros((2, 2), np.float32)
    head = Head(empty, empty[0], empty, empty[0], *parts)
    fresh = (middle[truth[:500]] + random.normal(size=(500, 100)) * spread).astype(np.float32)
    limit = np.percentile(distances(head, fresh), 99)
    far = fresh + 6.0 * random.normal(size=(500, 100)).astype(np.float32)
    between = np.tile(middle.mean(axis=0) + 20.0, (5, 1)).astype(np.float32)
    assert float((distances(head, far) > limit).mean()) == 1.0
    assert float((distances(head, between) > limit).mean()) == 1.0
