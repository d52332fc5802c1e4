"""Varied batches: in range, repeatable, never mirrored, and hiding parts only when told to."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny_model import SPEC as TINY

torch = pytest.importorskip("torch")

from training.vary_batch import MILD, STRONG, Strength, show_batch, vary_batch  # noqa: E402

from csss.inference.prepare import prepare_grey  # noqa: E402

pytestmark = pytest.mark.torch
SPEC = replace(TINY, width_px=64, height_px=64, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 12, side: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side)).astype(np.uint8)


def greys_of(varied: torch.Tensor) -> np.ndarray:
    """The grey levels (n, rows, columns) in [0, 1] behind normalised pictures; the three channels must agree."""
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (SPEC.mean, SPEC.std))
    levels = varied.numpy() * std + mean
    np.testing.assert_allclose(levels[:, 0], levels[:, 1], atol=1e-6)
    np.testing.assert_allclose(levels[:, 0], levels[:, 2], atol=1e-6)
    return levels[:, 0]


@pytest.mark.parametrize("side", [48, 64, 224])
@pytest.mark.parametrize("strength", [MILD, STRONG])
def test_varied_pictures_have_the_size_and_stay_in_range(strength: Strength, side: int) -> None:
    varied = vary_batch(noise(), SPEC, side, strength, seeded(1))
    assert (varied.shape, varied.dtype) == ((12, 3, side, side), torch.float32)
    levels = greys_of(varied)
    assert -1e-6 <= levels.min() <= levels.max() <= 1.0 + 1e-6
    assert levels.std() > 0.05


@pytest.mark.parametrize("strength", [MILD, STRONG])
def test_a_seed_gives_the_same_variants_and_another_seed_others(strength: Strength) -> None:
    greys = noise()
    kept = greys.copy()
    first, again, other = (vary_batch(greys, SPEC, 48, strength, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    np.testing.assert_array_equal(greys, kept)


def test_the_pictures_of_a_batch_are_varied_differently() -> None:
    same = np.repeat(noise(1), 6, axis=0)
    varied = vary_batch(same, SPEC, 48, MILD, seeded(3))
    assert len({picture.numpy().tobytes() for picture in varied}) == 6


def test_the_draws_of_all_do_not_matter() -> None:
    torch.manual_seed(1)
    first = vary_batch(noise(), SPEC, 48, STRONG, seeded(1))
    torch.manual_seed(2)
    assert torch.equal(first, vary_batch(noise(), SPEC, 48, STRONG, seeded(1)))


@pytest.mark.parametrize("strength", [MILD, STRONG])
def test_left_stays_left_and_up_stays_up(strength: Strength) -> None:
    marked = np.full((80, 64, 64), 90, np.uint8)
    marked[:, 14:26, 12:24] = 250
    levels = greys_of(vary_batch(marked, SPEC, 64, strength, seeded(5)))
    tops, lefts = [], []
    for picture in levels:
        middle = picture[4:-4, 4:-4]
        rows, columns = np.nonzero(middle >= np.quantile(middle, 0.98))
        tops.append(rows.mean())
        lefts.append(columns.mean())
    halves = np.mean(np.array(lefts) < 28), np.mean(np.array(tops) < 28)
    assert min(halves) >= (1.0 if strength is MILD else 0.9)


def spread_of_middles(strength: Strength) -> np.ndarray:
    """How uneven the middle of each picture is that was of one grey."""
    levels = greys_of(vary_batch(np.full((200, 64, 64), 120, np.uint8), SPEC, 64, strength, seeded(7)))
    return levels[:, 20:44, 20:44].std(axis=(1, 2))


def test_mild_variation_leaves_a_picture_of_one_grey_even() -> None:
    assert spread_of_middles(MILD).max() < 1e-5


def test_strong_variation_adds_grain_and_blots_to_some() -> None:
    uneven = spread_of_middles(STRONG) > 1e-4
    assert 0.3 < uneven.mean() < 0.5


def test_strong_variation_shows_less_of_the_picture() -> None:
    """The median frame is the share of a ramp that is seen."""
    ramp = np.repeat(np.linspace(60, 190, 64)[None, None], 64, axis=1).repeat(200, axis=0).astype(np.uint8)
    seen = {}
    for strength in (Strength(0.0, 0.75, blots=False), Strength(0.0, 0.3, blots=False)):
        levels = greys_of(vary_batch(ramp, SPEC, 64, strength, seeded(9)))[:, 32]
        seen[strength.least_area] = np.median(levels[:, -6] - levels[:, 6])
    assert seen[0.3] < 0.9 * seen[0.75]


def test_show_batch_is_what_serving_prepares() -> None:
    greys = noise(3)
    wanted = np.concatenate([prepare_grey(grey, SPEC) for grey in greys])
    np.testing.assert_allclose(show_batch(greys, SPEC, 64).numpy(), wanted, atol=1e-6)


def test_show_batch_reduces_nearly_as_serving_does() -> None:
    smooth = np.stack([np.asarray(Image.fromarray(grey).resize((64, 64))) for grey in noise(3, 16)])
    small = np.stack([np.asarray(Image.fromarray(grey).resize((40, 40), Image.Resampling.BILINEAR)) for grey in smooth])
    levels = greys_of(show_batch(smooth, SPEC, 40))
    assert np.abs(levels * 255.0 - small).max() < 1.5
