"""Walk every element of a DICOM file under our own limits, before any other parser sees it.

After PS3.5 section 7 and annex A, PS3.10 section 7.1. Other parsers recurse into nested sequences, inflate
without bound and trust declared lengths; this walk does none of these.
"""

import re
import struct
import zlib
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_VR

from csss.imaging.limits import Limits
from csss.imaging.refusals import DamagedFile, FileTooLarge, RefusedFile, UnsupportedFile

UNDEFINED = 0xFFFFFFFF
IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRANSFER_SYNTAX = 0x00020010
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
)  # fmt: skip
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a DICOM file that passed the walk.

    ``data`` is the whole file with its data set inflated; its elements before the pixels are at
    ``dataset_start:header_end``; ``pixels`` are the (start, end) byte ranges of
    the pixel data: one for native pixels, and for encapsulated pixels one per fragment, without the offset table.
    """

    data: bytes
    transfer_syntax: str
    dataset_start: int
    pixel_tag: int | None
    header_end: int
    pixel_vr: str
    encapsulated: bool
    pixels: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    vr: bytes
    length: int
    start: int


@dataclass(frozen=True, slots=True)
class _Level:
    """An open sequence or item: where it ends (None: at its delimiter) and how its elements are coded."""

    is_sequence: bool
    end: int | None
    implicit: bool
    outer_end: int


@dataclass(slots=True)
class _State:
    position: int
    implicit: bool
    stack: list[_Level] = field(default_factory=list)
    elements: int = 0
    last_tag: int = -1
    pixel: _Element | None = None
    header_end: int = 0
    fragments: list[tuple[int, int]] = field(default_factory=list)


def check_uid(value: str) -> str:
    """Return the UID when it has only the characters and the length that PS3.5 section 9.1 allows."""
    if not _UID.fullmatch(value):
        raise DamagedFile("The DICOM file holds an identifier that is not a valid UID.", code="bad-uid")
    return value


def walk_dicom(data: bytes, limits: Limits) -> Layout:
    """Return the layout of a whole DICOM Part 10 file; the preamble is never looked at.

    Raises DamagedFile (``truncated``, ``damaged-dicom``, ``bad-uid``), RefusedFile (``nested-too-deep``,
    ``too-many-elements``), UnsupportedFile, or FileTooLarge (``inflates-too-far``).
    """
    if data[128:132] != b"DICM":
        raise UnsupportedFile("The file is not DICOM.")
    start, syntax = _walk_meta(data)
    if syntax == DEFLATED:
        data = data[:start] + _inflate(data[start:], limits.dicom_bytes - start)
    walker = _Walker(data, limits, big_endian=syntax == BIG_ENDIAN)
    state = walker.walk(start, implicit=syntax == IMPLICIT)
    pixel = state.pixel
    encapsulated = pixel is not None and pixel.length == UNDEFINED
    ranges = tuple(state.fragments[1:])
    if pixel is not None and not encapsulated:
        ranges = ((pixel.start, pixel.start + pixel.length),)
    return Layout(
        data=data,
        transfer_syntax=syntax,
        dataset_start=start,
        pixel_tag=pixel.tag if pixel else None,
        header_end=state.header_end if pixel else len(data),
        pixel_vr=pixel.vr.decode() if pixel else "",
        encapsulated=encapsulated,
        pixels=ranges,
    )


def _walk_meta(data: bytes) -> tuple[int, str]:
    position, syntax = 132, None
    while data[position : position + 2] == b"\x02\x00":
        element = _read_explicit(data, position, big_endian=False)
        end = element.start + element.length
        if element.length == UNDEFINED or end > len(data):
            raise _truncated()
        if element.tag == _TRANSFER_SYNTAX:
            syntax = data[element.start : end].decode("ascii", "replace").rstrip("\0 ")
        position = end
    if not syntax:
        raise DamagedFile("The DICOM file does not say how it is coded.", code="transfer-syntax-missing")
    return position, check_uid(syntax)


def _inflate(body: bytes, limit_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise DamagedFile("The compressed DICOM file is damaged.", code="damaged-dicom") from error
    if len(inflated) > limit_bytes:
        raise FileTooLarge("The DICOM file becomes too large when unpacked.", code="inflates-too-far")
    if not inflater.eof:
        raise _truncated()
    return inflated


class _Walker:
    """One pass over the elements with an explicit stack: depth costs a list entry, not a call."""

    def __init__(self, data: bytes, limits: Limits, *, big_endian: bool) -> None:
        self._data = data
        self._limits = limits
        self._big_endian = big_endian

    def walk(self, start: int, *, implicit: bool) -> _State:
        state = _State(position=start, implicit=implicit)
        while True:
            self._close_finished(state)
            end = self._end(state)
            if state.position == end and not state.stack:
                return state
            state.elements += 1
            if state.elements > self._limits.dicom_elements:
                raise RefusedFile("The DICOM file has too many elements.", code="too-many-elements")
            if state.stack and state.stack[-1].is_sequence:
                self._enter_item(state, end)
            else:
                self._take_element(state, end)

    def _end(self, state: _State) -> int:
        if not state.stack:
            return len(self._data)
        level = state.stack[-1]
        return level.outer_end if level.end is None else level.end

    def _close_finished(self, state: _State) -> None:
        while state.stack and state.stack[-1].end == state.position:
            self._pop(state)

    def _pop(self, state: _State) -> None:
        state.implicit = state.stack.pop().implicit

    def _push(self, state: _State, *, is_sequence: bool, length: int, end: int, implicit: bool) -> None:
        if len(state.stack) >= 2 * self._limits.dicom_depth:
            raise RefusedFile("The DICOM file nests its sequences too deeply.", code="nested-too-deep")
        own_end = None if length == UNDEFINED else state.position + length
        state.stack.append(_Level(is_sequence, own_end, state.implicit, end))
        state.implicit = implicit

    def _enter_item(self, state: _State, end: int) -> None:
        tag, length = self._item_head(state.position, end)
        state.position += 8
        if tag == _SEQUENCE_END and state.stack[-1].end is None and length == 0:
            self._pop(state)
        elif tag == _ITEM:
            if length != UNDEFINED and state.position + length > end:
                raise _truncated()
            self._push(state, is_sequence=False, length=length, end=end, implicit=state.implicit)
        else:
            raise _damaged()

    def _item_head(self, position: int, end: int) -> tuple[int, int]:
        if position + 8 > end:
            raise _truncated()
        order = ">" if self._big_endian else "<"
        group, element, length = struct.unpack_from(f"{order}HHI", self._data, position)
        return group << 16 | element, length

    def _take_element(self, state: _State, end: int) -> None:
        if state.position + 8 > end:
            raise _truncated()
        if state.stack and self._item_head(state.position, end)[0] == _ITEM_END:
            if state.stack[-1].end is not None:
                raise _damaged()
            state.position += 8
            self._pop(state)
            return
        element = self._read(state)
        if not state.stack:
            self._check_order(state, element)
        state.position = element.start
        if element.length == UNDEFINED:
            self._enter_undefined(state, element, end)
        elif element.start + element.length > end:
            raise _truncated()
        elif _is_sequence(element):
            implicit = state.implicit or element.vr == b"UN"
            self._push(state, is_sequence=True, length=element.length, end=end, implicit=implicit)
        else:
            state.position += element.length

    def _read(self, state: _State) -> _Element:
        if not state.implicit:
            return _read_explicit(self._data, state.position, big_endian=self._big_endian)
        tag, length = self._item_head(state.position, len(self._data))
        return _Element(tag, b"", length, state.position + 8)

    def _check_order(self, state: _State, element: _Element) -> None:
        # Elements of a data set ascend (PS3.5 section 7.1); a second PixelData would be read by some parsers only.
        if element.tag <= state.last_tag or element.tag >> 16 in (0x0000, 0x0002, 0xFFFE):
            raise _damaged()
        state.last_tag = element.tag
        if element.tag in PIXEL_TAGS:
            if state.pixel is not None:
                raise _damaged()
            state.pixel, state.header_end = element, state.position

    def _enter_undefined(self, state: _State, element: _Element, end: int) -> None:
        if element.vr in (b"OB", b"OW") or (element.tag in PIXEL_TAGS and not element.vr):
            fragments = self._skip_fragments(state, end)
            if not state.stack:
                state.fragments = fragments
            return
        if element.vr not in (b"SQ", b"UN", b""):
            raise _damaged()
        implicit = state.implicit or element.vr == b"UN"
        self._push(state, is_sequence=True, length=UNDEFINED, end=end, implicit=implicit)

    def _skip_fragments(self, state: _State, end: int) -> list[tuple[int, int]]:
        fragments: list[tuple[int, int]] = []
        while True:
            tag, length = self._item_head(state.position, end)
            state.position += 8
            if tag == _SEQUENCE_END:
                return fragments
            if tag != _ITEM or length == UNDEFINED:
                raise _damaged()
            if state.position + length > end:
                raise _truncated()
            fragments.append((state.position, state.position + length))
            if len(fragments) > self._limits.dicom_elements:
                raise RefusedFile("The DICOM file has too many elements.", code="too-many-elements")
            state.position += length


def _read_explicit(data: bytes, position: int, *, big_endian: bool) -> _Element:
    order = ">" if big_endian else "<"
    if position + 8 > len(data):
        raise _truncated()
    group, number, vr, short = struct.unpack_from(f"{order}HH2sH", data, position)
    tag = group << 16 | number
    if vr in _SHORT_VRS:
        return _Element(tag, vr, short, position + 8)
    if vr not in _LONG_VRS:
        raise _damaged()
    if position + 12 > len(data):
        raise _truncated()
    return _Element(tag, vr, struct.unpack_from(f"{order}I", data, position + 8)[0], position + 12)


def _is_sequence(element: _Element) -> bool:
    if element.vr == b"SQ":
        return True
    if element.vr not in (b"", b"UN") or element.length == 0:
        return False
    try:
        return dictionary_VR(element.tag) == "SQ"
    except KeyError:
        return False


def _truncated() -> DamagedFile:
    return DamagedFile("The DICOM file ends too early.", code="truncated")


def _damaged() -> DamagedFile:
    return DamagedFile("The DICOM file is damaged.", code="damaged-dicom")
