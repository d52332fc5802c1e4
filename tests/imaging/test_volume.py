from typing import Any

import numpy as np
import pytest

from csss.imaging.volume import pixel_sha256
from imaging.makers_imaging import gradient, volume


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(1, 4, 5), (2, 4, 5), (1, 4, 5, 3)])
def test_volume_keeps_pixels_read_only_and_in_c_order(dtype: Any, shape: tuple[int, ...]) -> None:
    pixels = np.asfortranarray(np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    kept = volume(pixels=pixels).pixels
    assert kept.flags.c_contiguous
    assert not kept.flags.writeable
    assert np.array_equal(kept, pixels)


@pytest.mark.parametrize(
    "changes",
    [
        {"pixels": gradient()},
        {"pixels": np.zeros((1, 4, 4, 2), np.uint8)},
        {"pixels": np.zeros((1, 0, 4), np.uint8)},
        {"pixels": np.zeros((1, 4, 4), np.float64)},
        {"pixels": np.zeros((1, 4, 4), np.int32)},
        {"pixels": np.zeros((1, 4, 4), ">u2")},
        {"pixels": np.full((1, 4, 4), np.nan, np.float32)},
        {"pixels": np.full((1, 4, 4), np.inf, np.float32)},
        {"spacing_mm": (0.0, 1.0)},
        {"spacing_mm": (1.0, float("nan"))},
        {"window": (1.0, 0.0)},
        {"window": (float("inf"), 1.0)},
    ],
)
def test_volume_refuses_what_is_no_picture(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        volume(**changes)


def test_pixel_sha256_depends_on_values_shape_and_type_only() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    same = pixel_sha256(volume(pixels=pixels))
    changed = pixels.copy()
    changed[0, 3, 5] += 1
    assert pixel_sha256(volume(pixels=np.asfortranarray(pixels), modality="CT", window=(1.0, 2.0))) == same
    assert pixel_sha256(volume(pixels=changed)) != same
    assert pixel_sha256(volume(pixels=pixels.reshape(1, 6, 4))) != same
    assert pixel_sha256(volume(pixels=pixels.view("<i2").reshape(1, 4, 3))) != pixel_sha256(
        volume(pixels=pixels.view("<u2").reshape(1, 4, 3))
    )
