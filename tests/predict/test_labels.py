"""Labels from a manifest: which columns count, and whose row is whose."""

from pathlib import Path

import pytest

from csss.foundation.errors import CsssError
from csss.predict.labels import GivenFile, Match, Truth, choose_split, demand_known, match, read_truths


def make_truth(file: str, label: str = "a", split: str = "") -> Truth:
    return Truth(file, label, "", f"group of {file}", split)


def given_files(root: Path, *names: str) -> list[GivenFile]:
    return [GivenFile(root / name, root) for name in names]


def settled(matched: Match, root: Path) -> dict[str, str]:
    return {file.relative_to(root).as_posix(): truth.file for file, truth in matched.truths.items()}


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("file,label\na.png,x\n", Truth("a.png", "x", "", "row 0", "")),
        ("\ufeffLabel , Filename\nx,a.png\n", Truth("a.png", "x", "", "row 0", "")),
        ("path;label;source\nsub\\a.png; x ;s\n", Truth("sub/a.png", "x", "s", "row 0", "")),
        ("file\tlabel\tpatient_id\n./a.png\tx\tp1\n", Truth("a.png", "x", "", "p1", "")),
        ("file,label,patient_id,split_group,split\na.png,x,p1,g1,test\n", Truth("a.png", "x", "", "g1", "test")),
        ('file,label\n"a, b.png",x\n\n,\n', Truth("a, b.png", "x", "", "row 0", "")),
        ("file,label,source\na.png,x\n", Truth("a.png", "x", "", "row 0", "")),
    ],
)
def test_read_truths_finds_columns_by_name(tmp_path: Path, text: str, row: Truth) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert read_truths(tmp_path / "m.csv") == (row,)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (None, "labels-missing"),
        (b"", "labels-column-missing"),
        (b"file,truth\na,b\n", "labels-column-missing"),
        (b"label\nb\n", "labels-column-missing"),
        (b"\xff\xfe\x00", "labels-unreadable"),
        (b'file,label\n"a,b\n', "labels-unreadable"),
    ],
)
def test_read_truths_refuses_what_is_no_manifest(tmp_path: Path, data: bytes | None, code: str) -> None:
    if data is not None:
        (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(CsssError) as caught:
        read_truths(tmp_path / "m.csv")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("rows", "pairs"),
    [
        (["set/x/1.png"], {"x/1.png": "set/x/1.png"}),
        (["x/1.png"], {"x/1.png": "x/1.png"}),
        (["1.png"], {"x/1.png": "1.png"}),
        (["elsewhere/1.png"], {"x/1.png": "elsewhere/1.png"}),
    ],
)
def test_match_by_manifest_then_folder_then_name(tmp_path: Path, rows: list[str], pairs: dict[str, str]) -> None:
    root = tmp_path / "set"
    matched = match(given_files(root, "x/1.png"), [make_truth(row) for row in rows], tmp_path)
    assert (settled(matched, root), matched.complete) == (pairs, True)


def test_match_takes_a_path_as_it_was_typed(tmp_path: Path) -> None:
    file = GivenFile(Path("over/there/1.png"), Path("over/there"))
    matched = match([file], [make_truth("over/there/1.png"), make_truth("other/1.png")], tmp_path)
    assert [truth.file for truth in matched.truths.values()] == ["over/there/1.png"]


def test_match_prefers_the_path_over_a_shared_name(tmp_path: Path) -> None:
    truths = [make_truth("x/1.png"), make_truth("y/1.png")]
    matched = match(given_files(tmp_path, "y/1.png", "x/1.png"), truths, tmp_path)
    assert settled(matched, tmp_path) == {"x/1.png": "x/1.png", "y/1.png": "y/1.png"}


@pytest.mark.parametrize(
    ("files", "rows"),
    [
        (["1.png"], ["x/1.png", "y/1.png"]),
        (["x/1.png", "y/1.png"], ["z/1.png"]),
        (["1.png"], ["1.png", "1.png"]),
        (["1.png", "1.png"], ["1.png"]),
    ],
)
def test_match_never_guesses(tmp_path: Path, files: list[str], rows: list[str]) -> None:
    truths = [Truth(row, "a", "", str(number), "") for number, row in enumerate(rows)]
    matched = match(given_files(tmp_path, *files), truths, tmp_path)
    assert (matched.truths, matched.missing, matched.complete) == ({}, (), False)
    assert matched.ambiguous == tuple(tmp_path / name for name in files)


def test_a_name_shared_with_a_file_of_its_own_row_stays_ambiguous(tmp_path: Path) -> None:
    matched = match(given_files(tmp_path, "x/1.png", "y/1.png"), [make_truth("x/1.png")], tmp_path)
    assert settled(matched, tmp_path) == {"x/1.png": "x/1.png"}
    assert matched.ambiguous == (tmp_path / "y/1.png",)


def test_match_lists_what_is_left_on_both_sides(tmp_path: Path) -> None:
    matched = match(given_files(tmp_path, "1.png", "2.png"), [make_truth("2.png"), make_truth("3.png")], tmp_path)
    assert (matched.unlabelled, [truth.file for truth in matched.missing]) == ((tmp_path / "1.png",), ["3.png"])
    assert not matched.complete


def test_choose_split_keeps_its_rows_alone(tmp_path: Path) -> None:
    truths = [make_truth("1.png", split="test"), make_truth("2.png", split="val"), make_truth("3.png", split="val")]
    matched = match(given_files(tmp_path, "1.png", "2.png"), truths, tmp_path)
    tested, validated = choose_split(matched, truths, "test"), choose_split(matched, truths, "val")
    assert (settled(tested, tmp_path), tested.missing) == ({"1.png": "1.png"}, ())
    assert (settled(validated, tmp_path), validated.missing) == ({"2.png": "2.png"}, (truths[2],))
    with pytest.raises(CsssError) as caught:
        choose_split(matched, truths, "train")
    assert (caught.value.code, "test, val" in caught.value.message) == ("split-unknown", True)


def test_demand_known_names_the_labels() -> None:
    demand_known([make_truth("1.png", "calm")], ("calm", "wave"), "tiny")
    truths = [make_truth("1.png", "Calm"), make_truth("2.png", "mist"), make_truth("3.png", "mist")]
    with pytest.raises(CsssError) as caught:
        demand_known(truths, ("calm", "wave"), "tiny")
    assert caught.value.code == "labels-unknown"
    assert caught.value.message == ('tiny does not know these labels: "Calm" (1), "mist" (2). It knows: calm, wave.')
