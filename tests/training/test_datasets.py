"""Each layout of data is recognised, from a folder and a zip alike, and what does not fit is named and refused."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training.datasets import Layout, UnknownClass, UnreadableDataset, read_dataset, to_five_labels

from csss.imaging.refusals import DamagedFile

NIH_HEAD = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
NIH_TABLE = (
    NIH_HEAD
    + "1_0.png,No Finding,0,1,58,M,PA\n2_0.png,Pneumonia|Effusion,0,2,041Y,F,AP\n"
    + "2_1.png,Hernia,1,2,414,F,AP\n9_9.png,Mass,0,9,50,M,PA\n"
)
KERMANY = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "test/NORMAL/NORMAL2-IM-0115-0002-0001.jpeg",
    "train/PNEUMONIA/person7_bacteria_24.jpeg",
    "val/PNEUMONIA/person7_virus_3.jpeg",
    "test/PNEUMONIA/VIRUS-4321-0002.jpeg",
)
RADIOGRAPHY = (
    "COVID/images/COVID-1.png",
    "COVID/masks/COVID-1.png",
    "Lung_Opacity/images/Lung_Opacity-1.png",
    "Normal/images/Normal-1.png",
    "Normal/masks/Normal-1.png",
    "Viral Pneumonia/images/Viral Pneumonia-1.png",
    "COVID.metadata.xlsx",
)
CARDIAC = ("Normal/Directory_1/SR_2/IMG1.jpg", "Normal/Directory_1/IMG2.jpg", "Sick/Directory_1/x/IMG1.jpg")


def make_data(root: Path, form: str, files: dict[str, bytes]) -> Path:
    """The files as a folder, as a zip, or as a zip in which one folder holds them all."""
    if form == "folder":
        for name, data in files.items():
            (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "data" / name).write_bytes(data)
        return root / "data"
    with zipfile.ZipFile(root / "data.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(("top/inner/" if form == "nested" else "") + name, data)
    return root / "data.zip"


def empty(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"")


def nih_files(table: str = NIH_TABLE) -> dict[str, bytes]:
    pictures = empty("images_001/images/1_0.png", "images_001/images/2_0.png", "images_002/images/2_1.png")
    lists = {"train_val_list.txt": b"1_0.png\n", "test_list.txt": b"2_0.png\n2_1.png\n"}
    return pictures | lists | {"Data_Entry_2017_v2020.csv": table.encode()}


LAYOUTS = {
    Layout.MANIFEST: ({"manifest.csv": b"file,label\na.png,x\nb.png,y\n"} | empty("a.png", "b.png")),
    Layout.CLASS_FOLDERS: empty("x/1.png", "y/2.JPG", "y/.hidden.png", "__MACOSX/y/2.JPG"),
    Layout.COVID19_RADIOGRAPHY: empty(*RADIOGRAPHY),
    Layout.KERMANY: empty(*KERMANY),
    Layout.NIH14: nih_files(),
    Layout.CAD_CARDIAC: empty(*CARDIAC),
}
COUNTS = {
    Layout.MANIFEST: {"x": 1, "y": 1},
    Layout.CLASS_FOLDERS: {"x": 1, "y": 1},
    Layout.COVID19_RADIOGRAPHY: {"COVID": 1, "Lung_Opacity": 1, "Normal": 1, "Viral Pneumonia": 1},
    Layout.KERMANY: {"NORMAL": 2, "PNEUMONIA_BACTERIAL": 1, "PNEUMONIA_VIRAL": 2},
    Layout.NIH14: {"No Finding": 1, "Pneumonia": 1, "Effusion": 1, "Hernia": 1},
    Layout.CAD_CARDIAC: {"Normal": 2, "Sick": 1},
}


@pytest.mark.parametrize("form", ["folder", "zip", "nested"])
@pytest.mark.parametrize("layout", list(Layout))
def test_layout_is_recognised_and_counted(tmp_path: Path, layout: Layout, form: str) -> None:
    dataset = read_dataset(make_data(tmp_path, form, LAYOUTS[layout]))
    assert (dataset.layout, dataset.counts()) == (layout, Counter(COUNTS[layout]))
    with dataset.pictures() as pictures:
        assert {pictures.read_bytes(sample) for sample in dataset.samples} == {b""}


def test_kermany_patient_and_label_come_from_the_name(tmp_path: Path) -> None:
    dataset = read_dataset(make_data(tmp_path, "zip", LAYOUTS[Layout.KERMANY]))
    found = {(sample.file.split("/")[-1], sample.patient, sample.label, sample.split) for sample in dataset.samples}
    assert found == {
        ("IM-0115-0001.jpeg", "IM-0115", "NORMAL", "train"),
        ("NORMAL2-IM-0115-0002-0001.jpeg", "NORMAL2-IM-0115", "NORMAL", "test"),
        ("person7_bacteria_24.jpeg", "person7", "PNEUMONIA_BACTERIAL", "train"),
        ("person7_virus_3.jpeg", "person7", "PNEUMONIA_VIRAL", "val"),
        ("VIRUS-4321-0002.jpeg", "4321", "PNEUMONIA_VIRAL", "test"),
    }
    assert len({sample.split_group for sample in dataset.samples}) == 4


def test_nih_rows_keep_findings_official_split_and_person(tmp_path: Path) -> None:
    dataset = read_dataset(make_data(tmp_path, "folder", nih_files()))
    first, second, third = dataset.samples
    assert (first.labels, first.split, first.view) == (("No Finding",), "train_val", "PA")
    assert (second.labels, second.split, second.age_years, second.sex) == (("Pneumonia", "Effusion"), "test", 41.0, "F")
    # Nobody is 414 years old: the table is known for such entries.
    assert (third.age_years, third.split_group == second.split_group) == (None, True)
    assert dataset.is_multi_label
    assert dataset.notes == ("1 pictures of the table are not there.",)


def test_cardiac_directories_of_two_labels_are_two_patients(tmp_path: Path) -> None:
    dataset = read_dataset(make_data(tmp_path, "zip", LAYOUTS[Layout.CAD_CARDIAC]))
    assert [sample.patient for sample in dataset.samples] == ["Normal/Directory_1"] * 2 + ["Sick/Directory_1"]


def test_class_folders_below_split_folders_keep_the_split(tmp_path: Path) -> None:
    files = empty("Train/x/1.png", "valid/y/2.png", "test/x/3.png")
    dataset = read_dataset(make_data(tmp_path, "folder", files))
    assert {(sample.label, sample.split) for sample in dataset.samples} == {("x", "train"), ("y", "val"), ("x", "test")}


def test_masks_beside_class_folders_are_left_out_and_said(tmp_path: Path) -> None:
    dataset = read_dataset(make_data(tmp_path, "zip", empty("x/1.png", "x/masks/1.png", "y/2.png", "y/2_mask.png")))
    assert [sample.file for sample in dataset.samples] == ["x/1.png", "y/2.png"]
    assert dataset.notes[-1] == "2 mask files were left out; they are not pictures to learn from."


def test_manifest_columns_are_all_read(tmp_path: Path) -> None:
    head = "file,kind,source,patient_id,split,view,age,sex,licence,sha256\n"
    text = head + "a.png,x,s,p1,val,PA,58,F,MIT,00\nb.png,y,s,,,,,,,\n"
    files = {"manifest.csv": text.encode()} | empty("a.png", "b.png", "c.png")
    dataset = read_dataset(make_data(tmp_path, "zip", files), label_column="kind")
    a, b = dataset.samples
    assert (a.label, a.source, a.patient, a.split, a.view, a.age_years, a.sex) == (
        "x",
        "s",
        "p1",
        "val",
        "PA",
        58.0,
        "F",
    )
    assert (a.split_group, a.licence, a.sha256) == ("p:s:p1", "MIT", "00")
    assert (b.patient, b.split, b.view, b.age_years, b.split_group) == (None, None, None, None, "f:b.png")
    assert dataset.notes[0] == "1 picture files are in no row of manifest.csv and were left out."


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "There are no files"),
        (empty("a.png", "b.png"), 'Found 2 files in "a.png", "b.png"'),
        (empty("x/1.png", "x/2.png"), 'Found 2 files in "x"'),
        (empty("COVID/images/1.png"), "fewer than two labels"),
        (
            empty("x/1.png", "y/2.png", "y/z/w/3.png"),
            '1 pictures are not at LABEL/FILE or SPLIT/LABEL/FILE: "y/z/w/3.png"',
        ),
        (empty("COVID/images/1.png", "Flu/images/2.png"), '1 pictures are not in CLASS/images .*"Flu/images/2.png"'),
        (empty("train/NORMAL/a.png", "test/PNEUMONIA/person1_virus_1.png"), "no name of the Kermany layout"),
        (empty("train/NORMAL/person1_virus_1.png", "test/NORMAL/IM-1-1.png"), "no name of the Kermany layout"),
        (empty("Normal/Directory_1/a.png", "Sick/b.png"), 'not in Normal/Directory_N or .*"Sick/b.png"'),
        (nih_files(NIH_HEAD + "1_0.png,Flu,0,1,58,M,PA\n"), 'does not know: "Flu"'),
        (nih_files("Image Index,Patient ID\n1_0.png,1\n"), 'no column "Finding Labels", "View Position"'),
        (nih_files(NIH_HEAD + "7_0.png,Mass,0,1,58,M,PA\n"), "None of the 1 pictures"),
        ({"manifest.csv": b"file,kind\n"}, 'no column "label"; it has "file", "kind"'),
        ({"manifest.csv": b"file,label\na.png,x\n"}, 'names 1 files that are not there: "a.png"'),
        ({"manifest.csv": b"file,label\na.png,x\na.png,y\n"} | empty("a.png"), 'files twice: "a.png"'),
        ({"manifest.csv": b"file,label\na.png,\n"} | empty("a.png"), 'without file or label .*line "2"'),
        ({"manifest.csv": b"file,label,split\na.png,x,dev\n"} | empty("a.png"), 'none of train, val, test: "dev"'),
    ],
)
def test_data_that_does_not_fit_is_refused_with_what_was_found(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(UnreadableDataset, match=message):
        read_dataset(make_data(tmp_path, "zip", files))


def test_path_that_is_neither_folder_nor_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UnreadableDataset, match="a file that is no zip"):
        read_dataset(tmp_path / "a.txt")
    with pytest.raises(UnreadableDataset, match="there is nothing"):
        read_dataset(tmp_path / "b")


def test_layout_that_is_given_is_not_recognised_anew(tmp_path: Path) -> None:
    path = make_data(tmp_path, "zip", empty("train/NORMAL/a.png", "test/PNEUMONIA/b.png"))
    assert read_dataset(path, layout=Layout.CLASS_FOLDERS).counts() == Counter({"NORMAL": 1, "PNEUMONIA": 1})
    with pytest.raises(UnreadableDataset, match="does not look like nih14"):
        read_dataset(path, layout=Layout.NIH14)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (Layout.KERMANY, {"Normal": 2, "Lung_Opacity": 1, "Viral_Pneumonia": 2}),
        (Layout.COVID19_RADIOGRAPHY, {"COVID": 1, "Lung_Opacity": 1, "Normal": 1, "Viral_Pneumonia": 1}),
        (Layout.NIH14, {"Normal": 1, "NIH_MERGED": 1}),
    ],
)
def test_five_labels_follow_the_table(tmp_path: Path, layout: Layout, expected: dict[str, int]) -> None:
    dataset = to_five_labels(read_dataset(make_data(tmp_path, "zip", LAYOUTS[layout])))
    assert dataset.counts() == Counter(expected)
    assert not dataset.is_multi_label


def test_five_labels_name_what_they_leave_out(tmp_path: Path) -> None:
    dataset = to_five_labels(read_dataset(make_data(tmp_path, "zip", nih_files())))
    assert dataset.notes[-1] == "Left out, no label among the five: 1 x Hernia."


@pytest.mark.parametrize(("layout", "unknown"), [(Layout.CAD_CARDIAC, "Normal, Sick"), (Layout.CLASS_FOLDERS, "x, y")])
def test_five_labels_refuse_a_class_without_a_row(tmp_path: Path, layout: Layout, unknown: str) -> None:
    with pytest.raises(UnknownClass, match=f"no place among the five chest labels: {unknown}"):
        to_five_labels(read_dataset(make_data(tmp_path, "zip", LAYOUTS[layout])))


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_pictures_gives_the_pixels_and_refuses_what_is_gone(tmp_path: Path, form: str) -> None:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    files = {"x/1.png": buffer.getvalue(), "y/2.png": buffer.getvalue()[:60]}
    dataset = read_dataset(make_data(tmp_path, form, files))
    with dataset.pictures() as pictures:
        np.testing.assert_array_equal(pictures.read_grey(dataset.samples[0]), pixels)
        with pytest.raises(DamagedFile):
            pictures.read_grey(dataset.samples[1])
