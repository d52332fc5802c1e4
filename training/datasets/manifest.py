"""Read our own form: a folder or zip with manifest.csv, one row per picture."""

import csv
import io
from collections import Counter

from training.archive import MANIFEST, SPLITS, Sample, sample_of
from training.datasets.found import Found
from training.datasets.nih import TRAIN_VAL
from training.datasets.problems import UnreadableDataset, quote_some


def read_manifest_form(found: Found, label_column: str) -> list[Sample]:
    """One sample per row. Columns ``file`` and ``label_column`` are needed; source, split, split_group, patient_id,
    view, age, sex, licence and sha256 are read where they are there. Raises UnreadableDataset.
    """
    rows = _rows(found, label_column)
    there = {inner for inner, _ in (*found.pictures, *found.masks)}
    missing = [row["file"] for row in rows if row["file"] not in there]
    if missing:
        raise UnreadableDataset(f"{MANIFEST} names {len(missing)} files that are not there: {quote_some(missing)}.")
    if untold := len(there) - len({row["file"] for row in rows}):
        found.notes.append(f"{untold} picture files are in no row of {MANIFEST} and were left out.")
    samples = [sample_of(row, top=found.top, label_column=label_column) for row in rows]
    strange = sorted({sample.split for sample in samples if sample.split} - {*SPLITS, TRAIN_VAL})
    if strange:
        raise UnreadableDataset(f"{MANIFEST} has splits that are none of {', '.join(SPLITS)}: {quote_some(strange)}.")
    alone = sum(sample.split_group.startswith("f:") for sample in samples)
    if alone:
        found.notes.append(
            f"{alone} pictures have neither patient nor group in {MANIFEST}: each is a group of its own, "
            "so a patient may cross splits."
        )
    return samples


def _rows(found: Found, label_column: str) -> list[dict[str, str]]:
    text = found.files.read(found.top + MANIFEST).decode("utf-8-sig")
    reader = csv.DictReader(io.StringIO(text))
    columns = list(reader.fieldnames or ())
    missing = [column for column in ("file", label_column) if column not in columns]
    if missing:
        raise UnreadableDataset(f"{MANIFEST} has no column {quote_some(missing)}; it has {quote_some(columns)}.")
    rows = [{key: value for key, value in row.items() if key and value} for row in reader]
    if twice := sorted(file for file, count in Counter(row.get("file", "") for row in rows).items() if count > 1):
        raise UnreadableDataset(f"{MANIFEST} names files twice: {quote_some(twice)}.")
    empty = [str(index + 2) for index, row in enumerate(rows) if not row.get("file") or not row.get(label_column)]
    if empty or not rows:
        raise UnreadableDataset(f"{MANIFEST} has rows without file or label (or no row): line {quote_some(empty)}.")
    return rows
