"""Walk the markers of a JPEG or JPEG-LS stream without decoding it.

After ITU-T T.81 annex B and ITU-T T.87 annex C.
"""

import re
import struct
from dataclasses import dataclass, field

from csss.imaging.refusals import DamagedFile, RefusedFile

_SOI, _EOI, _SOS, _DNL = 0xD8, 0xD9, 0xDA, 0xDC
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
# Inside a scan 0xFF is followed by 0x00 (stuffing) or a restart marker; anything else ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# JPEG-LS stuffs a bit, not a byte: after 0xFF any byte below 0x80 is data (T.87 annex A.1).
_END_OF_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_JPEG_LS = 0xF7


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The start-of-frame of a stream, how many scans follow, and where the last scan and the stream end."""

    process: int
    rows: int
    columns: int
    components: int
    bits: int
    scans: int
    scan_start: int
    scan_end: int
    end: int


@dataclass(slots=True)
class _Walk:
    frame: tuple[int, int, int, int, int] | None = None
    scans: int = 0
    scan_start: int = 0
    scan_end: int = 0
    covered: set[int] = field(default_factory=set)


def check_jpeg(data: bytes, *, max_scans: int) -> JpegHeader:
    """Return what the markers say; ``data[:end]`` is the stream without what was appended to it.

    Raises DamagedFile when the stream is cut (``truncated``: there is no EOI) or inconsistent, RefusedFile
    (``too-many-scans``) above ``max_scans``.
    """
    if data[:2] != b"\xff\xd8":
        raise DamagedFile("The JPEG stream has no beginning.", code="damaged-jpeg")
    walk, position = _Walk(), 2
    while True:
        marker, position = _next_marker(data, position)
        if marker == _EOI:
            return _finish(walk, position)
        if marker in _ALONE:
            continue
        segment_end = _segment_end(data, position)
        position = _take_segment(walk, marker, data[position + 2 : segment_end], segment_end, data, max_scans)


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    if position < len(data) and data[position] != 0xFF:
        raise DamagedFile("The JPEG stream is damaged between two segments.", code="damaged-jpeg")
    while data[position : position + 1] == b"\xff":
        position += 1
    if position >= len(data):
        raise DamagedFile("The JPEG stream ends too early.", code="truncated")
    marker = data[position]
    if marker in (0x00, _SOI):
        raise DamagedFile("The JPEG stream is damaged between two segments.", code="damaged-jpeg")
    return marker, position + 1


def _segment_end(data: bytes, position: int) -> int:
    if position + 2 > len(data):
        raise DamagedFile("The JPEG stream ends too early.", code="truncated")
    length = int.from_bytes(data[position : position + 2], "big")
    if length < 2:
        raise DamagedFile("A segment of the JPEG stream has an impossible length.", code="damaged-jpeg")
    if position + length > len(data):
        raise DamagedFile("The JPEG stream ends too early.", code="truncated")
    return position + length


def _take_segment(walk: _Walk, marker: int, body: bytes, end: int, data: bytes, max_scans: int) -> int:
    if marker in _START_OF_FRAME:
        if walk.frame is not None or len(body) < 6:
            raise DamagedFile("The JPEG stream does not have exactly one frame.", code="damaged-jpeg")
        walk.frame = (marker, *struct.unpack(">BHHB", body[:6]))
    elif marker == _DNL:
        raise RefusedFile("The JPEG stream tells its height only at its end.", code="jpeg-late-height")
    elif marker == _SOS:
        return _take_scan(walk, body, end, data, max_scans)
    return end


def _take_scan(walk: _Walk, body: bytes, end: int, data: bytes, max_scans: int) -> int:
    if walk.frame is None or len(body) < 6:
        raise DamagedFile("The JPEG stream has a scan before its frame.", code="damaged-jpeg")
    walk.scans += 1
    if walk.scans > max_scans:
        raise RefusedFile("The JPEG stream has too many scans.", code="too-many-scans")
    walk.covered.update(body[1 : 1 + 2 * body[0] : 2])
    finish = (_END_OF_LS_SCAN if walk.frame[0] == _JPEG_LS else _END_OF_SCAN).search(data, end)
    if finish is None:
        raise DamagedFile("The JPEG stream ends too early.", code="truncated")
    if finish.start() == end:
        raise DamagedFile("A scan of the JPEG stream is empty.", code="damaged-jpeg")
    walk.scan_start, walk.scan_end = end, finish.start()
    return walk.scan_end


def _finish(walk: _Walk, end: int) -> JpegHeader:
    if walk.frame is None or walk.scans == 0:
        raise DamagedFile("The JPEG stream holds no picture.", code="damaged-jpeg")
    process, bits, rows, columns, components = walk.frame
    if len(walk.covered) < components:
        raise DamagedFile("The JPEG stream lacks a colour that it declares.", code="truncated")
    return JpegHeader(process, rows, columns, components, bits, walk.scans, walk.scan_start, walk.scan_end, end)
