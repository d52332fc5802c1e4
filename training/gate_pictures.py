"""The pictures that the gate learns from: real ones of six kinds, and drawn ones of what is uploaded by mistake."""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits
from csss.imaging.phantom import Finding, phantom_chest
from csss.imaging.readers import READERS
from csss.imaging.sniff import HEAD_BYTES, FileKind, sniff
from csss.imaging.volume import Volume
from csss.inference.prepare import display_grey
from training.archive import read_grey, read_manifest
from training.drawn import DRAWINGS, enclose

Grey = NDArray[np.uint8]

LARGEST_PX = 256
"""Longer sides are reduced once: the gate sees 112 pixels, and every picture is kept in memory."""

_CHESTS = {"train": 3600, "val": 700, "test": 1338}
_PHANTOMS = {"train": 500, "val": 120, "test": 200}
_DRAWN_EACH = {"train": 60, "val": 15, "test": 25}
_BRAIN_RUN = 100
"""Neighbouring numbers of the brain collection are slices of one patient; runs of a hundred stay together."""


@dataclass(frozen=True, slots=True, eq=False)
class GatePicture:
    """One upright picture uint8 (rows, columns) of the kind ``label``; ``origin`` names its collection."""

    grey: Grey
    label: str
    split: str
    origin: str


def gather(folder: Path, seed: int) -> tuple[GatePicture, ...]:
    """All pictures of the archives in ``folder`` (chest_xray, gate, cardiac_mri, brain_mri, echo) and drawn ones.

    Splits are by patient, case or run; photographs and CT slices, whose manifest names no patient, by the
    hash of the file name.
    """
    chests = tuple(_chests(folder / "chest_xray.zip", seed))
    found = [*chests, *_gate(folder / "gate.zip"), *_cardiac(folder / "cardiac_mri.zip")]
    found += [*_brain(folder / "brain_mri.zip"), *_echo(folder / "echo.zip"), *_phantoms(seed)]
    found += _drawn(chests, seed)
    return tuple(found)


def share_of_name(name: str) -> float:
    """A number in [0, 1) that belongs to ``name`` for good."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2.0**48


def split_by_name(name: str) -> str:
    """The split (70/15/15) to which everything called ``name`` belongs."""
    share = share_of_name(name)
    return "train" if share < 0.70 else "val" if share < 0.85 else "test"


def _chests(path: Path, seed: int) -> Iterator[GatePicture]:
    samples = read_manifest(path)
    random = np.random.default_rng(seed)
    with zipfile.ZipFile(path) as archive:
        for split, wanted in _CHESTS.items():
            rows = [sample for sample in samples if sample.split == split]
            for index in sorted(random.permutation(len(rows))[:wanted]):
                sample = rows[int(index)]
                yield GatePicture(_reduce(read_grey(archive, sample)), "chest-xray", split, sample.source)


def _gate(path: Path) -> Iterator[GatePicture]:
    labels = {"photo": ("other", "photograph"), "chest_ct": ("chest-ct", "chest CT")}
    for name, volume in _decoded(path, r"\.jpg$"):
        label, origin = labels[name.split("/")[0]]
        yield GatePicture(_reduce(display_grey(volume)), label, split_by_name(name), origin)


def _brain(path: Path) -> Iterator[GatePicture]:
    for name, volume in _decoded(path, r"cheng_seg/images/.*\.jpg$"):
        run = int(Path(name).stem) // _BRAIN_RUN
        yield GatePicture(_reduce(display_grey(volume)), "brain-mr", split_by_name(f"brain {run}"), "brain MR")


def _cardiac(path: Path) -> Iterator[GatePicture]:
    for name, volume in _decoded(path, r"\.dcm$"):
        split = split_by_name(f"cardiac {name.split('/')[1]}")
        yield GatePicture(_reduce(display_grey(volume)), "cardiac-mr", split, "cardiac MR 256")
    with zipfile.ZipFile(path) as archive, np.load(io.BytesIO(archive.read("scd_cases_64.npz"))) as cases:
        for case, planes in _planes(cases):
            for plane in planes:
                yield GatePicture(_stretch(plane), "cardiac-mr", split_by_name(f"scd {case}"), "cardiac MR 64")


def _planes(cases: "np.lib.npyio.NpzFile") -> Iterator[tuple[str, Grey]]:
    """(case, planes (n, rows, columns)) of the 64 x 64 cases; masks are left out."""
    for name in cases.files:
        array = cases[name]
        if array.ndim >= 3 and array.shape[-2:] == (64, 64) and len(np.unique(array[:1])) > 8:
            yield from ((f"{name} {index}", case.reshape(-1, 64, 64)) for index, case in enumerate(array))


def _echo(path: Path) -> Iterator[GatePicture]:
    """Both cines are in every split (early, middle, late frames): there are only two."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".dcm")):
            frames = _cine(archive.read(name))
            for index, frame in enumerate(frames):
                place = index / len(frames)
                split = "train" if place < 0.6 else "val" if place < 0.8 else "test"
                yield GatePicture(_reduce(frame), "echo", split, "echo (the same cines)")


def _cine(data: bytes) -> list[Grey]:
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    frames = np.asarray(pixel_array(dcmread(io.BytesIO(data))))
    return [np.asarray(Image.fromarray(frame).convert("L")) for frame in frames.astype(np.uint8)]


def _phantoms(seed: int) -> Iterator[GatePicture]:
    findings = tuple(Finding)
    number = seed * 100_000
    for split, wanted in _PHANTOMS.items():
        for _ in range(wanted):
            number += 1
            size = (256, 256) if number % 3 else (288, 240)
            grey = phantom_chest(number, size=size, finding=findings[number % len(findings)])
            yield GatePicture(_reduce(grey), "chest-phantom", split, "drawn chest")


def _drawn(chests: tuple[GatePicture, ...], seed: int) -> Iterator[GatePicture]:
    for split, wanted in _DRAWN_EACH.items():
        random = np.random.default_rng((seed, wanted))
        inside = [picture for picture in chests if picture.split == split]
        for name, draw in DRAWINGS.items():
            for _ in range(wanted):
                yield GatePicture(draw(random), "other", split, name)
        for _ in range(4 * wanted):
            chosen = inside[int(random.integers(len(inside)))]
            yield GatePicture(enclose(chosen.grey, random), "other", split, "chest X-ray on a screen")


def _decoded(path: Path, pattern: str) -> Iterator[tuple[str, Volume]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if re.search(pattern, name)):
            data = archive.read(name)
            read: Callable[[bytes, Limits], Volume] = READERS[_kind(data, name)]
            try:
                volume = read(data, Limits())
            except CsssError:
                continue
            if volume.pixels.shape[0] == 1:
                yield name, volume


def _kind(data: bytes, name: str) -> FileKind:
    return sniff(data[:HEAD_BYTES], name)


def _stretch(plane: NDArray[np.generic]) -> Grey:
    values = plane.astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    return np.asarray(np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0) * 255.0, dtype=np.uint8)


def _reduce(grey: Grey) -> Grey:
    share = LARGEST_PX / max(grey.shape)
    if share >= 1.0:
        return grey
    size = (max(1, round(grey.shape[1] * share)), max(1, round(grey.shape[0] * share)))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))
