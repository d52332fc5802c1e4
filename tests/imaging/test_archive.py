import tracemalloc
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from csss.imaging import wire
from csss.imaging.archive import pack, unpack
from csss.imaging.refusals import DamagedFile
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Acquisition, SourceIdentity, Volume
from imaging.makers_imaging import gradient, volume

FULL: dict[str, Any] = {
    "kind": FileKind.DICOM,
    "modality": "DX",
    "body_part": "CHEST",
    "laterality": "L",
    "view_position": "PA",
    "spacing_mm": (0.143, 0.2),
    "window": (2048.0, 4096.0),
    "identity": SourceIdentity("P1", "Üçgöz^山田", "1980-02-29", "F"),
    "acquisition": Acquisition(study_uid="1.2.3", manufacturer="ACME", study_date="2026-01-02"),
    "burned_in": True,
}


def facts(picture: Volume) -> dict[str, Any]:
    return {member.name: getattr(picture, member.name) for member in fields(Volume) if member.name != "pixels"}


@pytest.mark.parametrize("dtype", ["uint8", "<u2", "<i2", "<f4"])
@pytest.mark.parametrize("constant", [True, False])
def test_unpack_returns_what_pack_kept(dtype: str, constant: bool) -> None:
    pixels = np.zeros((1, 30, 40)) if constant else gradient(30, 40)[np.newaxis]
    kept = volume(pixels=pixels.astype(dtype), **FULL)
    data = pack(kept)
    back = unpack(data)
    assert np.array_equal(back.pixels, kept.pixels)
    assert back.pixels.dtype == kept.pixels.dtype
    assert facts(back) == facts(kept)
    assert (len(data) < kept.pixels.nbytes) == (constant or dtype != "uint8")


def test_unpack_refuses_every_cut_and_every_tail() -> None:
    for pixels in (gradient(6, 5), np.arange(400, dtype=np.uint8).reshape(20, 20) // 50):
        data = pack(volume(pixels=pixels[np.newaxis]))
        for wrong in [data[:end] for end in range(len(data))] + [data + b"\0"]:
            with pytest.raises(DamagedFile) as refusal:
                unpack(wrong)
            assert refusal.value.code == "damaged-archive"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"uint8"', b'"objec"'),
        (b"[1,24,16]", b"[1,24,-6]"),
        (b"[1,24,16]", b"[1,24,1.]"),
        (b"[1,24,16]", b"[9999999]"),
        (b'"PNG"', b'"TIF"'),
        (b'"burned_in":null', b'"burned_in":1   '),
        (b'"modality":null', b'"modality":1234'),
        (b'"window":null', b'"window":[ 1]'),
        (b'"window":null', b'"window":true'),
        (b'"station"', b'"stations'),
        (b"CSSSVOL1", b"CSSSVOL2"),
    ],
)
def test_unpack_refuses_a_header_that_is_not_ours(old: bytes, new: bytes) -> None:
    data = pack(volume())
    assert data.count(old) == 1
    with pytest.raises(DamagedFile) as refusal:
        unpack(data.replace(old, new))
    assert refusal.value.code == "damaged-archive"


def test_unpack_does_not_inflate_beyond_the_declared_picture() -> None:
    bomb = wire.encode_header(volume(), deflated=True) + zlib.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(DamagedFile) as refusal:
        unpack(bomb)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (refusal.value.code, peak_bytes < 1_000_000) == ("damaged-archive", True)


def test_unpack_refuses_a_header_larger_than_its_limit() -> None:
    with pytest.raises(DamagedFile) as refusal:
        unpack(wire.PREFIX.pack(wire.MAGIC, wire.MAX_HEADER_BYTES + 1) + b" " * (wire.MAX_HEADER_BYTES + 1))
    assert refusal.value.code == "damaged-archive"
