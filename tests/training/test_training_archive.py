"""The manifest of an archive: its rows, its fingerprint, and the refusal of a patient in two splits."""

import csv
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training.archive import Sample, SplitLeak, fingerprint, read_grey, read_manifest

ROWS = (
    Sample("images/1.png", "a", "s", "train", "p1", "MIT", "1" * 64),
    Sample("images/2.png", "b", "s", "train", "p1", "MIT", "2" * 64),
    Sample("images/3.png", "a", "t", "test", "p2", "MIT", "3" * 64),
)


def make_archive(path: Path, rows: tuple[Sample, ...]) -> Path:
    text = io.StringIO()
    names = tuple(Sample.__dataclass_fields__)
    writer = csv.writer(text)
    writer.writerow((*names, "more"))
    writer.writerows([(*(getattr(row, name) for name in names), "ignored") for row in rows])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.csv", text.getvalue())
        for index, row in enumerate(rows):
            buffer = io.BytesIO()
            Image.fromarray(np.arange(index, index + 64, dtype=np.uint8).reshape(8, 8)).save(buffer, "PNG")
            archive.writestr(row.file, buffer.getvalue())
    return path


def test_manifest_rows_are_read_in_order(tmp_path: Path) -> None:
    assert read_manifest(make_archive(tmp_path / "a.zip", ROWS)) == ROWS


def test_manifest_with_a_group_in_two_splits_is_refused(tmp_path: Path) -> None:
    leaking = (*ROWS[:2], replace(ROWS[2], split_group="p1"))
    with pytest.raises(SplitLeak, match="p1"):
        read_manifest(make_archive(tmp_path / "a.zip", leaking))


def test_fingerprint_names_the_data_and_not_its_order() -> None:
    assert fingerprint(ROWS) == fingerprint(ROWS[::-1])
    for change in ({"label": "b"}, {"split": "val"}, {"sha256": "4" * 64}):
        assert fingerprint((replace(ROWS[0], **change), *ROWS[1:])) != fingerprint(ROWS)


def test_read_grey_gives_the_pixels_of_the_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(make_archive(tmp_path / "a.zip", ROWS)) as archive:
        np.testing.assert_array_equal(read_grey(archive, ROWS[2]), np.arange(2, 66, dtype=np.uint8).reshape(8, 8))
