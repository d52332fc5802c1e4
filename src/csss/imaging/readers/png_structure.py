"""Check a PNG chunk by chunk, without decoding it, and keep only what its pixels need.

After the PNG specification, third edition (W3C 2025), sections 5 to 11.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from csss.imaging.limits import Limits
from csss.imaging.refusals import DamagedFile, RefusedFile
from csss.imaging.sniff import FileKind

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR = struct.Struct(">IIBBBBB")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
# eXIf is kept for its orientation; every other ancillary chunk can carry text about a person or a bomb.
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"})
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_STEP = 1024 * 1024
_MAX_CHUNKS = 100_000


@dataclass(frozen=True, slots=True)
class PngHeader:
    """IHDR: sides in pixels, bits per sample, colour type and interlace method."""

    columns: int
    rows: int
    bits: int
    colour_type: int
    interlaced: bool

    @property
    def is_grey(self) -> bool:
        """True for the colour types without colour."""
        return self.colour_type in (0, 4)

    def raw_bytes(self) -> int:
        """Size of the filtered image data that the IDAT chunks must inflate to."""
        bits_per_pixel = self.bits * _CHANNELS[self.colour_type]
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, across, down in passes:
            columns = -(-(self.columns - left) // across)
            rows = -(-(self.rows - top) // down)
            if columns > 0 and rows > 0:
                total += rows * (1 + (columns * bits_per_pixel + 7) // 8)
        return total


def check_png(data: bytes, limits: Limits) -> tuple[PngHeader, bytes]:
    """Return the header and a clean copy of the file: pixels, palette, transparency and EXIF only.

    Checked before any pixel is decoded: every CRC, the order of the chunks, the limits, that compressed
    texts stay small, that the image data inflates to exactly what the header declares, and that IEND is
    there. Bytes after IEND are dropped. Raises DamagedFile, RefusedFile or FileTooLarge.
    """
    header: PngHeader | None = None
    kept = [SIGNATURE]
    image_data: list[bytes] = []
    for kind, body, whole in _chunks(data):
        if (header is None) != (kind == b"IHDR"):
            raise DamagedFile("The PNG does not begin with exactly one header.", code="damaged-png")
        if kind == b"IHDR":
            header = _read_header(body, limits)
        elif kind == b"IDAT":
            image_data.append(body)
        else:
            _check_other(kind, body, limits)
        if kind in _KEPT:
            kept.append(whole)
    if header is None:
        raise DamagedFile("The PNG has no header.", code="damaged-png")
    _check_image_data(image_data, header.raw_bytes())
    return header, b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        head = data[position : position + 8]
        if len(head) < 8:
            raise DamagedFile("The PNG ends too early.", code="truncated")
        length, kind = struct.unpack(">I4s", head)
        end = position + 12 + length
        if end > len(data):
            raise DamagedFile("The PNG ends too early.", code="truncated")
        body = data[position + 8 : end - 4]
        if zlib.crc32(kind + body) != struct.unpack(">I", data[end - 4 : end])[0]:
            raise DamagedFile("A checksum in the PNG does not match its content.", code="bad-checksum")
        yield kind, body, data[position:end]
        if kind == b"IEND":
            return
        position = end
    raise DamagedFile("The PNG has too many parts.", code="damaged-png")


def _read_header(body: bytes, limits: Limits) -> PngHeader:
    if len(body) != _IHDR.size:
        raise DamagedFile("The PNG header has the wrong length.", code="damaged-png")
    columns, rows, bits, colour_type, compression, filtering, interlace = _IHDR.unpack(body)
    if bits not in _DEPTHS.get(colour_type, ()) or compression or filtering or interlace > 1:
        raise DamagedFile("The PNG header declares a form that does not exist.", code="damaged-png")
    limits.check_pixels(FileKind.PNG, rows=rows, columns=columns)
    return PngHeader(columns, rows, bits, colour_type, interlaced=bool(interlace))


def _check_other(kind: bytes, body: bytes, limits: Limits) -> None:
    if kind in _ANIMATION:
        raise RefusedFile("Animated PNG files are not accepted: send one picture.", code="animated-image")
    if not kind[0] & 0x20 and kind not in _CRITICAL:
        raise DamagedFile("The PNG holds an unknown critical part.", code="damaged-png")
    if len(body) > limits.raster_metadata_bytes or _inflates_too_far(kind, body, limits.raster_metadata_bytes):
        raise RefusedFile("The PNG holds too much hidden text or profile data.", code="metadata-too-large")


def _inflates_too_far(kind: bytes, body: bytes, limit_bytes: int) -> bool:
    start = _compressed_start(kind, body)
    if start is None:
        return False
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(body[start:], limit_bytes)
        return not inflater.eof and bool(inflater.unconsumed_tail)
    except zlib.error as error:
        raise DamagedFile("A text or profile in the PNG is damaged.", code="damaged-png") from error


def _compressed_start(kind: bytes, body: bytes) -> int | None:
    name_end = body.find(b"\0")
    if kind in (b"zTXt", b"iCCP"):
        return name_end + 2 if name_end > 0 else 0
    if kind == b"iTXt" and body[name_end + 1 : name_end + 2] == b"\1":
        language_end = body.find(b"\0", name_end + 3)
        return body.find(b"\0", language_end + 1) + 1
    return None


def _check_image_data(parts: list[bytes], expected_bytes: int) -> None:
    inflater = zlib.decompressobj()
    inflated = 0
    try:
        for part in parts:
            pending = part
            while pending and not inflater.eof and inflated <= expected_bytes:
                inflated += len(inflater.decompress(pending, _STEP))
                pending = inflater.unconsumed_tail
        while not inflater.eof and inflated <= expected_bytes and (more := inflater.decompress(b"", _STEP)):
            inflated += len(more)
    except zlib.error as error:
        raise DamagedFile("The PNG's image data is damaged.", code="damaged-png") from error
    if not inflater.eof and inflated <= expected_bytes:
        raise DamagedFile("The PNG's image data ends too early.", code="truncated")
    if inflated != expected_bytes:
        raise DamagedFile("The PNG's image data does not fill the declared size.", code="damaged-png")
