"""Drawn pictures of what is uploaded by mistake: repeatable, varied, and each like its kind."""

import numpy as np
import pytest
from training.drawn import DRAWINGS, draw_blank, draw_document, draw_mask, draw_noise, enclose

from csss.imaging.phantom import phantom_chest


def drawings(name: str, count: int = 12) -> list[np.ndarray]:
    return [DRAWINGS[name](np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_a_grey_picture_of_a_usual_size(name: str) -> None:
    for picture in drawings(name):
        assert (picture.dtype, picture.ndim) == (np.uint8, 2)
        assert 160 <= min(picture.shape) <= max(picture.shape) <= 256


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_seed_draws_the_same_picture_and_every_seed_another(name: str) -> None:
    first, again = drawings(name), drawings(name)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({picture.tobytes() for picture in first}) == len(first)


def test_blank_pictures_are_nearly_of_one_level() -> None:
    assert max(draw_blank(np.random.default_rng(seed)).std() for seed in range(30)) < 4.0


def test_masks_are_mostly_black_and_white() -> None:
    for seed in range(12):
        mask = draw_mask(np.random.default_rng(seed))
        assert ((mask < 10) | (mask > 245)).mean() > 0.75
        assert 0.05 < (mask > 127).mean() < 0.7


def test_documents_have_paper_and_ink() -> None:
    for seed in range(12):
        page = draw_document(np.random.default_rng(seed))
        paper = page >= 200 if np.median(page) > 127 else page <= 55
        assert 0.5 < paper.mean() < 1.0
        assert page.std() > 10.0


def test_noise_goes_from_snow_to_clouds() -> None:
    """The correlation of neighbours differs widely."""
    found = []
    for seed in range(30):
        field = draw_noise(np.random.default_rng(seed)).astype(float)
        found.append(np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1])
    assert min(found) < 0.3
    assert max(found) > 0.9


def test_an_enclosed_chest_is_a_part_of_a_larger_picture() -> None:
    chest = phantom_chest(1, size=(200, 200))
    plain = np.full_like(chest, 0)
    for seed in range(12):
        picture, without = (enclose(grey, np.random.default_rng(seed)) for grey in (chest, plain))
        assert picture.dtype == np.uint8
        assert 160 <= min(picture.shape) <= max(picture.shape) <= 256
        differs = picture != without
        assert 0.05 < differs.mean() < 0.6
