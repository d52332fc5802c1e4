"""Read a labelled archive (zip with manifest.csv) as grey pictures and rows of a manifest."""

import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csss.imaging.limits import Limits
from csss.imaging.readers import READERS
from csss.imaging.sniff import HEAD_BYTES, sniff
from csss.inference.prepare import display_grey

MANIFEST = "manifest.csv"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of the archive: where it lies, what it shows, whence it came, which split holds it."""

    file: str
    label: str
    source: str
    split: str
    split_group: str
    licence: str
    sha256: str


class SplitLeak(Exception):
    """A patient or group of the archive appears in more than one split."""


def read_manifest(path: Path) -> tuple[Sample, ...]:
    """The rows of the archive's manifest.csv, in its order. Raises SplitLeak, KeyError, BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read(MANIFEST).decode("utf-8")
    names = tuple(Sample.__dataclass_fields__)
    rows = [Sample(**{name: row[name] for name in names}) for row in csv.DictReader(io.StringIO(text))]
    split_of: dict[str, str] = {}
    for row in rows:
        if split_of.setdefault(row.split_group, row.split) != row.split:
            raise SplitLeak(f"The group {row.split_group} is in {row.split} and {split_of[row.split_group]}.")
    return tuple(rows)


def fingerprint(samples: tuple[Sample, ...]) -> str:
    """sha256 over (file hash, label, split) of all samples in sorted order: names the data exactly."""
    lines = sorted(f"{sample.sha256} {sample.label} {sample.split}\n" for sample in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_grey(archive: zipfile.ZipFile, sample: Sample) -> NDArray[np.uint8]:
    """The picture uint8 (rows, columns) exactly as serving would decode and show it."""
    data = archive.read(sample.file)
    kind = sniff(data[:HEAD_BYTES], sample.file)
    return display_grey(READERS[kind](data, Limits()))
