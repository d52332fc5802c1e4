"""The one preprocessing: size, numbers, colour, and the refusal of several frames."""

from dataclasses import replace

import numpy as np
import pytest

from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import InputSpec
from csss.inference.prepare import SMALL_PX, display_grey, open_picture, prepare, prepare_grey, prepare_picture

SPEC = InputSpec(64, 48, "grey-repeated-3", "whole", "bilinear", (0.1, 0.2, 0.3), (0.5, 0.25, 0.2))


def test_prepare_normalises_each_channel() -> None:
    batch = prepare_grey(np.full((30, 20), 51, np.uint8), SPEC)
    assert (batch.shape, batch.dtype) == ((1, 3, 48, 64), np.float32)
    for channel, wanted in enumerate(((0.2 - 0.1) / 0.5, 0.0, (0.2 - 0.3) / 0.2)):
        np.testing.assert_allclose(batch[0, channel], wanted, atol=1e-6)


def test_prepare_keeps_left_and_right_and_up_and_down() -> None:
    grey = np.zeros((100, 100), np.uint8)
    grey[:50, :50] = 255
    batch = prepare_grey(grey, SPEC)[0, 0]
    bright = batch > batch.mean()
    assert [bool(bright[place]) for place in ((0, 0), (0, -1), (-1, 0), (-1, -1))] == [True, False, False, False]


def test_prepare_averages_a_fine_pattern_instead_of_sampling_it() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (960, 640))
    inside = prepare_grey(stripes, SPEC)[0, 0, :, 2:-2]
    np.testing.assert_allclose(inside, (0.5 - 0.1) / 0.5, atol=0.02)


def test_prepare_of_a_volume_is_that_of_its_display() -> None:
    values = np.linspace(0, 4000, 40 * 30).reshape(1, 40, 30).astype(np.uint16)
    volume = Volume(pixels=values, kind=FileKind.DICOM, window=(2000.0, 4000.0))
    grey = display_grey(volume)
    assert (grey.dtype, grey.shape) == (np.uint8, (40, 30))
    assert (int(grey[0, 0]), int(grey[-1, -1])) == (0, 255)
    np.testing.assert_array_equal(prepare(volume, SPEC), prepare_grey(grey, SPEC))


def test_prepare_leaves_eight_bit_grey_as_it_is() -> None:
    grey = np.random.default_rng(1).integers(0, 200, (40, 30)).astype(np.uint8)
    np.testing.assert_array_equal(display_grey(Volume(pixels=grey[None], kind=FileKind.JPEG)), grey)


def test_prepare_makes_colour_grey_by_luma() -> None:
    colour = np.zeros((1, 8, 8, 3), np.uint8)
    colour[..., 1] = 200
    volume = Volume(pixels=colour, kind=FileKind.PNG)
    np.testing.assert_array_equal(display_grey(volume), np.full((8, 8), round(0.587 * 200)))


def test_prepare_refuses_several_frames() -> None:
    volume = Volume(pixels=np.arange(32, dtype=np.uint8).reshape(2, 4, 4), kind=FileKind.DICOM)
    with pytest.raises(Exception, match="one picture at a time") as caught:
        prepare(volume, SPEC)
    assert caught.value.code == "one-picture-needed"


def test_one_plane_is_normalised_by_its_own_mean_and_std() -> None:
    grey = np.arange(1024).reshape(32, 32).astype(np.uint8)
    spec = replace(SPEC, width_px=32, height_px=32, colour="grey", mean=(0.25,), std=(0.5,))
    batch = prepare_grey(grey, spec)
    assert (batch.shape, batch.dtype) == ((1, 1, 32, 32), np.float32)
    np.testing.assert_allclose(batch[0, 0], (grey / 255.0 - 0.25) / 0.5, atol=1e-6)


def picture_of(rows: int, columns: int) -> tuple[np.ndarray, Volume]:
    down, across = np.mgrid[0:rows, 0:columns]
    grey = (127.0 + 60.0 * np.sin(down / 90.0) + 60.0 * np.cos(across / 70.0)).astype(np.uint8)
    return grey, Volume(pixels=grey[None], kind=FileKind.PNG)


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((300, 400), (300, 400)),
        ((2 * SMALL_PX - 1, 2000), (2 * SMALL_PX - 1, 2000)),
        ((2 * SMALL_PX, 1000), (SMALL_PX, 500)),
        ((2000, 5 * SMALL_PX), (500, 560)),
    ],
)
def test_the_small_copy_is_reduced_by_whole_factors_to_no_less_than_is_needed(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    grey, volume = picture_of(*size)
    picture = open_picture(volume)
    assert (picture.grey.shape, picture.small.shape) == (size, small)
    factor = size[0] // small[0]
    means = grey[: small[0] * factor, : small[1] * factor].reshape(small[0], factor, small[1], factor).mean(axis=(1, 3))
    assert np.abs(picture.small - means).max() <= 0.5


def test_a_network_is_shown_the_small_copy_only_where_nothing_is_lost() -> None:
    picture = open_picture(picture_of(1024, 1024)[1])
    assert [picture.for_side(side).shape for side in (112, 224, 256, 257, 512)] == [(512, 512)] * 3 + [(1024, 1024)] * 2


def test_the_small_copy_gives_a_network_the_same_as_the_whole_picture() -> None:
    picture = open_picture(picture_of(1500, 1100)[1])
    spec = replace(SPEC, width_px=224, height_px=224, colour="grey", mean=(0.0,), std=(1.0,))
    assert picture.small.shape != picture.grey.shape
    np.testing.assert_allclose(prepare_picture(picture, spec), prepare_grey(picture.grey, spec), atol=1.5 / 255.0)
