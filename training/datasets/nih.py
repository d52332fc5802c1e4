"""Read the NIH ChestX-ray14 layout: findings from its table, the official split from its two lists."""

import csv
import io
import re
from pathlib import PurePosixPath

from training.archive import LABEL_SEPARATOR, Sample, parse_age
from training.datasets.found import Found, new_sample
from training.datasets.problems import UnreadableDataset, quote_some

SOURCE = "nih14"
NO_FINDING = "No Finding"
NIH_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
TRAIN_VAL = "train_val"
"""The official split has one part for training and validation together."""
TABLE = re.compile(r"(?:.*/)?Data_Entry_2017[^/]*\.csv")
_LISTS = {"train_val_list.txt": TRAIN_VAL, "test_list.txt": "test"}
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")


def read_nih(found: Found) -> list[Sample]:
    """One sample per picture that is both in the table and there; several findings joined by "|".

    Raises UnreadableDataset for a table without its columns, an unknown finding, or a picture that is there twice.
    """
    rows = _read_table(found)
    split_of = _read_lists(found)
    places: dict[str, str] = {}
    for inner, name in found.pictures:
        if places.setdefault(PurePosixPath(inner).name, name) != name:
            raise UnreadableDataset(f"The picture {PurePosixPath(inner).name} is there twice.")
    samples = [_sample(row, places[index], split_of.get(index)) for index, row in rows.items() if index in places]
    if not samples:
        raise UnreadableDataset(
            f"None of the {len(rows)} pictures that the table names is among the {len(places)} found; "
            'expected "images_001/images/00000001_000.png" and so on.'
        )
    _note_gaps(found, set(rows), set(places), set(split_of))
    return samples


def _note_gaps(found: Found, told: set[str], there: set[str], listed: set[str]) -> None:
    if missing := told - there:
        found.notes.append(f"{len(missing)} pictures of the table are not there.")
    if untold := there - told:
        found.notes.append(f"{len(untold)} pictures are in no row of the table and were left out.")
    if listed and (unlisted := (told & there) - listed):
        found.notes.append(f"{len(unlisted)} pictures are in neither list of the official split.")
    if not listed:
        found.notes.append("The lists of the official split (train_val_list.txt, test_list.txt) are not there.")


def _read_table(found: Found) -> dict[str, dict[str, str]]:
    tables = [name for inner, name in found.others if TABLE.fullmatch(inner)]
    if len(tables) != 1:
        raise UnreadableDataset(f"Expected one Data_Entry_2017*.csv, found {len(tables)}: {quote_some(tables)}")
    reader = csv.DictReader(io.StringIO(found.files.read(tables[0]).decode("utf-8-sig")))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UnreadableDataset(f"{tables[0]} has no column {quote_some(missing)}.")
    rows = {row["Image Index"]: row for row in reader}
    known = {NO_FINDING, *NIH_FINDINGS}
    findings = {finding for row in rows.values() for finding in row["Finding Labels"].split(LABEL_SEPARATOR)}
    if strange := sorted(findings - known):
        raise UnreadableDataset(f"{tables[0]} has findings that ChestX-ray14 does not know: {quote_some(strange)}.")
    return rows


def _read_lists(found: Found) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for inner, name in found.others:
        split = _LISTS.get(PurePosixPath(inner).name)
        if split is not None:
            split_of |= dict.fromkeys(found.files.read(name).decode().split(), split)
    return split_of


def _sample(row: dict[str, str], name: str, split: str | None) -> Sample:
    return new_sample(
        name,
        row["Finding Labels"],
        SOURCE,
        split=split,
        patient=row["Patient ID"],
        view=row["View Position"] or None,
        age_years=parse_age(row.get("Patient Age")),
        # The table of 2017 says gender, the one of 2020 says sex.
        sex=row.get("Patient Gender") or row.get("Patient Sex") or None,
    )
