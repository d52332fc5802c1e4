import pytest

from csss.imaging import wire
from imaging.makers_imaging import volume

DOCUMENT = wire.encode_header(volume())[wire.PREFIX.size :]


def test_header_length_accepts_its_limit_and_refuses_one_more() -> None:
    assert wire.header_length(wire.PREFIX.pack(wire.MAGIC, wire.MAX_HEADER_BYTES)) == wire.MAX_HEADER_BYTES
    for prefix in (
        wire.PREFIX.pack(wire.MAGIC, wire.MAX_HEADER_BYTES + 1),
        wire.PREFIX.pack(wire.MAGIC, 0),
        wire.PREFIX.pack(b"PK\3\4\0\0\0\0", 10),
        b"CSSS",
    ):
        with pytest.raises(wire.WireError):
            wire.header_length(prefix)


def test_decode_header_accepts_a_picture_at_its_limit_and_refuses_one_byte_more() -> None:
    assert wire.decode_header(DOCUMENT, max_pixel_bytes=384).pixel_bytes == 384
    with pytest.raises(wire.WireError):
        wire.decode_header(DOCUMENT, max_pixel_bytes=383)


def test_decode_header_survives_deep_json() -> None:
    with pytest.raises(wire.WireError):
        wire.decode_header(b"[" * 60_000, max_pixel_bytes=384)
