"""The one in-memory picture that every reader makes and everything else consumes."""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csss.imaging.sniff import FileKind

Pixels = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype("|u1"),
    "uint16": np.dtype("<u2"),
    "int16": np.dtype("<i2"),
    "float32": np.dtype("<f4"),
}


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """Who the file says the patient is; control characters are removed, nothing else is changed.

    ``birth_date`` is an ISO 8601 date or None when the file holds no valid date.
    """

    patient_id: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How and where the picture was made, as the file says; dates and times are ISO 8601."""

    sop_class_uid: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    study_date: str | None = None
    study_time: str | None = None
    manufacturer: str | None = None
    device_model: str | None = None
    station: str | None = None
    institution: str | None = None
    accession_number: str | None = None
    transfer_syntax: str | None = None
    contrast: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A picture of one or more frames.

    ``pixels`` is read-only and C-ordered, of shape (frames, rows, columns) or (frames, rows, columns, 3)
    for RGB, and of type uint8, uint16, int16 or float32 in little-endian order. Larger is brighter:
    MONOCHROME1 is already inverted. Modality units (PS3.3 C.11.1) are already applied. ``window`` is
    (centre, width) in pixel values; ``spacing_mm`` is (between rows, between columns). What the file does
    not say is None. Raises ValueError for anything else: a reader that breaks this has a defect.
    """

    pixels: Pixels
    kind: FileKind
    modality: str | None = None
    body_part: str | None = None
    laterality: str | None = None
    view_position: str | None = None
    spacing_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    identity: SourceIdentity | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)
    burned_in: bool | None = None

    def __post_init__(self) -> None:
        _check_pixels(self.pixels)
        _check_pair("spacing_mm", self.spacing_mm, positive=(True, True))
        _check_pair("window", self.window, positive=(False, True))
        frozen = np.ascontiguousarray(self.pixels).view()
        frozen.flags.writeable = False
        object.__setattr__(self, "pixels", frozen)

    @property
    def is_colour(self) -> bool:
        """True when the last axis is RGB."""
        return self.pixels.ndim == 4

    @property
    def rows(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def columns(self) -> int:
        return int(self.pixels.shape[2])


def pixel_sha256(volume: Volume) -> str:
    """Return the SHA-256 (hex) of shape, type and pixel bytes: equal for equal pictures, whatever the file."""
    pixels = volume.pixels
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype.name}".encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def _check_pixels(pixels: Pixels) -> None:
    colour = pixels.ndim == 4 and pixels.shape[3] == 3
    if not (pixels.ndim == 3 or colour):
        raise ValueError(f"pixels have the shape {pixels.shape}")
    if pixels.size == 0:
        raise ValueError("pixels are empty")
    # Not DTYPES.get(...): numpy takes None for float64.
    if pixels.dtype.name not in DTYPES or DTYPES[pixels.dtype.name] != pixels.dtype:
        raise ValueError(f"pixels have the type {pixels.dtype.str}")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError("pixels hold values that are not finite")


def _check_pair(name: str, pair: tuple[float, float] | None, *, positive: tuple[bool, bool]) -> None:
    if pair is None:
        return
    for value, must_be_positive in zip(pair, positive, strict=True):
        if not math.isfinite(value) or (must_be_positive and value <= 0):
            raise ValueError(f"{name} is {pair}")
