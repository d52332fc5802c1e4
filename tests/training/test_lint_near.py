"""The index of near duplicates, the probe of the source, and the association of label and source."""

import numpy as np
import pytest
from numpy.typing import NDArray
from training.lint.near import find_twins, hash_pictures
from training.lint.probe import probe
from training.lint.sources import cramers_v


def make_thumbs(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def links(thumbs: NDArray[np.uint8]) -> set[tuple[int, int, bool]]:
    return {(min(t.first, t.second), max(t.first, t.second), t.mirrored) for t in find_twins(thumbs)}


def test_unlike_pictures_have_no_twins() -> None:
    assert find_twins(make_thumbs(300)) == []


def test_noisy_brighter_and_mirrored_copies_are_twins() -> None:
    thumbs = make_thumbs(60)
    noisy = np.clip(thumbs[4].astype(int) + np.random.default_rng(1).integers(-6, 7, (48, 48)), 0, 255)
    thumbs[17], thumbs[33], thumbs[51] = noisy, thumbs[8] // 2 + 60, thumbs[21][:, ::-1]
    assert links(thumbs) == {(4, 17, False), (8, 33, False), (21, 51, True)}


def test_pictures_alike_in_the_coarse_alone_are_no_twins() -> None:
    # As two chests are: one shape, other bones and vessels.
    random = np.random.default_rng(6)
    waves = np.cos(np.pi / 48 * (np.arange(48) + 0.5) * np.arange(9)[:, None])
    shape = 128 + waves.T @ random.normal(0, 8, (9, 9)) @ waves
    grain = random.normal(0, 5, (2, 48, 48))
    thumbs = np.clip(shape + grain, 0, 255).astype(np.uint8)
    first, second = hash_pictures(thumbs)
    assert np.bitwise_count(first ^ second) <= 6
    assert np.corrcoef(thumbs[0].ravel(), thumbs[1].ravel())[0, 1] > 0.95
    assert find_twins(thumbs) == []


def test_many_copies_are_linked_once_each() -> None:
    thumbs = np.concatenate([make_thumbs(1).repeat(400, axis=0), make_thumbs(5, seed=2)])
    assert len(find_twins(thumbs)) == 399


def test_flat_pictures_are_nobodys_twins() -> None:
    assert find_twins(np.full((6, 48, 48), 90, dtype=np.uint8)) == []


def test_hash_of_a_picture_differs_from_that_of_another_and_not_from_its_stretched_levels() -> None:
    thumbs = make_thumbs(2)
    first, second, stretched = hash_pictures(np.stack([thumbs[0], thumbs[1], thumbs[0] // 2 + 30]))
    assert np.bitwise_count(first ^ second) > 16
    assert np.bitwise_count(first ^ stretched) <= 2


@pytest.mark.parametrize(
    ("table", "strength"),
    [([[10, 0], [0, 10]], 1.0), ([[10, 10], [5, 5]], 0.0), ([[30, 10], [10, 30]], 0.5), ([[7, 0], [9, 0]], 0.0)],
)
def test_cramers_v_of_known_tables(table: list[list[int]], strength: float) -> None:
    assert cramers_v(np.array(table)) == pytest.approx(strength)


@pytest.mark.parametrize(("shift", "told"), [(0.0, False), (2.0, True)])
def test_probe_tells_classes_apart_only_where_they_differ(shift: float, told: bool) -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(240, 10))
    features[:80, 2] += shift
    result = probe(features, ["a"] * 80 + ["b"] * 160, [f"g{n}" for n in range(240)])
    assert result is not None
    assert (result.classes, result.chance, result.tells_apart) == (("a", "b"), 0.5, told)
    assert abs(result.balanced_accuracy - (0.84 if told else 0.5)) < 0.08


def test_probe_keeps_groups_whole() -> None:
    # Features name the person and nothing else: with a person in two folds the probe would know them.
    random = np.random.default_rng(4)
    persons = np.repeat(np.arange(60), 6)
    features = random.normal(size=(60, 40))[persons]
    result = probe(features, ["a" if person % 2 else "b" for person in persons], [f"p{person}" for person in persons])
    assert result is not None
    assert abs(result.balanced_accuracy - 0.5) < 0.15


def test_probe_needs_two_classes_with_groups_enough() -> None:
    assert probe(np.zeros((40, 3)), ["a"] * 20 + ["b"] * 20, ["one"] * 20 + [f"g{n}" for n in range(20)]) is None
