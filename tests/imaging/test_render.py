import io

import numpy as np
import pytest
from PIL import Image

from csss.imaging.render import blend_png, jet, overlay, overlay_png, png_bytes, thumbnail, to_display
from imaging.makers_imaging import gradient, volume

HEAT = np.zeros((7, 7), np.float32)
HEAT[2:5, 2:5] = 1.0


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        # A palette picture keeps its transparency there; anything else would be metadata.
        assert (image.format, set(image.info) - {"transparency"}) == ("PNG", set())
        return np.asarray(image.convert("RGBA") if image.mode == "P" else image)


def test_display_applies_the_window_linearly() -> None:
    pixels = np.array([[[-100, 0, 40, 80, 200]]], np.int16)
    picture = volume(pixels=pixels, window=(0.0, 2000.0))
    # PS3.3 C.11.2.1.2.1: below c - 0.5 - (w-1)/2 black, above c - 0.5 + (w-1)/2 white.
    assert to_display(picture, window=(40.5, 81.0)).tolist() == [[0, 0, 128, 255, 255]]
    assert to_display(picture).tolist() == [[115, 128, 133, 138, 153]]


def test_display_without_a_window_keeps_8_bits_and_stretches_more() -> None:
    shallow, deep = gradient()[np.newaxis], gradient(60, 60, np.uint16)[np.newaxis]
    assert np.array_equal(to_display(volume(pixels=shallow)), shallow[0])
    shown = to_display(volume(pixels=deep))
    low, high = np.percentile(deep, (1, 99))
    assert (shown[deep[0] <= low].max(), shown[deep[0] >= high].min()) == (0, 255)
    assert abs(int(np.median(shown)) - 127) <= 4


def test_display_of_colour_and_of_depth() -> None:
    colour = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    assert np.array_equal(to_display(volume(pixels=colour)), colour[0])
    assert np.array_equal(to_display(volume(pixels=colour.astype(np.uint16) * 257)), colour[0])


def test_display_shrinks_to_the_longer_side_and_never_enlarges() -> None:
    picture = volume(pixels=gradient(100, 50)[np.newaxis])
    assert to_display(picture, max_side=20).shape == (20, 10)
    assert to_display(picture, max_side=500).shape == (100, 50)
    assert decoded(thumbnail(picture, max_side=40)).shape == (40, 20)


def test_png_bytes_hold_pixels_and_nothing_else() -> None:
    data = png_bytes(gradient())
    assert np.array_equal(decoded(data), gradient())
    kinds = [data[at : at + 4] for at in (12, 37)]
    assert kinds == [b"IHDR", b"IDAT"]


def test_jet_runs_from_blue_to_red() -> None:
    expected = [[0, 0, 128], [0, 128, 255], [128, 255, 128], [255, 128, 0], [128, 0, 0]]
    assert jet(np.linspace(0, 1, 5, dtype=np.float32)).tolist() == expected


def test_overlay_is_transparent_where_there_is_no_heat() -> None:
    layer = decoded(overlay_png(HEAT, (70, 70), contour=False))
    assert layer.shape == (70, 70, 4)
    assert layer[2, 2].tolist() == [0, 0, 0, 0]
    assert layer[35, 35].tolist() == [128, 0, 0, 102]
    assert set(np.unique(layer[..., 3])) <= set(range(103))


def test_overlay_contour_surrounds_half_of_the_heat() -> None:
    line = (overlay(HEAT, (70, 70)) != overlay(HEAT, (70, 70), contour=False)).any(axis=2)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 49, 20, 49)
    assert not line[25:45, 25:45].any()


@pytest.mark.parametrize("bad", [np.full((3, 3), np.nan), np.full((3, 3), 1.5), np.full((3, 3), -0.1), np.zeros(3)])
def test_overlay_refuses_what_is_no_heat_map(bad: np.ndarray) -> None:
    with pytest.raises(ValueError):
        overlay(bad.astype(np.float32), (10, 10))


def test_blend_equals_the_layer_laid_over_the_scan() -> None:
    scan = gradient(70, 70)
    blended = decoded(blend_png(scan, HEAT))
    layer = Image.fromarray(overlay(HEAT, (70, 70)))
    base = Image.fromarray(np.dstack([scan] * 3)).convert("RGBA")
    base.alpha_composite(layer)
    assert np.abs(blended.astype(int) - np.asarray(base)[..., :3]).max() <= 1
    assert np.array_equal(blended[0, 0], [scan[0, 0]] * 3)
