"""`csss predict` from its arguments to what it prints, writes and returns."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from csss.cli import main
from csss.inference.card import load_card, write_card
from csss.inference.read_files import COLUMNS
from predict.pictures_given import make_pictures, make_plan, readings_of, run, settings_run


def write_manifest(path: Path, rows: list[tuple[str, ...]], titles: str = "file,label,source,patient_id,split") -> Path:
    path.write_text("\n".join([titles, *(",".join(row) for row in rows)]) + "\n")
    return path


def told(folder: Path, files: list[Path]) -> list[str]:
    """The likeliest label that the tiny model gives each file."""
    return [reading.prediction.top_label for reading in readings_of(folder, files)]


def test_json_is_a_line_for_each_file_in_order(tmp_path: Path) -> None:
    files = make_pictures(tmp_path / "in", 3)
    code, output, notes = run(tmp_path, tmp_path / "in", tmp_path / "none.png", json=True)
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["file"] for line in lines] == [*map(str, files), str(tmp_path / "none.png")]
    assert (code, notes, lines[3]["error"]["code"]) == (1, "", "file-missing")


@pytest.mark.parametrize("jobs", [1, 2])
def test_csv_has_every_column_of_every_file(tmp_path: Path, jobs: int) -> None:
    files = make_pictures(tmp_path / "in", 3)
    code, output, _ = run(tmp_path, tmp_path / "in", csv=tmp_path / "in" / "out.csv", jobs=jobs)
    with (tmp_path / "in" / "out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert (code, output, tuple(table[0])) == (0, "", COLUMNS)
    assert [row["file"] for row in table] == list(map(str, files))
    assert [row["top_label"] for row in table] == told(tmp_path, files)


def test_csv_rows_are_there_before_the_run_ends(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    os.mkfifo(tmp_path / "in" / "slow.png")
    make_plan(tmp_path)
    options = ["--model", "tiny", "--models", str(tmp_path / "models"), "--csv", str(tmp_path / "out.csv")]
    named = [str(tmp_path / "in"), str(tmp_path / "in" / "slow.png")]
    start = f"from csss.cli import main; main({['predict', *named, *options]!r})"
    with subprocess.Popen([sys.executable, "-c", start]) as command, (tmp_path / "in" / "slow.png").open("wb"):
        # The run is in the middle of the second file.
        command.kill()
    assert [row.partition(",")[0] for row in (tmp_path / "out.csv").read_text().splitlines()] == [
        "file",
        str(tmp_path / "in" / "0.png"),
    ]


def test_words_say_label_reason_and_error(tmp_path: Path) -> None:
    (file,) = make_pictures(tmp_path / "in", 1)
    _, output, _ = run(tmp_path, file, tmp_path / "none.png")
    (reading,) = readings_of(tmp_path, [file])
    prediction = reading.prediction
    because = " because of " + ", ".join(prediction.uncertain_reasons) if prediction.uncertain else ""
    shares = ", ".join(f"{name} {share:.3f}" for name, share in prediction.probabilities)
    assert output.splitlines() == [
        f"{file}: {prediction.label}{because} (threshold 0.75; {shares}), by a model that was made from phantoms",
        f"{tmp_path / 'none.png'}: not read, There is no such file. (file-missing)",
    ]


def test_labels_measure_the_run(tmp_path: Path) -> None:
    files = make_pictures(tmp_path / "in", 4)
    (tmp_path / "in" / "2.png").write_bytes(b"no picture")
    tops = [label if label else "calm" for label in told(tmp_path, [files[0], files[1], files[3]])]
    wrong = "storm" if tops[2] != "storm" else "calm"
    truth = [tops[0], tops[1], "calm", wrong]
    rows = [(f"{number}.png", label, "ward", f"p{number}", "test") for number, label in enumerate(truth)]
    manifest = write_manifest(tmp_path / "in" / "manifest.csv", rows)
    code, output, notes = run(tmp_path, tmp_path / "in", labels=manifest, json=True, summary=tmp_path / "out.json")
    *lines, last = output.splitlines()
    summary = json.loads(last)["summary"]
    assert (code, notes, len(lines)) == (1, "", 4)
    assert json.loads((tmp_path / "out.json").read_text()) == summary
    figures = summary["figures"]
    assert (figures["images"], figures["refused"], figures["accuracy"]) == (4, 1, 0.5)
    assert (summary["refusals"], list(summary["sources"])) == ({"unsupported-type": 1}, ["ward"])
    assert (summary["model"], summary["version"], summary["split"]) == ("tiny", "1", None)
    assert summary["intervals_95"]["groups"] == 4
    assert summary["not_measured"] == {"unlabelled": [], "ambiguous": [], "missing": []}


def test_split_reads_its_files_alone(tmp_path: Path) -> None:
    files = make_pictures(tmp_path / "in", 3)
    rows = [
        ("0.png", "calm", "", "", "train"),
        ("1.png", "calm", "", "", "test"),
        ("2.png", "no label of ours", "", "", "train"),
    ]
    manifest = write_manifest(tmp_path / "manifest.csv", rows)
    code, output, _ = run(tmp_path, tmp_path / "in", labels=manifest, split="test", json=True)
    first, second = output.splitlines()
    assert (code, json.loads(first)["file"]) == (0, str(files[1]))
    assert (json.loads(second)["summary"]["figures"]["images"], json.loads(second)["summary"]["split"]) == (1, "test")


def test_what_does_not_match_is_listed_and_fails_the_run(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 2)
    manifest = write_manifest(tmp_path / "m.csv", [("1.png", "calm"), ("9.png", "calm")], "file,label")
    code, output, notes = run(tmp_path, tmp_path / "in", labels=manifest, csv=tmp_path / "out.csv")
    assert code == 1
    assert notes.splitlines() == [
        "csss: 1 files without a row in the labels:",
        f"  {tmp_path / 'in' / '0.png'}",
        "csss: 1 rows of the labels without a file:",
        "  9.png",
    ]
    assert "1 labelled pictures, 0 not answered\nNot measured: 1 files without a label" in output


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    make_pictures(tmp_path / "in", 1)
    rows = [("0.png", "calm"), *((f"missing{number:02}.png", "calm") for number in range(23))]
    manifest = write_manifest(tmp_path / "m.csv", rows, "file,label")
    _, _, notes = run(tmp_path, tmp_path / "in", labels=manifest)
    assert notes.splitlines()[0] == "csss: 23 rows of the labels without a file:"
    assert notes.splitlines()[-2:] == ["  missing19.png", "  and 3 more"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "other"], "csss: There is no model other that can be served in {folder}/models. There are: tiny."),
        (["--split", "test"], "csss: --split and --summary need --labels."),
        (["--csv", "{folder}/none/out.csv"], "csss: {folder}/none/out.csv cannot be written."),
        (["--heatmap", "{folder}/in/0.png"], "csss: {folder}/in/0.png cannot be written."),
        (["--labels", "{folder}/none.csv"], "csss: There is no file {folder}/none.csv."),
        (
            ["--labels", "{folder}/m.csv"],
            'csss: tiny does not know these labels: "mist" (1). It knows: calm, wave, storm.',
        ),
        (
            ["--labels", "{folder}/m.csv", "--split", "x"],
            'csss: No row of the labels has the split "x". Splits there: none.',
        ),
    ],
)
def test_what_cannot_run_is_said_before_the_first_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    make_pictures(tmp_path / "in", 1)
    make_plan(tmp_path)
    write_manifest(tmp_path / "m.csv", [("0.png", "mist")], "file,label")
    filled = [argument.format(folder=tmp_path) for argument in arguments]
    always = ["predict", str(tmp_path / "in"), "--model", "tiny", "--models", str(tmp_path / "models")]
    assert main([*always, *filled]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message.format(folder=tmp_path) + "\n")


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_jobs_must_be_a_count(capsys: pytest.CaptureFixture[str], jobs: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", "x.png", "--jobs", jobs])
    assert (caught.value.code, "must be a whole number from 1" in capsys.readouterr().err) == (2, True)


def test_the_command_line_reaches_every_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pictures(tmp_path / "in", 2)
    make_plan(tmp_path)
    rows = [("0.png", "calm", "", "", "a"), ("1.png", "calm", "", "", "b")]
    manifest = write_manifest(tmp_path / "m.csv", rows)
    options = {
        "--model": "tiny",
        "--models": str(tmp_path / "models"),
        "--labels": str(manifest),
        "--split": "b",
        "--summary": str(tmp_path / "summary.json"),
        "--csv": str(tmp_path / "out.csv"),
        "--heatmap": str(tmp_path / "heat"),
        "--jobs": "2",
        "--modality": "cr",
        "--body-part": "chest",
    }
    arguments = [word for pair in options.items() for word in pair]
    assert main(["predict", str(tmp_path / "in"), *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f'tiny 1 measured against {manifest}, split "b"'
    assert json.loads((tmp_path / "summary.json").read_text())["figures"]["images"] == 1
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2
    assert [path.name.partition(".")[0] for path in (tmp_path / "heat").iterdir()] == ["1"]


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pictures(tmp_path / "in", 1)
    make_plan(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as closed:
        monkeypatch.setattr("sys.stdout", closed)
        code = main(["predict", str(tmp_path / "in"), "--model", "tiny", "--models", str(tmp_path / "models")])
    assert code == 1


def test_a_file_name_neither_steers_the_terminal_nor_makes_a_line(tmp_path: Path) -> None:
    (file,) = make_pictures(tmp_path / "in", 1)
    file.rename(tmp_path / "in" / os.fsdecode(b"\x1b[31m\xff\nx.png"))
    labels = write_manifest(tmp_path / "labels.csv", [("0.png", "calm", "", "", "")])
    _, output, notes = run(tmp_path, tmp_path / "in", labels=labels)
    name = str(tmp_path / "in") + r"/\x1b[31m\udcff\nx.png"
    assert output.splitlines()[0].startswith(f"{name}: ")
    assert notes.splitlines()[1] == f"  {name}"


def test_a_name_without_room_for_an_ending_gets_its_heat_map(tmp_path: Path) -> None:
    (file,) = make_pictures(tmp_path / "in", 1)
    file.rename(tmp_path / "in" / ("ä" * 125 + ".png"))
    assert run(tmp_path, tmp_path / "in", heat_maps=tmp_path / "heat")[0] == 0
    (made,) = (tmp_path / "heat").iterdir()
    assert made.name.startswith("ä" * 110 + ".")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_sites_shelf_and_threshold_hold_here_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, jobs: str
) -> None:
    make_pictures(tmp_path / "in", 1)
    settings = {"model_path": str(tmp_path / "models"), "confidence_threshold": "tiny/1=0.999999"}
    code, output, _ = settings_run(tmp_path, capsys, monkeypatch, "--json", "--jobs", jobs, **settings)
    line = json.loads(output)
    assert (code, line["threshold"], line["label"], line["phantom_trained"]) == (0, 0.999999, "Uncertain", True)
    assert "low-confidence" in line["uncertain_reasons"]


def test_a_lower_threshold_of_the_site_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path / "in", 1)
    settings = {"model_path": str(tmp_path / "models"), "confidence_threshold": "tiny/1=0.5"}
    assert json.loads(settings_run(tmp_path, capsys, monkeypatch, "--json", **settings)[1])["threshold"] == 0.75


def test_a_threshold_for_another_version_reads_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path / "in", 1)
    settings = {"model_path": str(tmp_path / "models"), "confidence_threshold": "tiny/7=0.9"}
    out = tmp_path / "out.csv"
    code, output, notes = settings_run(tmp_path, capsys, monkeypatch, "--csv", str(out), **settings)
    assert (code, output, out.exists()) == (2, "", False)
    assert notes == (
        "csss: This site's threshold for tiny was set for version 7, not for version 1. "
        "Set one for version 1 (CSSS_CONFIDENCE_THRESHOLD), or none.\n"
    )


def test_the_option_goes_before_the_sites_shelf(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path / "in", 1)
    settings = {"model_path": str(tmp_path / "nowhere")}
    assert settings_run(tmp_path, capsys, monkeypatch, **settings)[0] == 2
    assert settings_run(tmp_path, capsys, monkeypatch, "--models", str(tmp_path / "models"), **settings)[0] == 0


@pytest.mark.parametrize("phantoms", [True, False])
def test_a_model_made_from_phantoms_is_marked_in_the_summary_and_the_table(tmp_path: Path, phantoms: bool) -> None:
    make_pictures(tmp_path / "in", 1)
    make_plan(tmp_path)
    folder = tmp_path / "models" / "tiny" / "1"
    write_card(replace(load_card(folder), phantom_trained=phantoms), folder)
    labels = write_manifest(tmp_path / "m.csv", [("0.png", "calm")], "file,label")
    _, output, _ = run(tmp_path, tmp_path / "in", labels=labels, csv=tmp_path / "out.csv", summary=tmp_path / "s.json")
    line = "This model was made from drawn phantoms. Its figures say nothing about pictures of people."
    assert (line in output.splitlines()) is phantoms
    assert json.loads((tmp_path / "s.json").read_text())["phantom_trained"] is phantoms
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["phantom_trained"] for row in csv.DictReader(file)] == [str(phantoms).lower()]
