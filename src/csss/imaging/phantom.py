"""Draw synthetic frontal chest radiographs, marked PHANTOM in their pixels, for demos and tests."""

import hashlib
import io
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

Plane = NDArray[np.float32]

_DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
_SHADE = 2.2
_CHEST_MM = 400.0


class Finding(StrEnum):
    """What is drawn into the lungs."""

    NONE = "none"
    OPACITY = "opacity"
    DIFFUSE = "diffuse"


@dataclass(frozen=True, slots=True)
class _Grid:
    """Coordinates of every pixel: x from -1 (patient's right, left of the picture) to 1, y from -1 down to 1."""

    x: Plane
    y: Plane


def phantom_chest(
    seed: int, *, size: tuple[int, int] = (1024, 1024), finding: Finding | str = Finding.NONE
) -> NDArray[np.uint8]:
    """Return a drawn chest radiograph: uint8 of shape ``size`` (rows, columns), larger is brighter.

    The same seed draws the same picture. It looks like a chest but holds no anatomy of any person; no
    measurement on it means anything. The word PHANTOM stands in its pixels in four places.
    """
    random = np.random.default_rng([seed, 7])
    grid = _grid(size)
    attenuation = _thorax(grid, random)
    lungs = _lungs(grid, random)
    attenuation += _inside(grid, lungs, random, Finding(finding))
    attenuation += _skeleton(grid, random)
    transmitted = np.exp(-attenuation / _SHADE)
    film = 1.0 - transmitted
    film = film + random.normal(0.0, 0.012, size).astype(np.float32) * np.sqrt(transmitted + 0.05)
    low, high = np.percentile(film, (0.5, 99.7))
    grey = np.clip((film - low) / (high - low), 0.0, 1.0) ** 1.15
    return _mark(np.rint(242 * grey + 4).astype(np.uint8))


def phantom_png(seed: int, *, size: tuple[int, int] = (1024, 1024), finding: Finding | str = Finding.NONE) -> bytes:
    """Return ``phantom_chest`` as a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(phantom_chest(seed, size=size, finding=finding)).save(encoded, "PNG")
    return encoded.getvalue()


def phantom_dicom(
    seed: int,
    *,
    patient_id: str,
    patient_name: str,
    birth_date: str | None = None,
    sex: str | None = None,
    study_date: str = "2026-01-15",
    accession_number: str | None = None,
    size: tuple[int, int] = (1024, 1024),
    finding: Finding | str = Finding.NONE,
) -> bytes:
    """Return ``phantom_chest`` as a DICOM file: Digital X-Ray Image, 12 bits in 16, Explicit VR Little Endian.

    Dates are ISO 8601. The UIDs derive from the seed (root 2.25, PS3.5 B.2) and so stay the same; the
    pixels carry burned-in text, and the header says so.
    """
    picture = phantom_chest(seed, size=size, finding=finding)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName = patient_id, patient_name
    dataset.PatientBirthDate = (birth_date or "").replace("-", "")
    dataset.PatientSex = sex or ""
    _fill_study(dataset, seed, study_date, accession_number)
    _fill_image(dataset, picture)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    encoded = io.BytesIO()
    dataset.save_as(encoded, enforce_file_format=True)
    return encoded.getvalue()


def _grid(size: tuple[int, int]) -> _Grid:
    rows, columns = size
    y, x = np.meshgrid(
        np.linspace(-1, 1, rows, dtype=np.float32), np.linspace(-1, 1, columns, dtype=np.float32), indexing="ij"
    )
    return _Grid(x, y)


def _soft(distance: Any, width: float) -> Plane:
    """Return 1 deep inside a shape (negative distance), 0 outside, with an edge of about ``width``."""
    exponent = np.clip(np.asarray(distance, dtype=np.float32) / np.float32(width), -30, 30)
    return np.asarray(1.0 / (1.0 + np.exp(exponent)), dtype=np.float32)


def _ellipse(grid: _Grid, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> Plane:
    x, y = grid.x - centre[0], grid.y - centre[1]
    across = x * np.cos(turn) + y * np.sin(turn)
    down = y * np.cos(turn) - x * np.sin(turn)
    return np.asarray(np.hypot(across / radii[0], down / radii[1]) - 1.0, dtype=np.float32)


def _clouds(shape: tuple[int, ...], random: np.random.Generator, cells: int) -> Plane:
    """Return smooth noise of about unit spread with so many blobs along a side."""
    coarse = random.normal(0.0, 1.0, (cells, cells)).astype(np.float32)
    resized = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32)


def _thorax(grid: _Grid, random: np.random.Generator) -> Plane:
    shoulders = 0.26 * np.exp(-(((grid.y + 0.62) / 0.22) ** 2))
    trunk_half = 0.86 + shoulders + 0.03 * grid.y + random.uniform(-0.02, 0.02)
    neck = _soft(np.abs(grid.x) - 0.26 - 0.55 * _soft(-(grid.y + 0.72), 0.05), 0.015)
    trunk = _soft(np.abs(grid.x) - trunk_half, 0.012) * _soft(-(grid.y + 0.86 - 0.24 * np.abs(grid.x) ** 1.5), 0.03)
    body = np.maximum(trunk, neck * _soft(grid.y + 0.6, 0.1))
    thickness = np.sqrt(np.clip(1.0 - (grid.x / 1.02) ** 2, 0.05, 1.0))
    belly = 0.9 * _soft(-(grid.y - 0.72), 0.10)
    return np.asarray(body * (2.1 * thickness + belly + 0.03 * _clouds(grid.x.shape, random, 9)), dtype=np.float32)


def _lungs(grid: _Grid, random: np.random.Generator) -> tuple[Plane, Plane]:
    fields = []
    for side in (-1.0, 1.0):
        width = 0.285 + random.uniform(-0.015, 0.015)
        centre = side * (0.415 + random.uniform(-0.01, 0.01))
        apex_shift = side * -0.11 * np.clip(-(grid.y + 0.05), 0.0, 1.0)
        shape = np.abs((grid.x - centre - apex_shift) / width) ** 2.3 + np.abs((grid.y + 0.07) / 0.72) ** 2.6 - 1.0
        dome = 0.47 + (0.03 if side < 0 else 0.08) + random.uniform(-0.02, 0.02)
        diaphragm = grid.y - dome - 2.6 * np.abs(grid.x - side * 0.34) ** 2.2
        fields.append(_soft(shape, 0.07) * _soft(diaphragm, 0.012))
    return fields[0], fields[1]


def _inside(grid: _Grid, lungs: tuple[Plane, Plane], random: np.random.Generator, finding: Finding) -> Plane:
    both = np.maximum(*lungs)
    heart = np.maximum(
        _soft(_ellipse(grid, (0.17, 0.27), (0.34, 0.25), 0.62), 0.045),
        _soft(_ellipse(grid, (-0.08, 0.22), (0.17, 0.27)), 0.06),
    )
    vessels = _soft(np.abs(grid.x - 0.03) - 0.13, 0.02) * _soft(grid.y - 0.3, 0.1) * _soft(-(grid.y + 0.62), 0.05)
    knob = _soft(_ellipse(grid, (0.11, -0.34), (0.105, 0.10)), 0.16)
    middle = np.maximum.reduce([heart, 0.55 * vessels, 0.55 * knob])
    marks = _markings(grid, random)
    air = -1.75 * both * (1.0 - 0.92 * np.clip(middle, 0.0, 1.0))
    return np.asarray(
        air + 0.55 * middle + both * marks * (1.0 - middle) + _disease(grid, lungs, random, finding), dtype=np.float32
    )


def _markings(grid: _Grid, random: np.random.Generator) -> Plane:
    marks = np.zeros_like(grid.x)
    for side in (-1.0, 1.0):
        x, y = grid.x - side * 0.17, grid.y + 0.02
        radius, angle = np.hypot(x, y * 0.85), np.arctan2(y, side * x)
        marks += 0.36 * np.exp(-((radius / 0.15) ** 2))
        opening = 1.0 - np.exp(-((radius / 0.10) ** 2))
        for _ in range(26):
            course = random.uniform(-1.35, 1.35) + random.uniform(-0.5, 0.5) * radius
            course = course + 0.07 * np.sin(9 * radius + random.uniform(0, 6.3))
            width = 0.013 * np.clip(1.0 - radius / 0.85, 0.1, 1.0)
            near = np.abs(angle - course) * np.maximum(radius, 0.03)
            marks += (
                random.uniform(0.10, 0.26)
                * np.exp(-((near / width) ** 2))
                * np.exp(-radius / 0.30)
                * opening
                * (side * x > 0)
            )
    texture = 0.035 * _clouds(grid.x.shape, random, 60) + 0.03 * _clouds(grid.x.shape, random, 140)
    return np.asarray(marks + texture, dtype=np.float32)


def _disease(grid: _Grid, lungs: tuple[Plane, Plane], random: np.random.Generator, finding: Finding) -> Plane:
    if finding is Finding.NONE:
        return np.zeros_like(grid.x)
    if finding is Finding.OPACITY:
        side = int(random.integers(2))
        centre = ((-0.42, 0.44)[side] + random.uniform(-0.06, 0.06), random.uniform(-0.15, 0.28))
        radii = (random.uniform(0.13, 0.19), random.uniform(0.11, 0.17))
        spot = _soft(_ellipse(grid, centre, radii) + 0.22 * _clouds(grid.x.shape, random, 14), 0.16)
        return np.asarray(lungs[side] * spot * (0.95 + 0.14 * _clouds(grid.x.shape, random, 40)), dtype=np.float32)
    haze = np.clip(0.55 + 0.4 * _clouds(grid.x.shape, random, 10) + 0.5 * np.abs(grid.x) - 0.2, 0.0, 1.4)
    grain = 1.0 + 0.25 * _clouds(grid.x.shape, random, 70)
    return np.asarray(np.maximum(*lungs) * haze * grain * 0.75, dtype=np.float32)


def _skeleton(grid: _Grid, random: np.random.Generator) -> Plane:
    bones = 0.55 * _soft(np.abs(grid.x) - 0.075, 0.012) * _soft(-(grid.y + 1.2), 0.05)
    discs = np.clip(np.cos((grid.y + 0.4) * np.pi / 0.115), 0.0, 1.0) ** 4
    bones = bones * (1.0 - 0.35 * discs)
    for side in (-1.0, 1.0):
        bones = bones + _ribs(grid, side, random) + _clavicle(grid, side) + _scapula(grid, side)
    return np.asarray(bones, dtype=np.float32)


def _ribs(grid: _Grid, side: float, random: np.random.Generator) -> Plane:
    cage = np.zeros_like(grid.x)
    lateral = np.clip(side * grid.x, 0.0, 1.0)
    for number in range(10):
        top = -0.83 + 0.128 * number + random.uniform(-0.006, 0.006)
        reach = 0.48 + 0.24 * np.sin(np.pi * min(1.0, (number + 2) / 10))
        inner = _soft(lateral - reach, 0.02) * _soft(-(lateral - 0.06), 0.015)
        behind = top + 0.27 * np.clip(lateral / reach, 0, 1.1) ** 2
        edge = np.abs(grid.y - behind) - 0.024
        cage += 0.20 * _soft(edge, 0.006) * inner * (0.75 + 0.5 * _soft(-np.abs(edge + 0.012), 0.006))
        front = behind + 0.02 + 0.50 * np.clip(1.0 - lateral / reach, 0, 0.75) ** 1.25
        if 1 <= number <= 6:
            cage += 0.10 * _soft(np.abs(grid.y - front) - 0.026, 0.008) * inner * _soft(-(lateral - 0.22), 0.03)
        rim = np.hypot((lateral - reach) / 0.02, (grid.y - behind) / 0.05) - 1.0
        cage += 0.10 * _soft(rim, 0.3)
    return np.asarray(cage, dtype=np.float32)


def _clavicle(grid: _Grid, side: float) -> Plane:
    lateral = side * grid.x
    course = -0.62 - 0.10 * lateral - 0.035 * np.sin(lateral * 7.0)
    shaft = (
        _soft(np.abs(grid.y - course) - 0.026, 0.007) * _soft(-(lateral - 0.09), 0.012) * _soft(lateral - 0.74, 0.02)
    )
    return np.asarray(0.36 * shaft, dtype=np.float32)


def _scapula(grid: _Grid, side: float) -> Plane:
    blade = _ellipse(grid, (side * 0.80, -0.36), (0.10, 0.30), side * 0.28)
    head = _ellipse(grid, (side * 0.90, -0.60), (0.11, 0.12))
    return np.asarray(0.16 * _soft(blade, 0.08) + 0.30 * _soft(head, 0.08), dtype=np.float32)


def _mark(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(picture)
    rows, columns = picture.shape
    draw = ImageDraw.Draw(image)
    large, small = (ImageFont.load_default(size=max(10.0, rows / part)) for part in (22, 34))
    texts = (
        ((0.5, 0.035), "PHANTOM - NOT A PATIENT", large),
        ((0.5, 0.965), "PHANTOM", large),
        ((0.09, 0.72), "PHANTOM", small),
        ((0.91, 0.72), "PHANTOM", small),
        ((0.93, 0.10), "L", large),
    )
    for (x, y), text, font in texts:
        draw.text((x * columns, y * rows), text, fill=255, font=font, anchor="mm", stroke_width=2, stroke_fill=0)
    return np.asarray(image)


def _uid(seed: int, part: str) -> str:
    digest = hashlib.sha256(f"csss phantom {seed} {part}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def _fill_study(dataset: Dataset, seed: int, study_date: str, accession_number: str | None) -> None:
    dataset.SOPClassUID = _DX_FOR_PRESENTATION
    dataset.SOPInstanceUID = _uid(seed, "instance")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid(seed, "study"), _uid(seed, "series")
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = study_date.replace("-", "")
    dataset.StudyTime = dataset.ContentTime = "090000"
    dataset.AccessionNumber = accession_number or ""
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.ReferringPhysicianName = ""
    dataset.Modality, dataset.Manufacturer, dataset.ManufacturerModelName = "DX", "CSSS", "Phantom generator"
    dataset.StationName, dataset.StudyDescription = "PHANTOM", "PHANTOM chest, not a patient"
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.ImageLaterality = "CHEST", "PA", "U"
    dataset.PatientOrientation = ["L", "F"]
    dataset.PresentationIntentType, dataset.ImageType = "FOR PRESENTATION", ["ORIGINAL", "PRIMARY"]


def _fill_image(dataset: Dataset, picture: NDArray[np.uint8]) -> None:
    rows, columns = picture.shape
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PresentationLUTShape, dataset.LossyImageCompression = "IDENTITY", "00"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    spacing_mm = f"{_CHEST_MM / max(rows, columns):.4f}"
    dataset.ImagerPixelSpacing = [spacing_mm, spacing_mm]
    dataset.BurnedInAnnotation = "YES"
    dataset.PixelData = (picture.astype("<u2") << 4).tobytes()
    dataset["PixelData"].VR = "OW"
