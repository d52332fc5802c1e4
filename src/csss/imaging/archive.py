"""The canonical form in which a picture is kept: what viewer and model both read."""

import zlib

from csss.imaging import wire
from csss.imaging.refusals import DamagedFile
from csss.imaging.volume import Volume

MAX_PIXEL_BYTES = 1024 * 1024 * 1024
WORTH_DEFLATING = 0.95


def pack(volume: Volume) -> bytes:
    """Return the bytes to keep: the wire form of a Volume, deflated (level 1) where that saves 5 %."""
    raw = volume.pixels.tobytes()
    deflated = zlib.compress(raw, level=1)
    if len(deflated) <= WORTH_DEFLATING * len(raw):
        return wire.encode_header(volume, deflated=True) + deflated
    return wire.encode_header(volume) + raw


def unpack(data: bytes) -> Volume:
    """Return the Volume that ``pack`` kept; raises DamagedFile (``damaged-archive``) for any other bytes."""
    try:
        start = wire.PREFIX.size
        end = start + wire.header_length(data[:start])
        header = wire.decode_header(data[start:end], max_pixel_bytes=MAX_PIXEL_BYTES)
        body = data[end:]
        return wire.build_volume(header, _inflate(body, header.pixel_bytes) if header.deflated else body)
    except (wire.WireError, zlib.error) as error:
        raise DamagedFile("The stored picture cannot be read back.", code="damaged-archive") from error


def _inflate(body: bytes, size_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    raw = inflater.decompress(body, size_bytes + 1)
    if not inflater.eof or inflater.unused_data:
        raise wire.WireError("the deflated pixels are cut or too long")
    return raw
