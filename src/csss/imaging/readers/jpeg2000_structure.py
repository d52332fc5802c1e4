"""Walk the tile-parts of a JPEG 2000 or HTJ2K codestream without decoding it.

After ITU-T T.800 annex A (codestream) and annex I (JP2 boxes, which some exporters leave around it).
"""

import math
import struct
from dataclasses import dataclass

from csss.imaging.refusals import DamagedFile

_SOC, _SIZ, _SOT, _EOC = b"\xff\x4f", b"\xff\x51", b"\xff\x90", b"\xff\xd9"
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SIZ_FIELDS = struct.Struct(">HHIIIIIIIIH")


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """The SIZ segment of a codestream: sides in pixels, components, bits per sample and tiles."""

    rows: int
    columns: int
    components: int
    bits: int
    tiles: int


def unwrap_jp2(data: bytes) -> bytes:
    """Return the codestream of a JP2 file, or the data itself when it is not one."""
    if not data.startswith(_JP2):
        return data
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"jp2c":
            return data[position + 8 : position + length if length >= 8 else len(data)]
        if length < 8:
            break
        position += length
    raise _damaged()


def check_codestream(data: bytes) -> CodestreamHeader:
    """Return what the SIZ segment says of a codestream whose tile-parts are all there.

    Raises DamagedFile (``truncated``, ``damaged-jpeg2000``): a decoder would fill what is missing with grey.
    """
    if data[:2] != _SOC or data[2:4] != _SIZ:
        raise _damaged()
    header = _read_siz(data)
    position = _skip_main_header(data)
    seen: set[int] = set()
    while data[position : position + 2] == _SOT:
        if position + 12 > len(data):
            raise _truncated()
        tile, length = struct.unpack_from(">HI", data, position + 4)
        seen.add(tile)
        if length == 0:
            position = data.rfind(_EOC)
            break
        if length < 14 or position + length > len(data):
            raise _truncated()
        position += length
    if position < 0 or data[position : position + 2] != _EOC or seen != set(range(header.tiles)):
        raise _truncated()
    return header


def _read_siz(data: bytes) -> CodestreamHeader:
    if len(data) < 4 + _SIZ_FIELDS.size:
        raise _truncated()
    length, _, right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = (
        _SIZ_FIELDS.unpack_from(data, 4)
    )
    samples = data[4 + _SIZ_FIELDS.size : 4 + length]
    if length != _SIZ_FIELDS.size + 3 * components or len(samples) != 3 * components or components == 0:
        raise _damaged()
    if not (left < right and top < bottom and tile_width and tile_height):
        raise _damaged()
    if tile_left > left or tile_top > top or set(samples[1::3] + samples[2::3]) != {1}:
        raise _damaged()
    tiles = math.ceil((right - tile_left) / tile_width) * math.ceil((bottom - tile_top) / tile_height)
    if tiles > 65_535:
        raise _damaged()
    bits = max((sample & 0x7F) + 1 for sample in samples[0::3])
    return CodestreamHeader(bottom - top, right - left, components, bits, tiles)


def _skip_main_header(data: bytes) -> int:
    position = 2
    while position + 4 <= len(data):
        if data[position : position + 2] == _SOT:
            return position
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position] != 0xFF or length < 2:
            raise _damaged()
        position += 2 + length
    raise _truncated()


def _damaged() -> DamagedFile:
    return DamagedFile("The JPEG 2000 stream in the file is damaged.", code="damaged-jpeg2000")


def _truncated() -> DamagedFile:
    return DamagedFile("The JPEG 2000 stream in the file ends too early.", code="truncated")
