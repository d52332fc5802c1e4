"""Read a single-frame DICOM file: our walk first, then its header, its pixels and their meaning."""

import io
import math
import re
import warnings
from collections.abc import MutableSequence
from datetime import date

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits, check_not_blank
from csss.imaging.readers import dicom_walk
from csss.imaging.readers.dicom_pixels import decode_pixels, read_pixel_module
from csss.imaging.readers.dicom_values import present
from csss.imaging.refusals import DamagedFile
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Acquisition, SourceIdentity, Volume

MAX_TEXT = 256
# Control characters, and the invisible ones that turn the direction of the text around them.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2}):?(\d{2})?(?:\.\d{1,6})?")


def read_dicom(data: bytes, limits: Limits) -> Volume:
    """Return the picture of a single-frame DICOM Part 10 file: shape (1, rows, columns[, 3]).

    Values are in modality units (rescale or modality LUT applied), MONOCHROME1 is inverted, palettes and
    YBR become RGB of 8 or 16 bits. Raises UnsupportedFile, FileTooLarge, DamagedFile, RefusedFile or BlankImage;
    whatever pydicom or a codec raises becomes DamagedFile.
    """
    limits.check_size(FileKind.DICOM, len(data))
    try:
        with warnings.catch_warnings():
            # pydicom warns about slips that real scanners make, such as a vendor's odd value representation.
            warnings.simplefilter("ignore")
            return _read(data, limits)
    except (CsssError, MemoryError):
        raise
    except Exception as error:
        raise DamagedFile("The DICOM file is damaged and cannot be decoded.", code="damaged-dicom") from error


def _read(data: bytes, limits: Limits) -> Volume:
    layout = dicom_walk.walk_dicom(data, limits)
    dataset = _read_header(layout)
    acquisition = _acquisition(dataset, layout.transfer_syntax)
    module = read_pixel_module(dataset, layout, limits)
    stored = decode_pixels(module, layout)
    # Checked on the stored values: a look-up table must not hide that the detector saw nothing.
    check_not_blank(float(stored.min()), float(stored.max()))
    picture = present(stored, module, dataset)
    return Volume(
        pixels=picture.pixels[np.newaxis],
        kind=FileKind.DICOM,
        modality=_text(dataset, "Modality"),
        body_part=_text(dataset, "BodyPartExamined"),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        view_position=_text(dataset, "ViewPosition"),
        spacing_mm=_spacing(dataset),
        window=picture.window,
        identity=_identity(dataset),
        acquisition=acquisition,
        burned_in={"YES": True, "NO": False}.get(_text(dataset, "BurnedInAnnotation") or ""),
    )


def _read_header(layout: dicom_walk.Layout) -> Dataset:
    header = io.BytesIO(layout.data[layout.dataset_start : layout.header_end])
    syntax = layout.transfer_syntax
    return read_dataset(
        header,
        is_implicit_VR=syntax == dicom_walk.IMPLICIT,
        is_little_endian=syntax != dicom_walk.BIG_ENDIAN,
    )


def _identity(dataset: Dataset) -> SourceIdentity:
    return SourceIdentity(
        patient_id=_text(dataset, "PatientID"),
        patient_name=_text(dataset, "PatientName"),
        birth_date=_date(dataset, "PatientBirthDate"),
        sex=_text(dataset, "PatientSex"),
    )


def _acquisition(dataset: Dataset, transfer_syntax: str) -> Acquisition:
    return Acquisition(
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        study_uid=_uid(dataset, "StudyInstanceUID"),
        series_uid=_uid(dataset, "SeriesInstanceUID"),
        instance_uid=_uid(dataset, "SOPInstanceUID"),
        study_date=_date(dataset, "StudyDate"),
        study_time=_time(dataset, "StudyTime"),
        manufacturer=_text(dataset, "Manufacturer"),
        device_model=_text(dataset, "ManufacturerModelName"),
        station=_text(dataset, "StationName"),
        institution=_text(dataset, "InstitutionName"),
        accession_number=_text(dataset, "AccessionNumber"),
        transfer_syntax=transfer_syntax,
        contrast=_text(dataset, "ContrastBolusAgent"),
    )


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = _value(dataset, keyword)
    if value is None:
        return None
    parts = value if isinstance(value, MutableSequence) else [value]
    text = _UNSAFE.sub(" ", "\\".join(str(part) for part in parts)).strip()
    return text[:MAX_TEXT] or None


def _value(dataset: Dataset, keyword: str) -> object:
    try:
        return dataset.get(keyword)
    except (ValueError, TypeError, LookupError, OverflowError):
        # One unreadable field that only describes must not cost the patient the picture.
        return None


def _uid(dataset: Dataset, keyword: str) -> str | None:
    value = dataset.get(keyword)
    text = "" if value is None else str(value).rstrip("\0 ")
    return dicom_walk.check_uid(text) if text else None


def _date(dataset: Dataset, keyword: str) -> str | None:
    match = _DATE.fullmatch(_text(dataset, keyword) or "")
    if match is None:
        return None
    try:
        return date(*(int(part) for part in match.groups())).isoformat()
    except ValueError:
        return None


def _time(dataset: Dataset, keyword: str) -> str | None:
    match = _TIME.fullmatch(_text(dataset, keyword) or "")
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups())
    return f"{hour:02}:{minute:02}:{second:02}" if hour < 24 and minute < 60 and second < 61 else None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    value = _value(dataset, "PixelSpacing") or _value(dataset, "ImagerPixelSpacing")
    if not isinstance(value, MutableSequence):
        return None
    pair = tuple(float(part) for part in value)
    if len(pair) != 2 or not all(math.isfinite(side) and side > 0 for side in pair):
        return None
    return (pair[0], pair[1])
