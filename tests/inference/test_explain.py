"""The closed-form map against finite differences, and the zones named under a hot spot."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import CHANNELS, make_head

from csss.inference.explain import OUTSIDE, choose_explained, grad_cam, grad_cam_weights, name_regions, share_inside
from csss.inference.lungs import GRID, LungFields


@pytest.mark.parametrize(("label", "rival"), [(0, None), (1, None), (2, None), (1, 0), (0, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_grad_cam_weights_are_the_gradient_of_the_logit_less_its_rivals(
    seed: int, label: int, rival: int | None
) -> None:
    head = make_head(seed)
    pooled = np.random.default_rng(seed).normal(size=CHANNELS)
    step = 1e-6

    def logit(values: np.ndarray) -> float:
        hidden = head.w1.astype(float) @ values + head.b1
        logits = head.w2.astype(float) @ np.maximum(hidden, 0.0) + head.b2
        return float(logits[label] - (0.0 if rival is None else logits[rival]))

    steps = step * np.eye(CHANNELS)
    slope = [(logit(pooled + one) - logit(pooled - one)) / (2 * step) for one in steps]
    hidden, _ = head.logits(pooled.astype(np.float32))
    np.testing.assert_allclose(grad_cam_weights(hidden, head, label, rival), slope, rtol=1e-4, atol=1e-4)


def test_grad_cam_is_the_weighted_sum_of_the_maps_above_zero() -> None:
    head, random = make_head(), np.random.default_rng(5)
    features = random.random((CHANNELS, 3, 4)).astype(np.float32)
    hidden, _ = head.logits(features.mean(axis=(1, 2)))
    weights = head.w1.T @ ((hidden > 0) * head.w2[1])
    wanted = np.maximum(sum(w * a for w, a in zip(weights, features, strict=True)), 0.0)
    heat = grad_cam(features, hidden, head, 1)
    np.testing.assert_allclose(heat, wanted / wanted.max(), rtol=1e-5, atol=1e-6)
    assert (heat.dtype, heat.shape, float(heat.max())) == (np.float32, (3, 4), 1.0)


def test_grad_cam_against_a_rival_shows_what_speaks_for_the_one_and_not_for_the_other() -> None:
    features = np.zeros((CHANNELS, 2, 2), np.float32)
    features[0, 0, 0], features[1, 1, 1] = 4.0, 2.0
    w2 = np.zeros((3, 5), np.float32)
    w2[:, 0], w2[1, 1] = 1.0, 1.0
    head = replace(make_head(), w1=np.eye(5, CHANNELS, dtype=np.float32), w2=w2)
    hidden = np.ones(5, np.float32)
    np.testing.assert_array_equal(grad_cam(features, hidden, head, 1), [[1.0, 0.0], [0.0, 0.5]])
    np.testing.assert_array_equal(grad_cam(features, hidden, head, 1, 0), [[0.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(grad_cam(features, hidden, head, 0, 1), np.zeros((2, 2)))


def test_a_finding_is_held_against_the_plain_label_and_explained_even_where_that_is_likelier() -> None:
    shares = np.array([0.2, 0.5, 0.3])
    assert [choose_explained(top, shares, 1) for top in range(3)] == [(0, 1), (2, 1), (2, 1)]
    assert [choose_explained(top, shares, None) for top in range(3)] == [(0, None), (1, None), (2, None)]


def test_grad_cam_is_all_zero_where_nothing_speaks_for_the_label() -> None:
    head = make_head()
    silent = np.full(len(head.b1), -1.0, np.float32)
    heat = grad_cam(np.ones((CHANNELS, 2, 2), np.float32), silent, head, 0)
    np.testing.assert_array_equal(heat, np.zeros((2, 2)))


def spot(row: float, column: float, width: float = 0.08) -> np.ndarray:
    rows, columns = np.meshgrid(np.linspace(0, 1, 56), np.linspace(0, 1, 56), indexing="ij")
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2)).astype(np.float32)


@pytest.mark.parametrize(
    ("row", "column", "name"),
    [
        (0.24, 0.28, "right upper zone"),
        (0.48, 0.28, "right middle zone"),
        (0.72, 0.28, "right lower zone"),
        (0.24, 0.72, "left upper zone"),
        (0.48, 0.72, "left middle zone"),
        (0.72, 0.72, "left lower zone"),
    ],
)
def test_regions_name_the_patients_side_and_third(row: float, column: float, name: str) -> None:
    assert name_regions(spot(row, column)) == (name,)


def test_regions_name_the_hotter_of_two_first() -> None:
    heat = np.maximum(spot(0.24, 0.72, 0.09), spot(0.72, 0.28, 0.06))
    assert name_regions(heat) == ("left upper zone", "right lower zone")


@pytest.mark.parametrize(("row", "column"), [(0.02, 0.5), (0.97, 0.5), (0.5, 0.01)])
def test_regions_say_when_the_heat_lies_outside_the_lungs(row: float, column: float) -> None:
    assert name_regions(spot(row, column)) == ("outside the lung fields",)


def test_regions_of_a_cold_map_are_none() -> None:
    assert name_regions(np.zeros((7, 7), np.float32)) == ()


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = (np.indices((GRID, GRID)) + 0.5) / GRID
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1.0


def small_lungs() -> LungFields:
    """Two lungs in the lower half of the picture, far from where the fixed rectangles lie."""
    right, left = ellipse(0.75, 0.35, 0.2, 0.08), ellipse(0.75, 0.65, 0.2, 0.08)
    return LungFields(right, left, np.zeros((2, 4, 2)), True, 0.5, 0.0)


@pytest.mark.parametrize(
    ("row", "column", "name"),
    [
        (0.60, 0.35, "right upper zone"),
        (0.75, 0.35, "right middle zone"),
        (0.90, 0.35, "right lower zone"),
        (0.60, 0.65, "left upper zone"),
        (0.75, 0.65, "left middle zone"),
        (0.90, 0.65, "left lower zone"),
    ],
)
def test_regions_are_thirds_of_the_lungs_given(row: float, column: float, name: str) -> None:
    assert name_regions(spot(row, column, 0.04), small_lungs()) == (name,)


def test_regions_inside_the_rectangles_but_outside_the_lungs_given_are_outside() -> None:
    heat = spot(0.3, 0.28)
    assert (name_regions(heat), name_regions(heat, small_lungs())) == (("right upper zone",), (OUTSIDE,))


def cells(*hot: tuple[int, int]) -> np.ndarray:
    heat = np.zeros((7, 7), np.float32)
    for place in hot:
        heat[place] = 1.0
    return heat


def test_a_coarse_map_is_not_called_outside_within_half_a_cell_of_a_lung() -> None:
    narrow = LungFields(
        ellipse(0.75, 0.35, 0.2, 0.012), ellipse(0.75, 0.65, 0.2, 0.012), np.zeros((2, 4, 2)), True, 0.5, 0.0
    )
    coarse = cells((5, 2))
    fine = np.kron(coarse, np.ones((14, 14), np.float32))
    assert name_regions(coarse, narrow)[0] == "right middle zone"
    assert name_regions(fine, narrow)[0] == OUTSIDE


def test_heat_far_from_both_lungs_is_outside_and_names_no_zone() -> None:
    assert name_regions(cells((0, 3)), small_lungs()) == (OUTSIDE,)


def test_heat_near_the_lungs_that_covers_no_zone_names_the_hottest() -> None:
    """The inner two fifths of both lungs: in no zone a half, in none a quarter of the heat."""
    lungs = small_lungs()
    rows, columns = (np.indices((GRID, GRID)) + 0.5) / GRID
    heat = ((lungs.right & (columns > 0.37)) | (lungs.left & (columns < 0.63))).astype(np.float32)
    heat[lungs.left & (abs(rows - 0.75) < 0.02)] = 0.0
    assert name_regions(heat, lungs) == ("right middle zone",)


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (20, 3)])
def test_even_heat_names_both_lungs_and_lies_inside_by_area(shape: tuple[int, int]) -> None:
    heat, lungs = np.ones(shape, np.float32), small_lungs()
    assert [name for name in name_regions(heat, lungs) if name != OUTSIDE] == ["both lungs"]
    assert share_inside(heat, lungs) == pytest.approx((lungs.right | lungs.left).mean(), rel=1e-5)


def test_a_spot_in_each_zone_of_a_side_is_no_whole_lung() -> None:
    heat = sum(spot(row, 0.35, 0.02) for row in (0.60, 0.75, 0.90))
    assert sorted(name_regions(heat, small_lungs())) == ["right lower zone", "right middle zone", "right upper zone"]


def test_three_zones_of_one_side_are_that_lung_and_keep_the_order() -> None:
    lungs = small_lungs()
    heat = np.where(lungs.right, 1.0, 0.0).astype(np.float32)
    assert name_regions(heat, lungs) == ("right lung",)
    upper_left = lungs.left & (np.indices((GRID, GRID))[0] < 0.68 * GRID)
    assert name_regions(np.where(upper_left, 1.0, heat), lungs) == ("right lung", "left upper zone")


@pytest.mark.parametrize(("covered", "named"), [(0.4, False), (0.6, True)])
def test_a_zone_is_named_when_half_of_it_is_hot(covered: float, named: bool) -> None:
    """With the whole right lung hot, a part of one left zone is far less than a quarter of what is hot."""
    lungs = small_lungs()
    rows = np.flatnonzero(lungs.left.sum(axis=1))
    zone = lungs.left.copy()
    zone[rows[0] + round(len(rows) / 3) :] = False
    hot = np.flatnonzero(zone)[: round(covered * zone.sum())]
    heat = lungs.right.astype(np.float32)
    heat.ravel()[hot] = 1.0
    wide = lungs.right | (np.indices((GRID, GRID))[0] > 0.9 * GRID)
    heat[wide] = 1.0
    assert ("left upper zone" in name_regions(heat, lungs)) is named


@pytest.mark.parametrize(("row", "column", "share"), [(0.75, 0.35, 1.0), (0.75, 0.65, 1.0), (0.2, 0.5, 0.0)])
def test_share_inside_is_the_part_of_the_heat_in_both_fields(row: float, column: float, share: float) -> None:
    assert share_inside(spot(row, column, 0.02), small_lungs()) == pytest.approx(share, abs=0.01)


def test_share_inside_of_two_equal_spots_with_one_inside_is_a_half() -> None:
    heat = np.maximum(spot(0.75, 0.35, 0.02), spot(0.2, 0.35, 0.02))
    assert share_inside(heat, small_lungs()) == pytest.approx(0.5, abs=0.01)


def test_share_inside_of_a_cold_map_is_zero() -> None:
    assert share_inside(np.zeros((7, 7), np.float32), small_lungs()) == 0.0
