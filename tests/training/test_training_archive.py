"""The manifest of an archive: its rows, its fingerprint, and the refusal of a patient in two splits."""

import csv
import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training.archive import Sample, SplitLeak, UnfitArchive, fingerprint, read_grey, read_manifest

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


def test_manifest_with_a_patient_in_two_splits_is_refused_whatever_the_groups(tmp_path: Path) -> None:
    leaking = (replace(ROWS[0], patient="p"), ROWS[1], replace(ROWS[2], patient="p"))
    with pytest.raises(SplitLeak, match="The patient p is in test and train"):
        read_manifest(make_archive(tmp_path / "a.zip", leaking))


def test_fingerprint_names_the_data_and_not_its_order() -> None:
    assert fingerprint(ROWS) == fingerprint(ROWS[::-1])
    for change in ({"label": "b"}, {"split": "val"}, {"sha256": "4" * 64}):
        assert fingerprint((replace(ROWS[0], **change), *ROWS[1:])) != fingerprint(ROWS)


def test_read_grey_gives_the_pixels_of_the_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(make_archive(tmp_path / "a.zip", ROWS)) as archive:
        np.testing.assert_array_equal(read_grey(archive, ROWS[2]), np.arange(2, 66, dtype=np.uint8).reshape(8, 8))


def write_plain(path: Path, lines: list[str], *, name: str = "manifest.csv") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "\n".join(lines) + "\n")
        for number in range(3):
            archive.writestr(f"{number}.png", bytes([number]))
    return path


def test_a_manifest_needs_no_more_than_file_label_and_split(tmp_path: Path) -> None:
    lines = ["file,label,split,patient_id,licence", "0.png,a,train,p,", "1.png,a,val,,MIT", "2.png,b,test,,"]
    first, second, third = read_manifest(write_plain(tmp_path / "a.zip", lines))
    assert (first.split_group, first.source, first.licence) == ("p:unstated:p", "unstated", "not stated")
    assert (second.split_group, second.licence, second.patient) == ("f:1.png", "MIT", None)
    # A hash that is not stated is taken: the fingerprint names the data, not only their labels.
    assert [row.sha256 for row in (first, second, third)] == [
        hashlib.sha256(bytes([number])).hexdigest() for number in range(3)
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["file,label", "0.png,a"], "has no split, or no row"),
        (["file,label,split"], "has no file and no label and no split, or no row"),
        (["file,label,split", "0.png,a,train", "1.png,,val"], "Line 3 of manifest.csv"),
        (["file,label,split", "0.png,a,trial"], "one of train, val, test"),
        (["file,label,split", "9.png,a,train"], "names files that are not there: 9.png"),
    ],
)
def test_a_manifest_that_says_too_little_is_refused_with_the_reason(
    tmp_path: Path, lines: list[str], reason: str
) -> None:
    with pytest.raises(UnfitArchive, match=reason):
        read_manifest(write_plain(tmp_path / "a.zip", lines))


def test_what_is_no_such_zip_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "b.zip"
    text.write_text("no zip")
    other = write_plain(tmp_path / "a.zip", ["file,label,split"], name="rows.csv")
    for path in (tmp_path, tmp_path / "none.zip", text, other):
        with pytest.raises(UnfitArchive, match="split DATA --out DIR"):
            read_manifest(path)
