"""Pictures with any number of findings: NIH's lists, other splits, and data that cannot be learned from."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from training.archive import SplitLeak
from training.findings_data import UnfitFindings, read_findings

from nih_folder import LABELS, make_nih


def write_manifest(folder: Path, *rows: str) -> Path:
    """Empty pictures with these labels and splits: "label,split,patient"."""
    folder.mkdir(exist_ok=True)
    for number in range(len(rows)):
        (folder / f"{number}.png").write_bytes(bytes([number]))
    lines = [f"{number}.png,{row}" for number, row in enumerate(rows)]
    (folder / "manifest.csv").write_text("\n".join(["file,label,split,patient_id", *lines]) + "\n")
    return folder


def test_nih_keeps_its_test_list_and_divides_the_rest_by_patient(tmp_path: Path) -> None:
    data = read_findings(make_nih(tmp_path / "nih", patients=24), seed=42)
    listed = set((tmp_path / "nih" / "test_list.txt").read_text().split())
    assert {sample.file.split("/")[-1] for sample in data.of("test")} == listed
    patients = [{sample.patient for sample in data.of(split)} for split in ("train", "val", "test")]
    assert [len(each) for each in patients] == [15, 3, 6]
    assert len(set.union(*patients)) == 24
    assert (data.layout, data.labels, len(data.samples)) == ("nih14", LABELS, 48)


def test_truth_is_one_for_each_finding_and_no_finding_is_no_label(tmp_path: Path) -> None:
    data = read_findings(make_nih(tmp_path / "nih", patients=8), seed=42)
    held = {sample.label: row.tolist() for sample, row in zip(data.samples, data.truth, strict=True)}
    assert held == {"No Finding": [0, 0], "Effusion": [1, 0], "Mass": [0, 1], "Effusion|Mass": [1, 1]}
    assert data.truth.dtype == np.int64


def test_the_same_seed_gives_the_same_fingerprint_and_another_division_another(tmp_path: Path) -> None:
    folder = make_nih(tmp_path / "nih", patients=16)
    first, again, other = (read_findings(folder, seed=seed).fingerprint_sha256 for seed in (1, 1, 2))
    assert (first == again, first == other) == (True, False)


def test_pictures_on_neither_list_are_left_out(tmp_path: Path) -> None:
    folder = make_nih(tmp_path / "nih", patients=8)
    kept = (folder / "train_val_list.txt").read_text().split()
    (folder / "train_val_list.txt").write_text("\n".join(kept[1:]) + "\n")
    data = read_findings(folder, seed=42)
    assert len(data.samples) == 15
    assert kept[0] not in {sample.file.split("/")[-1] for sample in data.samples}


def test_a_manifest_keeps_its_own_splits(tmp_path: Path) -> None:
    rows = ("A|B,train,p", "No Finding,val,q", "B,test,r")
    data = read_findings(write_manifest(tmp_path / "m", *rows), seed=42)
    assert [sample.split for sample in data.samples] == ["train", "val", "test"]
    assert data.truth.tolist() == [[1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("A|B,,p", "B,,q"), "No picture is in train, val, test.*split DATA --out DIR --pack"),
        (("A|B,train,p", "B,test,q"), "No picture is in val"),
        (("A|B,train,p", "No Finding|A,val,q", "B,test,r"), '"No Finding\\|A" of 1.png contradict'),
        (("A|B,train,p", "A|A,val,q", "B,test,r"), '"A\\|A" of 1.png'),
        (("A,train,p", "No Finding,val,q", "A,test,r"), "fewer than two findings; .*training chest"),
        (("A|B,train,p", "C,val,q", "B,test,r"), "No training picture has C"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused(tmp_path: Path, rows: tuple[str, ...], message: str) -> None:
    with pytest.raises(UnfitFindings, match=message):
        read_findings(write_manifest(tmp_path / "m", *rows), seed=42)


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SplitLeak):
        read_findings(write_manifest(tmp_path / "m", "A|B,train,p", "B,val,p", "A,test,r"), seed=42)
