"""Give stored DICOM values their meaning: palette, modality units, window and polarity."""

import math
from collections.abc import MutableSequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from csss.imaging.readers.dicom_pixels import PixelModule
from csss.imaging.refusals import DamagedFile, RefusedFile, UnsupportedFile
from csss.imaging.volume import Pixels

_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels in one of the types of a Volume, and the window (centre, width) that the file asks for."""

    pixels: Pixels
    window: tuple[float, float] | None


def present(stored: Pixels, module: PixelModule, dataset: Dataset) -> Picture:
    """Return the picture in which larger is brighter, in modality units (PS3.3 C.7.6.3, C.11.1, C.11.2).

    Raises RefusedFile (``palette-index-out-of-range``), DamagedFile or UnsupportedFile.
    """
    if module.photometric == "PALETTE COLOR":
        return Picture(_apply_palette(stored, dataset), None)
    if module.samples == 3:
        return Picture(_to_colour(stored, module), None)
    values, lowest, highest = _to_modality_units(stored, module, dataset)
    window = _window(dataset)
    if module.photometric == "MONOCHROME1":
        # Mirrored inside the range that the file's bits can hold, so that two pictures of one series
        # stay comparable; the window moves with the values.
        mirror = lowest + highest
        values = mirror - values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
        window = (mirror - window[0], window[1]) if window else None
    return Picture(_fit(values, module, lowest), window)


def _apply_palette(stored: Pixels, dataset: Dataset) -> Pixels:
    for colour in _COLOURS:
        descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
        table = dataset.get(f"{colour}PaletteColorLookupTableData")
        if descriptor is None or len(descriptor) != 3 or not isinstance(table, bytes):
            raise UnsupportedFile("This kind of DICOM palette is not supported.", code="palette-unsupported")
        entries, first, bits = (int(part) for part in descriptor)
        entries = entries or 65_536
        if bits not in (8, 16) or len(table) < entries * bits // 8:
            raise DamagedFile("The DICOM palette is shorter than it declares.", code="damaged-palette")
        if int(stored.max()) >= first + entries or int(stored.min()) < first:
            raise RefusedFile("A pixel points outside the DICOM palette.", code="palette-index-out-of-range")
    coloured = np.asarray(apply_color_lut(stored, dataset))[..., :3]
    return coloured if coloured.dtype == np.uint8 else (coloured >> 8).astype(np.uint8)


def _to_colour(stored: Pixels, module: PixelModule) -> Pixels:
    if module.signed:
        raise UnsupportedFile("Colour pixels with a sign are not supported.", code="bits-unsupported")
    if module.bits_allocated > 16:
        stored = stored >> max(0, module.bits_stored - 16)
    return stored.astype("<u2" if module.bits_allocated > 8 else np.uint8)


def _to_modality_units(
    stored: Pixels, module: PixelModule, dataset: Dataset
) -> tuple[Pixels, float | int, float | int]:
    if "ModalityLUTSequence" in dataset:
        table = dataset.ModalityLUTSequence[0].LUTDescriptor
        values = np.asarray(apply_modality_lut(stored, dataset))
        bits = int(table[2])
        return values, 0, (1 << bits) - 1
    lowest, highest = _range(stored, module)
    slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        raise DamagedFile("The DICOM file rescales every pixel to one value.", code="damaged-dicom")
    if slope == 1 and intercept == 0:
        return stored, lowest, highest
    if stored.dtype.kind != "f" and slope.is_integer() and intercept.is_integer() and abs(slope * highest) < 2**31:
        scaled: Pixels = stored.astype(np.int64) * int(slope) + int(intercept)
        ends = sorted((int(slope) * int(lowest) + int(intercept), int(slope) * int(highest) + int(intercept)))
        return scaled, ends[0], ends[1]
    scaled = stored.astype(np.float64) * slope + intercept
    low, high = sorted((slope * lowest + intercept, slope * highest + intercept))
    return scaled, low, high


def _range(stored: Pixels, module: PixelModule) -> tuple[float | int, float | int]:
    if stored.dtype.kind == "f":
        return float(stored.min()), float(stored.max())
    if module.signed:
        return -(1 << (module.bits_stored - 1)), (1 << (module.bits_stored - 1)) - 1
    return 0, (1 << module.bits_stored) - 1


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    value = dataset.get(keyword)
    if value is None or value == "":
        return default
    number = float(value)
    if not math.isfinite(number):
        raise DamagedFile(f"The DICOM file has an impossible {keyword}.", code="damaged-dicom")
    return number


def _window(dataset: Dataset) -> tuple[float, float] | None:
    centre, width = (_first_number(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width < 1:
        return None
    return (centre, width)


def _first_number(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    if isinstance(value, MutableSequence):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _fit(values: Pixels, module: PixelModule, lowest: float) -> Pixels:
    """Return the values in the smallest type of a Volume that the file's depth, not its content, asks for."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or np.abs(values).max() > np.finfo(np.float32).max:
            raise DamagedFile("The picture holds values that are no numbers.", code="not-finite")
        return values.astype("<f4")
    candidates = ["<u2", "<i2"] if lowest >= 0 else ["<i2", "<u2"]
    if module.bits_allocated <= 8:
        candidates.insert(0, "|u1")
    low, high = int(values.min()), int(values.max())
    for name in candidates:
        bounds = np.iinfo(name)
        if bounds.min <= low and high <= bounds.max:
            return values.astype(name)
    return values.astype("<f4")
