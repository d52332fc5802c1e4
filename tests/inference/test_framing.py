"""The part of a picture that a network is shown, and its heat map on the whole picture."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import make_card, make_head, make_network

from csss.imaging.phantom import phantom_chest
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import InputSpec
from csss.inference.engines.onnx import open_onnx
from csss.inference.framing import MARGIN, WHOLE, Frame, frame_lungs, spread_heat
from csss.inference.head import write_head
from csss.inference.lungs import GRID, LungFields, estimate_lungs, fixed_fields
from csss.inference.prepare import choose_frame, open_picture, prepare, prepare_grey, stretch
from csss.inference.tasks.classify import classify

SPEC = InputSpec(32, 32, "grey-repeated-3", "lungs", "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def fields(rows: slice, right: slice, left: slice) -> LungFields:
    masks = np.zeros((2, GRID, GRID), dtype=bool)
    masks[0, rows, right], masks[1, rows, left] = True, True
    return replace(fixed_fields(), right=masks[0], left=masks[1], plausible=True)


def test_the_frame_holds_both_fields_and_a_margin() -> None:
    frame = frame_lungs(fields(slice(24, 72), slice(12, 36), slice(48, 84)))
    wanted = (0.125 - MARGIN * 0.75, 0.25 - MARGIN * 0.5, 0.875 + MARGIN * 0.75, 0.75 + MARGIN * 0.5)
    assert (frame.left, frame.top, frame.right, frame.bottom) == pytest.approx(wanted)


def test_the_frame_ends_at_the_picture() -> None:
    assert frame_lungs(fields(slice(0, GRID), slice(0, 40), slice(50, GRID))) == WHOLE


def test_lungs_that_were_not_found_frame_nothing() -> None:
    assert frame_lungs(fixed_fields()) == WHOLE


def test_a_network_of_whole_pictures_is_shown_the_whole() -> None:
    assert choose_frame(phantom_chest(1, size=(200, 200)), replace(SPEC, framing="whole")) == WHOLE


def test_stretch_shows_exactly_the_part_that_is_framed() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (128, 160), dtype=np.uint8)
    frame = Frame(0.25, 0.125, 0.75, 0.875)
    # At the frame's own border the filter may look one pixel beyond it.
    framed, cut = stretch(grey, SPEC, frame), stretch(grey[16:112, 40:120].copy(), SPEC)
    np.testing.assert_array_equal(framed[1:-1, 1:-1], cut[1:-1, 1:-1])


def test_prepare_frames_the_lungs_of_the_picture() -> None:
    grey = phantom_chest(2, size=(240, 240))
    frame = frame_lungs(estimate_lungs(grey))
    assert frame != WHOLE
    prepared = prepare(Volume(pixels=grey[None], kind=FileKind.PNG), SPEC)
    np.testing.assert_array_equal(prepared, prepare_grey(grey, SPEC, frame))
    assert not np.array_equal(prepared, prepare_grey(grey, SPEC))


def test_heat_of_the_whole_picture_stays_as_it_is() -> None:
    heat = np.random.default_rng(2).random((7, 7), dtype=np.float32)
    assert spread_heat(heat, WHOLE) is heat


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (6, 6)])
def test_the_hottest_point_keeps_its_place_on_the_picture(row: int, column: int) -> None:
    heat = np.zeros((7, 7), dtype=np.float32)
    heat[row, column] = 1.0
    frame = Frame(0.25, 0.125, 0.875, 0.75)
    whole = spread_heat(heat, frame)
    found = np.array(np.unravel_index(int(whole.argmax()), whole.shape)) + 0.5
    place = np.array((0.125 + (row + 0.5) / 7 * 0.625, 0.25 + (column + 0.5) / 7 * 0.625))
    assert np.abs(found / whole.shape[0] - place).max() < 0.5 / 7 * 0.625
    assert (float(whole.max()), whole.dtype) == (1.0, np.float32)
    outside = whole.copy()
    outside[7:42, 14:49] = 0.0
    assert not outside.any()


def test_cold_heat_stays_cold() -> None:
    assert not spread_heat(np.zeros((7, 7), np.float32), Frame(0.1, 0.1, 0.9, 0.9)).any()


def test_a_framed_network_has_no_heat_outside_its_frame() -> None:
    grey = phantom_chest(3, size=(240, 240))
    card = make_card(make_network(), write_head(make_head()), b"")
    card = replace(card, input=replace(card.input, framing="lungs"))
    picture = open_picture(Volume(pixels=grey[None], kind=FileKind.PNG))
    said = classify(picture, card, make_head(), open_onnx(make_network(), 1))
    frame = frame_lungs(estimate_lungs(grey))
    assert said.heat is not None
    side = said.heat.shape[0]
    outside = said.heat.copy()
    rows = slice(round(frame.top * side), round(frame.bottom * side))
    outside[rows, round(frame.left * side) : round(frame.right * side)] = 0.0
    assert (said.heat.max(), outside.any()) == (1.0, False)
