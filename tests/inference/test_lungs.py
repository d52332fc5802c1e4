"""The lung fields against the lungs that the phantom draws, under shift, scale, gamma and tilt."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from csss.imaging import phantom
from csss.imaging.phantom import Finding, phantom_chest
from csss.imaging.quality import QualityCheck
from csss.inference.lungs import GRID, LungFields, check_fields, estimate_lungs, fixed_fields

SIDE = 384
SEEDS = range(5)


def chest(seed: int, finding: Finding = Finding.NONE) -> NDArray[np.uint8]:
    return phantom_chest(seed, size=(SIDE, SIDE), finding=finding)


def drawn_lungs(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The phantom's right and left lung without what the heart hides, 0 or 255, drawn as `phantom_chest` draws them."""
    random = np.random.default_rng([seed, 7])
    grid = phantom._grid((SIDE, SIDE))
    phantom._thorax(grid, random)
    heart = phantom._soft(phantom._ellipse(grid, (0.17, 0.27), (0.34, 0.25), 0.62), 0.045)
    right, left = ((air * (1.0 - heart) > 0.5).astype(np.uint8) * np.uint8(255) for air in phantom._lungs(grid, random))
    return right, left


def on_grid(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask).resize((GRID, GRID), Image.Resampling.BOX)) > 127


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


def move(picture: NDArray[np.uint8], scale: float, right: float, down: float) -> NDArray[np.uint8]:
    """The picture made smaller or larger about its middle and shifted by shares of its side, edges left black."""
    middle = SIDE / 2
    turned = (
        1 / scale,
        0,
        middle - (middle + right * SIDE) / scale,
        0,
        1 / scale,
        middle - (middle + down * SIDE) / scale,
    )
    return np.asarray(
        Image.fromarray(picture).transform((SIDE, SIDE), Image.Transform.AFFINE, turned, Image.Resampling.BILINEAR)
    )


def assert_found(fields: LungFields, right: NDArray[np.uint8], left: NDArray[np.uint8], least: float = 0.7) -> None:
    assert fields.plausible
    assert overlap(fields.right, on_grid(right)) >= least
    assert overlap(fields.left, on_grid(left)) >= least


@pytest.mark.parametrize("finding", list(Finding))
@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_of_a_phantom_are_found_whatever_lies_in_them(seed: int, finding: Finding) -> None:
    assert_found(estimate_lungs(chest(seed, finding)), *drawn_lungs(seed))


@pytest.mark.parametrize("gamma", [0.4, 0.7, 1.5, 2.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_are_found_whatever_the_gamma(seed: int, gamma: float) -> None:
    picture = np.rint(255 * (chest(seed) / 255) ** gamma).astype(np.uint8)
    assert_found(estimate_lungs(picture), *drawn_lungs(seed))


@pytest.mark.parametrize(
    ("scale", "right", "down"),
    [(0.8, 0.0, 0.0), (0.85, 0.05, 0.0), (0.85, -0.05, 0.04), (0.9, 0.0, -0.05), (1.1, 0.0, 0.0), (1.15, 0.03, 0.0)],
)
def test_lungs_are_found_where_they_lie(scale: float, right: float, down: float) -> None:
    moved = [move(picture, scale, right, down) for picture in (chest(1), *drawn_lungs(1))]
    assert_found(estimate_lungs(moved[0]), moved[1], moved[2])


@pytest.mark.parametrize("size", [(96, 96), (240, 320), (300, 200), (900, 1100)])
def test_lungs_are_found_at_every_size_and_stretch(size: tuple[int, int]) -> None:
    picture = np.asarray(Image.fromarray(chest(2)).resize(size[::-1]))
    assert_found(estimate_lungs(picture), *drawn_lungs(2))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_opacity_stays_inside_its_lung(seed: int) -> None:
    clear, ill = estimate_lungs(chest(seed)), estimate_lungs(chest(seed, Finding.OPACITY))
    assert overlap(clear.right, ill.right) >= 0.85
    assert overlap(clear.left, ill.left) >= 0.85


@pytest.mark.parametrize("seed", SEEDS)
def test_the_patients_right_is_the_left_of_the_picture(seed: int) -> None:
    fields = estimate_lungs(chest(seed))
    assert not (fields.right & fields.left).any()
    assert fields.right.any(axis=0)[: GRID // 2].sum() == fields.right.any(axis=0).sum()
    assert fields.left.any(axis=0)[GRID // 2 :].sum() == fields.left.any(axis=0).sum()


def ramp() -> NDArray[np.uint8]:
    return np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))


def board(cells: int) -> NDArray[np.uint8]:
    odd = (np.indices((240, 240)) // (240 // cells)).sum(axis=0) % 2
    return (odd * 255).astype(np.uint8)


def disc() -> NDArray[np.uint8]:
    y, x = np.indices((200, 200)) - 100
    return ((np.hypot(x, y) < 60) * 255).astype(np.uint8)


NO_CHESTS = {
    "black": np.zeros((200, 200), np.uint8),
    "white": np.full((200, 200), 255, np.uint8),
    "one pixel": np.full((1, 1), 90, np.uint8),
    "noise": np.random.default_rng(1).integers(0, 256, (300, 300), dtype=np.uint8),
    "ramp": ramp(),
    "ramp down": np.ascontiguousarray(ramp().T),
    "fine board": board(12),
    "coarse board": board(3),
    "disc": disc(),
    "inverted chest": 255 - chest(1),
    "chest on its side": np.ascontiguousarray(np.rot90(chest(1))),
    "chest on its other side": np.ascontiguousarray(np.rot90(chest(1), 3)),
}


@pytest.mark.parametrize("picture", list(NO_CHESTS.values()), ids=list(NO_CHESTS))
def test_what_is_no_upright_chest_gets_the_fixed_fields(picture: NDArray[np.uint8]) -> None:
    fields = estimate_lungs(picture)
    assert not fields.plausible
    np.testing.assert_array_equal(fields.right, fixed_fields().right)
    np.testing.assert_array_equal(fields.left, fixed_fields().left)
    assert QualityCheck.LUNGS_NOT_FOUND in [note.check for note in check_fields(fields)]


SIDES = (1, 2, 30, 2000)


@pytest.mark.parametrize(("rows", "columns"), list(itertools.product(SIDES, SIDES)))
def test_any_shape_gives_two_fields(rows: int, columns: int) -> None:
    picture = np.random.default_rng(columns).integers(0, 256, (rows, columns), dtype=np.uint8)
    fields = estimate_lungs(picture)
    for mask in (fields.right, fields.left):
        assert (mask.dtype, mask.shape, bool(mask.any())) == (np.bool_, (GRID, GRID), True)
    assert np.isfinite([fields.fit, fields.tilt_deg]).all()
    assert abs(fields.tilt_deg) <= 20.0


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 0), np.uint8)],
    ids=["float", "colour", "empty"],
)
def test_what_is_no_grey_picture_is_refused(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"^A grey picture, uint8 \(rows, columns\), is needed\.$"):
        estimate_lungs(picture)


def test_an_estimate_is_the_same_each_time() -> None:
    first, second = estimate_lungs(chest(4)), estimate_lungs(chest(4).copy())
    np.testing.assert_array_equal(first.outlines, second.outlines)
    assert (first.fit, first.tilt_deg) == (second.fit, second.tilt_deg)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_whole_upright_chest_has_no_note(seed: int) -> None:
    assert check_fields(estimate_lungs(chest(seed))) == ()


@pytest.mark.parametrize("clockwise", [-15.0, 15.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_tilt_is_measured_and_noted(seed: int, clockwise: float) -> None:
    picture = np.asarray(Image.fromarray(chest(seed)).rotate(-clockwise, Image.Resampling.BILINEAR))
    fields = estimate_lungs(picture)
    assert abs(fields.tilt_deg - clockwise) <= 5.0
    notes = [note for note in check_fields(fields) if note.check is QualityCheck.ROTATION]
    assert [(note.fault, note.value, note.limit) for note in notes] == [(False, abs(fields.tilt_deg), 10.0)]


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_cut_off_at_the_top_are_noted(seed: int) -> None:
    fields = estimate_lungs(np.ascontiguousarray(chest(seed)[SIDE // 4 :]))
    assert [(note.check, note.fault) for note in check_fields(fields)] == [(QualityCheck.TRUNCATION, False)]
