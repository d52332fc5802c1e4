"""Randomising sources: size kept, sides never swapped, tone and spectrum taken from the other picture."""

import numpy as np
import pytest

pytest.importorskip("torch")

from training.randomise import match_histogram, randomise, shift_spectrum

pytestmark = pytest.mark.torch


def make_smooth(side: int = 96) -> np.ndarray:
    ramp = np.linspace(40.0, 200.0, side)
    return np.asarray(np.add.outer(ramp, ramp) / 2.0, dtype=np.uint8)


def make_grainy(side: int = 96) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (side, side)).astype(np.uint8)


def measure_roughness(grey: np.ndarray) -> float:
    return float(np.abs(np.diff(grey.astype(float), axis=1)).mean())


@pytest.mark.parametrize("seed", range(8))
def test_randomise_gives_the_wanted_size_and_the_same_for_a_seed(seed: int) -> None:
    first, second = (randomise(make_smooth(), make_grainy(), 64, np.random.default_rng(seed)) for _ in range(2))
    assert (first.shape, first.dtype) == ((64, 64), np.uint8)
    np.testing.assert_array_equal(first, second)


def test_randomise_never_swaps_the_sides() -> None:
    dark_left = np.repeat(np.linspace(20, 230, 96)[None], 96, axis=0).astype(np.uint8)
    variants = [randomise(dark_left, dark_left, 64, np.random.default_rng(seed)) for seed in range(60)]
    brighter_right = [np.median(variant[:, 40:]) >= np.median(variant[:, :24]) for variant in variants]
    assert brighter_right == [True] * 60


def test_randomise_leaves_the_given_picture_as_it_was() -> None:
    grey = make_smooth()
    for seed in range(20):
        randomise(grey, grey, 64, np.random.default_rng(seed))
    np.testing.assert_array_equal(grey, make_smooth())


def test_match_histogram_gives_the_levels_of_the_other_picture() -> None:
    dark = (make_smooth() // 4).astype(np.uint8)
    matched = match_histogram(make_smooth(), dark)[make_smooth()] * 255.0
    np.testing.assert_allclose(np.percentile(matched, (10, 50, 90)), np.percentile(dark, (10, 50, 90)), atol=2.0)


def test_shift_spectrum_moves_the_grain_towards_the_other_picture_by_its_share() -> None:
    smooth, grainy = make_smooth(), make_grainy()
    none, half, whole = (measure_roughness(shift_spectrum(grainy, smooth, share)) for share in (0.0, 0.5, 1.0))
    assert none == pytest.approx(measure_roughness(grainy), abs=0.5)
    assert whole < half < none
    np.testing.assert_array_equal(shift_spectrum(grainy, smooth, 0.0), grainy)
