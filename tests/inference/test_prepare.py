"""The one preprocessing: size, numbers, colour, and the refusal of several frames."""

import numpy as np
import pytest

from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import InputSpec
from csss.inference.prepare import display_grey, prepare, prepare_grey

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
