"""The linter on made-up sets: each defect that was put in is found, and a clean set raises no alarm."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from training.datasets import read_dataset
from training.lint import Finding, LintReport, Severity, lint_dataset
from training.lint.report import write_report

SIDE = 168
COLUMNS = ("file", "label", "source", "split", "split_group", "patient_id", "age", "sha256")


@dataclass(frozen=True)
class Item:
    """One picture of a made-up set and its row."""

    file: str
    label: str
    source: str
    split: str
    patient: str
    age: str
    data: bytes
    group: str = ""
    sha256: str = ""


def draw(seed: int, *, blur: float = 0.0) -> Image.Image:
    """A picture of soft random shapes with grain; every seed gives another."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(30, 220, (10, 10), dtype=np.uint8))
    soft = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
    picture = Image.fromarray(np.clip(soft + random.normal(0, 6, soft.shape), 1, 254).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(blur)) if blur else picture


def encode(picture: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def make_items(per_cell: int) -> list[Item]:
    """``per_cell`` pictures of every label x source x split, each patient with one, ages alike in the labels."""
    items = []
    for label in ("ill", "well"):
        for source in ("west", "east"):
            for split in ("train", "val", "test"):
                for _ in range(per_cell):
                    seed = len(items)
                    age = str(30 + seed * 7 % 40)
                    items.append(Item(f"{label}/{seed}.png", label, source, split, f"p{seed}", age, encode(draw(seed))))
    return items


def write_set(path: Path, items: list[Item]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    with zipfile.ZipFile(path, "w") as archive:
        for each in items:
            group = each.group or f"g-{each.patient}"
            writer.writerow(
                (each.file, each.label, each.source, each.split, group, each.patient, each.age, each.sha256)
            )
            archive.writestr(each.file, each.data)
        archive.writestr("manifest.csv", text.getvalue())
    return path


def lint(tmp_path: Path, items: list[Item], *, jobs: int = 1) -> LintReport:
    return lint_dataset(read_dataset(write_set(tmp_path / "set.zip", items)), jobs=jobs)


def found(report: LintReport, check: str) -> Finding:
    (finding,) = (each for each in report.findings if each.check == check)
    return finding


@pytest.fixture(scope="module")
def small_set() -> list[Item]:
    return make_items(10)


def test_clean_set_raises_no_alarm(tmp_path: Path) -> None:
    report = lint(tmp_path, make_items(17), jobs=2)
    assert {each.check: each.title for each in report.findings if each.severity is not Severity.CLEAR} == {}
    assert not report.is_serious
    assert len(report.findings) == 18
    assert "Nothing was found that would make the figures of a model untrue." in write_report(report, None)


def put(items: list[Item], place: int, **changes: object) -> list[Item]:
    return [*items[:place], replace(items[place], **changes), *items[place + 1 :]]


def ellipse(low: int, high: int, seed: int) -> Image.Image:
    picture = Image.new("L", (SIDE, SIDE), low)
    ImageDraw.Draw(picture).ellipse((20 + seed, 30, 90, 140), fill=high)
    return picture


@pytest.mark.parametrize(
    "data",
    [
        encode(ellipse(0, 255, 0)),
        encode(ellipse(0, 1, 0)),
        encode(ellipse(0, 255, 3), "JPEG", quality=60),
        encode(ellipse(60, 190, 9).resize((256, 256)), "JPEG", quality=90),
    ],
)
def test_mask_counted_as_a_picture_is_found(tmp_path: Path, small_set: list[Item], data: bytes) -> None:
    file = "ill/5.png" if data.startswith(b"\x89PNG") else "ill/5.jpg"
    finding = found(lint(tmp_path, put(small_set, 5, data=data, file=file)), "masks")
    assert (finding.severity, finding.count) == (Severity.SERIOUS, 1)
    assert finding.examples[0].startswith(f"{file}: ")


def test_picture_named_as_a_mask_is_found(tmp_path: Path, small_set: list[Item]) -> None:
    items = put(put(small_set, 5, file="ill/masks/5.png"), 6, file="ill/6_mask.png")
    assert found(lint(tmp_path, items), "masks").count == 2


TRANSFORMS: dict[str, Callable[[Image.Image], bytes]] = {
    "same file": encode,
    "same pixels": lambda picture: encode(picture, compress_level=1),
    "nearly the same": lambda picture: encode(picture.resize((230, 250)), "JPEG", quality=50),
    "mirrored": lambda picture: encode(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=80),
}


@pytest.mark.parametrize("kind", list(TRANSFORMS))
@pytest.mark.parametrize(
    ("change", "check", "severity"),
    [
        ({"split": "test"}, "copies across splits", Severity.SERIOUS),
        ({"split": "train", "label": "well"}, "copies with different labels", Severity.SERIOUS),
        ({"split": "train"}, "copies inside a split", Severity.WARNING),
    ],
)
def test_copy_is_found_and_told_what_it_crosses(
    tmp_path: Path, small_set: list[Item], kind: str, change: dict[str, str], check: str, severity: Severity
) -> None:
    original = small_set[3]
    assert original.split == "train"
    copy = replace(original, file="ill/copy.png", patient="other", data=TRANSFORMS[kind](draw(3)), **change)
    if copy.data[:2] == b"\xff\xd8":
        copy = replace(copy, file="ill/copy.jpg")
    report = lint(tmp_path, [*small_set, copy])
    copies = [each for each in report.findings if each.check.startswith("copies") and each.count]
    assert [(each.check, each.severity, each.count) for each in copies] == [(check, severity, 1)]
    assert copies[0].examples[0].startswith(f"{kind}: ")
    assert "ill/3.png" in copies[0].examples[0]
    assert copy.file in copies[0].examples[0]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"patient": "p0", "group": "own"}, "patients across splits"),
        ({"group": "g-p0"}, "groups across splits"),
    ],
)
def test_person_or_group_in_two_splits_is_found(
    tmp_path: Path, small_set: list[Item], changes: dict[str, str], check: str
) -> None:
    assert (small_set[0].split, small_set[25].split) == ("train", "test")
    report = lint(tmp_path, put(small_set, 25, **changes))
    crossing = [each for each in report.findings if each.check.endswith("across splits") and each.count]
    assert [(each.check, each.severity, each.count) for each in crossing] == [(check, Severity.SERIOUS, 1)]


def test_patient_with_two_labels_is_a_warning(tmp_path: Path, small_set: list[Item]) -> None:
    place = next(index for index, each in enumerate(small_set) if (each.label, each.split) == ("well", "train"))
    finding = found(lint(tmp_path, put(small_set, place, patient="p0")), "patients with different labels")
    assert (finding.severity, finding.count, finding.examples) == (Severity.WARNING, 1, ("p0: ill, well",))


def test_patients_whose_findings_come_and_go_are_worth_a_note_only(tmp_path: Path, small_set: list[Item]) -> None:
    place = next(index for index, each in enumerate(small_set) if (each.label, each.split) == ("well", "train"))
    items = put(small_set, place, patient="p0", label="ill|tired")
    finding = found(lint(tmp_path, items), "patients with different labels")
    assert (finding.severity, finding.count, finding.examples) == (Severity.NOTE, 1, ("p0: ill, ill|tired",))


def test_label_that_goes_with_a_visible_source_is_serious(tmp_path: Path) -> None:
    items = [
        replace(each, source=source, data=encode(draw(index, blur=1.2 if source == "west" else 0.0)))
        for index, each in enumerate(make_items(18))
        for source in ["west" if (each.label == "ill") == (index % 10 > 2) else "east"]
    ]
    report = lint(tmp_path, items)
    table, probe = found(report, "label and source"), found(report, "source seen in the picture")
    assert (table.severity, probe.severity) == (Severity.SERIOUS, Severity.WARNING)
    assert probe.examples[0].endswith("by chance 50%")


def test_source_of_one_label_alone_is_named(tmp_path: Path, small_set: list[Item]) -> None:
    items = [replace(each, source="east" if each.label == "well" else each.source) for each in small_set]
    finding = found(lint(tmp_path, items), "label and source")
    assert finding.examples == ("well comes from east alone", "west holds ill alone")
    assert finding.table[0] == ("label", "east", "west")


def test_visible_source_without_a_label_of_its_own_is_only_a_warning(tmp_path: Path) -> None:
    items = [
        replace(each, data=encode(draw(index, blur=1.2 if each.source == "west" else 0.0)))
        for index, each in enumerate(make_items(13))
    ]
    report = lint(tmp_path, items)
    assert found(report, "label and source").severity is Severity.CLEAR
    assert found(report, "source seen in the picture").count == 2
    assert not report.is_serious


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "unsupported-type"), (encode(draw(1))[:3000], ""), (encode(Image.new("L", (SIDE, SIDE))), "blank-image")],
)
def test_broken_file_is_found_with_its_reason(tmp_path: Path, small_set: list[Item], data: bytes, reason: str) -> None:
    finding = found(lint(tmp_path, put(small_set, 7, data=data)), "broken files")
    assert (finding.severity, finding.count) == (Severity.WARNING, 1)
    assert finding.examples[0].startswith(f"ill/7.png (ill): {reason}")


def test_file_that_differs_from_its_stated_hash_is_found(tmp_path: Path, small_set: list[Item]) -> None:
    items = [replace(each, sha256=hashlib.sha256(each.data).hexdigest()) for each in small_set]
    assert found(lint(tmp_path, items), "changed files").severity is Severity.CLEAR
    finding = found(lint(tmp_path, put(items, 7, data=encode(draw(999)))), "changed files")
    assert (finding.severity, finding.count, finding.examples) == (Severity.SERIOUS, 1, ("ill/7.png",))


def test_many_broken_files_are_serious(tmp_path: Path, small_set: list[Item]) -> None:
    items = put(put(small_set, 7, data=b""), 8, data=b"x")
    assert found(lint(tmp_path, items), "broken files").severity is Severity.SERIOUS


def test_children_in_one_label_are_serious_and_older_people_a_warning(tmp_path: Path, small_set: list[Item]) -> None:
    children = [replace(each, age="4" if each.label == "ill" else each.age) for each in small_set]
    older = [replace(each, age="75" if each.label == "ill" else each.age) for each in small_set]
    unknown = [replace(each, age="") for each in small_set]
    severities = [found(lint(tmp_path, each), "age and label").severity for each in (children, older, unknown)]
    assert severities == [Severity.SERIOUS, Severity.WARNING, Severity.SKIPPED]


def frame(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels[:9], pixels[-9:] = 0, 0
    return pixels


def letter(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels[4:24, 4:24] = np.kron(np.indices((10, 10)).sum(axis=0) % 2 * 255, np.ones((2, 2))).astype(np.uint8)
    return pixels


@pytest.mark.parametrize(("change", "check"), [(frame, "borders"), (letter, "marks in corners")])
def test_trait_that_goes_with_a_label_is_a_warning(
    tmp_path: Path, small_set: list[Item], change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], check: str
) -> None:
    items = [
        replace(each, data=encode(Image.fromarray(change(np.array(draw(index))))) if each.label == "ill" else each.data)
        for index, each in enumerate(small_set)
    ]
    finding = found(lint(tmp_path, items), check)
    assert (finding.severity, finding.table[1:]) == (Severity.WARNING, (("ill", "100.0%"), ("well", "0.0%")))


def test_odd_sizes_and_sizes_of_one_label_are_warnings(tmp_path: Path, small_set: list[Item]) -> None:
    items = put(small_set, 0, data=encode(draw(0).resize((500, 180))))
    items = put(items, 1, data=encode(draw(1).resize((100, 100))))
    assert found(lint(tmp_path, items), "sizes").examples == (
        "ill/0.png: 500 x 180 pixels",
        "ill/1.png: 100 x 100 pixels",
    )
    resized = [
        replace(each, data=encode(draw(index).resize((200, 200)))) if each.label == "well" else each
        for index, each in enumerate(small_set)
    ]
    assert found(lint(tmp_path, resized), "size and label").count == 2


def test_small_class_and_unknown_patients_are_said(tmp_path: Path, small_set: list[Item]) -> None:
    report = lint(tmp_path, [replace(each, patient="", group=f"g{each.file}") for each in small_set])
    assert found(report, "class sizes").examples == ("ill: 60 pictures", "well: 60 pictures")
    assert found(report, "patients unknown").count == len(small_set)
    assert found(report, "patients across splits").severity is Severity.SKIPPED


def test_set_without_a_split_says_that_nothing_can_cross(tmp_path: Path, small_set: list[Item]) -> None:
    report = lint(tmp_path, [replace(each, split="") for each in small_set])
    assert [each.check for each in report.findings if each.severity is Severity.SKIPPED] == [
        "copies across splits",
        "patients across splits",
        "groups across splits",
    ]


def test_report_names_the_serious_first_and_escapes_names(tmp_path: Path, small_set: list[Item]) -> None:
    mask = put(small_set, 5, file="ill/<b>|5_mask.png")
    text = write_report(lint(tmp_path, mask), tmp_path / "out" / "report.md")
    assert (tmp_path / "out" / "report.md").read_text() == text
    assert text.index("## Verdict") < text.index("segmentation masks") < text.index("## Serious")
    assert "ill/\\<b\\>\\|5\\_mask.png" in text
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (facts["serious"], facts["findings"][0]["check"], facts["findings"][0]["count"]) == (True, "masks", 1)


@pytest.mark.parametrize(("place", "code"), [(None, 0), (5, 1)])
def test_command_ends_with_one_when_something_is_serious(
    tmp_path: Path, small_set: list[Item], place: int | None, code: int
) -> None:
    items = small_set if place is None else put(small_set, place, data=encode(ellipse(0, 255, 0)))
    path = write_set(tmp_path / "set.zip", items)
    assert run("lint", str(path), "--jobs", "1", "--out", str(tmp_path / "r.md")).returncode == code
    assert (tmp_path / "r.md").read_text().startswith("# Data report")


def test_command_refuses_unreadable_data_in_one_line(tmp_path: Path) -> None:
    ended = run("lint", str(tmp_path / "none"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: {tmp_path / 'none'} should be a folder or a zip; there is nothing.\n"


def test_data_commands_never_load_torch() -> None:
    code = "import sys, training.__main__, training.lint.report, training.split; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    assert ended.stdout == "False\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=_root(), env=environment)


def _root() -> Path:
    return Path(__file__).parents[2]
