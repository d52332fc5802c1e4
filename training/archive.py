"""Read a labelled archive (zip with manifest.csv) as grey pictures and rows of a manifest."""

import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass, replace
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
UNSTATED_SOURCE = "unstated"
NOT_STATED = "not stated"
COLUMN_OF = {"patient": "patient_id", "age_years": "age"}
"""Field of a Sample -> its column in a manifest; the others are columns of the same name."""


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


class UnfitArchive(Unprocessable):
    """The file is no zip with a manifest that says of every picture where it lies, what it shows and in which split."""

    code = "unfit-archive"


class SplitLeak(Unprocessable):
    """A patient or group of the archive appears in more than one split."""

    code = "split-leak"


def read_manifest(path: Path) -> tuple[Sample, ...]:
    """The rows of the archive's manifest.csv, in its order; a hash that it does not state is taken of the file.

    Raises UnfitArchive, SplitLeak.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            rows = list(csv.DictReader(io.StringIO(archive.read(MANIFEST).decode("utf-8-sig"))))
            _demand_columns(path, rows)
            there = set(archive.namelist())
            missing = [row["file"] for row in rows if row["file"] not in there]
            if missing:
                raise UnfitArchive(f"{MANIFEST} in {path} names files that are not there: {', '.join(missing[:5])}.")
            samples = tuple(_hashed(sample_of(row), archive) for row in rows)
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, csv.Error, RuntimeError) as error:
        # zipfile raises RuntimeError for an encrypted file, NotImplementedError for a compression it does not know.
        raise UnfitArchive(f"{path} cannot be read as a zip with {MANIFEST}. {_ADVICE}") from error
    except KeyError as error:
        raise UnfitArchive(f"{path} is a zip without {MANIFEST}. {_ADVICE}") from error
    prove_whole(samples)
    return samples


_ADVICE = "`python -m training split DATA --out DIR --five-labels --pack` makes such a zip of any known layout."


def _demand_columns(path: Path, rows: list[dict[str, str]]) -> None:
    missing = [name for name in ("file", "label", "split") if not rows or name not in rows[0]]
    if missing:
        raise UnfitArchive(f"{MANIFEST} in {path} has no {' and no '.join(missing)}, or no row. {_ADVICE}")
    for line, row in enumerate(rows, start=2):
        if not row["file"] or not row["label"] or row["split"] not in SPLITS:
            raise UnfitArchive(
                f"Line {line} of {MANIFEST} in {path} does not name a file, a label and one of {', '.join(SPLITS)}."
            )


def _hashed(sample: Sample, archive: zipfile.ZipFile) -> Sample:
    if sample.sha256:
        return sample
    return replace(sample, sha256=hashlib.sha256(archive.read(sample.file)).hexdigest())


def prove_whole(samples: tuple[Sample, ...]) -> None:
    """Raise SplitLeak when a group or a patient has pictures in more than one split."""
    split_of: dict[tuple[str, str], str | None] = {}
    for row in samples:
        for what, name in (("group", row.split_group), ("patient", row.patient)):
            if name is not None and split_of.setdefault((what, name), row.split) != row.split:
                raise SplitLeak(f"The {what} {name} is in {row.split} and {split_of[what, name]}.")


def parse_age(text: str | None) -> float | None:
    """Years from "58", "058Y" or "58.5"; None where nothing is said or no person is that old."""
    digits = (text or "").strip().upper().removesuffix("Y")
    if not digits.replace(".", "", 1).isdecimal() or float(digits) > _OLDEST_YEARS:
        return None
    return float(digits)


def sample_of(row: dict[str, str], *, top: str = "", label_column: str = "label") -> Sample:
    """The picture of a row of a manifest, whose files lie below ``top``; what a row leaves empty is not stated.

    A picture without a group is one of its patient's, without a patient it is a group of its own ("f:...").
    """
    file, patient = top + row["file"], row.get("patient_id") or row.get("patient") or None
    source = row.get("source") or UNSTATED_SOURCE
    return Sample(
        file=file,
        label=row[label_column],
        source=source,
        split=row.get("split") or None,
        split_group=row.get("split_group") or (f"p:{source}:{patient}" if patient else f"f:{file}"),
        licence=row.get("licence") or NOT_STATED,
        sha256=row.get("sha256") or "",
        patient=patient,
        view=row.get("view") or None,
        age_years=parse_age(row.get("age")),
        sex=row.get("sex") or None,
    )


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
