"""Variants of a training picture: reproducible, different, and never mirrored."""

import numpy as np
from training.augment import hide_corners, vary


def picture() -> np.ndarray:
    rows, columns = np.meshgrid(np.arange(120), np.arange(100), indexing="ij")
    return (200 - rows - columns // 2 + 50 * (columns < 50)).astype(np.uint8)


def test_vary_repeats_itself_for_a_seed_and_differs_between_seeds() -> None:
    first, again, other = (vary(picture(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    assert first.shape != other.shape or (first != other).any()


def test_vary_keeps_left_right_and_up_down() -> None:
    for seed in range(60):
        varied = vary(picture(), np.random.default_rng(seed)).astype(float)
        rows, columns = varied.shape
        assert varied[:, : columns // 3].mean() > varied[:, -columns // 3 :].mean()
        assert varied[: rows // 3].mean() > varied[-rows // 3 :].mean()


def test_vary_keeps_at_least_half_of_the_picture() -> None:
    for seed in range(60):
        rows, columns = vary(picture(), np.random.default_rng(seed)).shape
        assert 0.7 * 120 * 100 < rows * columns <= 120 * 100


def test_hide_corners_changes_the_corners_and_nothing_else() -> None:
    grey = picture()
    hidden = hide_corners(grey)
    changed = np.zeros((120, 100), dtype=bool)
    for rows in (slice(0, 24), slice(96, 120)):
        for columns in (slice(0, 20), slice(80, 100)):
            changed[rows, columns] = True
    np.testing.assert_array_equal(hidden[~changed], grey[~changed])
    assert set(hidden[changed].tolist()) == {int(np.median(grey))}
