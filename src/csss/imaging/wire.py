"""The one byte form of a Volume: a length-prefixed JSON header and raw pixels, never pickled.

The sandbox sends it through a socket and the archive keeps it on disk. Layout: the magic, the header's
length (4 bytes, big-endian), the header (JSON, UTF-8), the pixels (C order, little-endian).
"""

import json
import math
import struct
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from csss.imaging.sniff import FileKind
from csss.imaging.volume import DTYPES, Acquisition, SourceIdentity, Volume

MAGIC = b"CSSSVOL1"
MAX_HEADER_BYTES = 64 * 1024
MAX_TEXT = 1024
PREFIX = struct.Struct(">8sI")
JOB = struct.Struct(">8sdQQ")
"""A job, sent beside its own socket: kind, wall limit (s), memory limit and size of the file (bytes)."""
HEAD = struct.Struct(">cI")
"""Head of an answer: P the child's process number, V a volume's JSON, E an error's JSON, X an exit status."""


class WireError(ValueError):
    """The bytes are not a Volume in this form."""


@dataclass(frozen=True, slots=True)
class Header:
    """A Volume without its pixels: what has to be known, and checked, before they are read."""

    shape: tuple[int, ...]
    dtype: str
    deflated: bool
    facts: dict[str, Any]

    @property
    def pixel_bytes(self) -> int:
        """Size of the pixels once inflated."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def encode_header(volume: Volume, *, deflated: bool = False) -> bytes:
    """Return magic, length and JSON header of a Volume; the pixels are to follow."""
    facts: dict[str, Any] = {
        "kind": volume.kind.value,
        "modality": volume.modality,
        "body_part": volume.body_part,
        "laterality": volume.laterality,
        "view_position": volume.view_position,
        "spacing_mm": volume.spacing_mm,
        "window": volume.window,
        "burned_in": volume.burned_in,
        "identity": asdict(volume.identity) if volume.identity else None,
        "acquisition": asdict(volume.acquisition),
    }
    shape = [int(side) for side in volume.pixels.shape]
    document = {"shape": shape, "dtype": volume.pixels.dtype.name, "deflated": deflated, "facts": facts}
    header = json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()
    return PREFIX.pack(MAGIC, len(header)) + header


def header_length(prefix: bytes) -> int:
    """Return the JSON header's length in bytes from the first ``PREFIX.size`` bytes; raises WireError."""
    if len(prefix) != PREFIX.size:
        raise WireError("the prefix is cut")
    magic, length = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise WireError("the magic is wrong")
    if not 0 < length <= MAX_HEADER_BYTES:
        raise WireError("the header's length is out of range")
    return int(length)


def decode_header(document: bytes, *, max_pixel_bytes: int) -> Header:
    """Check a JSON header that nobody vouches for; raises WireError for whatever a Volume cannot be."""
    parsed = _parse(document)
    shape, dtype, deflated, facts = (parsed.get(key) for key in ("shape", "dtype", "deflated", "facts"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WireError("the pixel type is unknown")
    if not isinstance(shape, list) or len(shape) not in (3, 4):
        raise WireError("the shape is not one of a picture")
    if not all(type(side) is int and 0 < side <= max_pixel_bytes for side in shape):
        raise WireError("the shape holds an impossible side")
    if not isinstance(deflated, bool) or not isinstance(facts, dict):
        raise WireError("the header is incomplete")
    header = Header(tuple(shape), dtype, deflated, facts)
    if header.pixel_bytes > max_pixel_bytes:
        raise WireError("the picture is larger than allowed")
    return header


def build_volume(header: Header, pixels: bytes | bytearray) -> Volume:
    """Return the Volume of a checked header and its inflated pixels; raises WireError."""
    if len(pixels) != header.pixel_bytes:
        raise WireError("the pixels do not fill the shape")
    array = np.frombuffer(pixels, dtype=DTYPES[header.dtype]).reshape(header.shape)
    facts = header.facts
    try:
        return Volume(
            pixels=array,
            kind=FileKind(str(facts.get("kind"))),
            modality=_text(facts.get("modality")),
            body_part=_text(facts.get("body_part")),
            laterality=_text(facts.get("laterality")),
            view_position=_text(facts.get("view_position")),
            spacing_mm=_pair(facts.get("spacing_mm")),
            window=_pair(facts.get("window")),
            identity=_identity(facts.get("identity")),
            acquisition=Acquisition(**_texts(facts.get("acquisition"), Acquisition)),
            burned_in=_flag(facts.get("burned_in")),
        )
    except WireError:
        raise
    except ValueError as error:
        raise WireError(str(error)) from error


def _parse(document: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise WireError("the header is not JSON") from error
    if not isinstance(parsed, dict):
        raise WireError("the header is not an object")
    return parsed


def _identity(value: object) -> SourceIdentity | None:
    return None if value is None else SourceIdentity(**_texts(value, SourceIdentity))


def _texts(value: object, owner: type[Acquisition] | type[SourceIdentity]) -> dict[str, str | None]:
    if not isinstance(value, dict) or set(value) != {member.name for member in fields(owner)}:
        raise WireError(f"the header's {owner.__name__} has other members than it should")
    return {name: _text(text) for name, text in value.items()}


def _text(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > MAX_TEXT):
        raise WireError("the header holds a text that is none")
    return value


def _flag(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise WireError("the header holds a flag that is none")
    return value


def _pair(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise WireError("the header holds a pair that is none")
    first, second = value
    if type(first) not in (int, float) or type(second) not in (int, float):
        raise WireError("the header holds a pair that is none")
    return (float(first), float(second))
