"""Read a labelled archive (zip with manifest.csv) as grey pictures and rows of a manifest."""

import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import Unprocessable
from csss.imaging.limits import Limits
from csss.imaging.readers import READERS
from csss.imaging.sniff import HEAD_BYTES, sniff
from csss.inference.prepare import display_grey

MANIFEST = "manifest.csv"
SPLITS = ("train", "val", "test")
_OLDEST_YEARS = 120


LABEL_SEPARATOR = "|"
OPTIONAL_COLUMNS = {"patient": "patient_id", "view": "view", "age_years": "age", "sex": "sex"}
"""Field of a Sample -> its column in a manifest; the other fields are columns of the same name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture: where it lies, what it shows, whence it came, which split holds it.

    ``file`` is its id: the path in the folder or zip. Pictures of one ``split_group`` must stay together, and so
    must those of one ``patient``, whose name is unique over all sources. ``label`` joins several findings
    with "|" (the form of NIH ChestX-ray14). ``sha256`` is of the file, "" while not known.
    """

    file: str
    label: str
    source: str
    split: str | None
    split_group: str
    licence: str
    sha256: str
    patient: str | None = None
    view: str | None = None
    age_years: float | None = None
    sex: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Every finding of the picture; a single-label set has one each."""
        return tuple(self.label.split(LABEL_SEPARATOR))


class SplitLeak(Unprocessable):
    """A patient or group of the archive appears in more than one split."""

    code = "split-leak"


def read_manifest(path: Path) -> tuple[Sample, ...]:
    """The rows of the archive's manifest.csv, in its order. Raises SplitLeak, KeyError, BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read(MANIFEST).decode("utf-8")
    rows = tuple(_sample(row) for row in csv.DictReader(io.StringIO(text)))
    prove_groups_whole(rows)
    return rows


def prove_groups_whole(samples: tuple[Sample, ...]) -> None:
    """Raise SplitLeak when a group has pictures in more than one split."""
    split_of: dict[str, str | None] = {}
    for row in samples:
        if split_of.setdefault(row.split_group, row.split) != row.split:
            raise SplitLeak(f"The group {row.split_group} is in {row.split} and {split_of[row.split_group]}.")


def parse_age(text: str | None) -> float | None:
    """Years from "58", "058Y" or "58.5"; None where nothing is said or no person is that old."""
    digits = (text or "").strip().upper().removesuffix("Y")
    if not digits.replace(".", "", 1).isdigit() or float(digits) > _OLDEST_YEARS:
        return None
    return float(digits)


def _sample(row: dict[str, str]) -> Sample:
    required = {name: row[name] for name in Sample.__dataclass_fields__ if name not in OPTIONAL_COLUMNS}
    patient, view, sex = (row.get(OPTIONAL_COLUMNS[name]) or None for name in ("patient", "view", "sex"))
    return Sample(**required, patient=patient, view=view, age_years=parse_age(row.get("age")), sex=sex)


def fingerprint(samples: tuple[Sample, ...]) -> str:
    """sha256 over (file hash, label, split) of all samples in sorted order: names the data exactly."""
    lines = sorted(f"{sample.sha256} {sample.label} {sample.split}\n" for sample in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class HoldsFiles(Protocol):
    """A zip, or a folder seen like one (`training.datasets.files.Files`)."""

    def read(self, name: str, /) -> bytes:
        """The bytes of one file."""


def read_grey(archive: HoldsFiles, sample: Sample) -> NDArray[np.uint8]:
    """The picture uint8 (rows, columns) exactly as serving would decode and show it."""
    return decode_grey(archive.read(sample.file), sample.file)


def decode_grey(data: bytes, name: str) -> NDArray[np.uint8]:
    """The picture uint8 (rows, columns) of a file's bytes, decoded as serving does. Raises CsssError."""
    return display_grey(READERS[sniff(data[:HEAD_BYTES], name)](data, Limits()))
