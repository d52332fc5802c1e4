"""`csss predict --labels` with several findings a picture: the figures, and what cannot be a truth."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import make_folder, rework

from csss.foundation.errors import Unprocessable
from csss.inference.card import Calibration
from csss.inference.findings_rule import FindingsRule
from csss.inference.metrics import auroc
from csss.predict.command import PredictOptions, run_predict
from csss.predict.workers import ReadingPlan, read_here
from predict.pictures_given import make_pictures

RULE = FindingsRule((0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "made up")
TRUTHS = ("No Finding", "calm", "calm|storm", "wave", "storm|wave", "calm|wave|storm", "No Finding", "storm")


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """Eight pictures, their manifest, and a shelf with the tiny model of three findings."""
    rework(
        make_folder(tmp_path / "models"),
        task="findings",
        purpose="comparison",
        findings=RULE,
        calibration=Calibration("temperature", 6.0, (), (), "made up"),
    )
    files = make_pictures(tmp_path / "in", len(TRUTHS))
    write_manifest(tmp_path, [(file.name, label) for file, label in zip(files, TRUTHS, strict=True)])
    return tmp_path


def write_manifest(folder: Path, rows: list[tuple[str, str]]) -> None:
    with (folder / "in" / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "patient_id"), *((*row, row[0]) for row in rows)])


def run(ward: Path, **options: object) -> tuple[int, str]:
    output = io.StringIO()
    asked = PredictOptions(
        paths=(ward / "in",), model="tiny", models=ward / "models", labels=ward / "in" / "m.csv", **options
    )
    return run_predict(asked, output, io.StringIO()), output.getvalue()


def test_the_summary_measures_each_label_by_itself(ward: Path) -> None:
    code, output = run(ward, json=True)
    lines = [json.loads(line) for line in output.splitlines()]
    summary = lines.pop()["summary"]
    shares = np.array([list(line["probabilities"].values()) for line in lines])
    for place, name in enumerate(("calm", "wave", "storm")):
        truth = np.array([name in label.split("|") for label in TRUTHS])
        figures = summary["figures"]["classes"][place]
        found = shares[:, place] >= 0.5
        assert (figures["label"], figures["support"]) == (name, truth.sum())
        assert figures["sensitivity"] == pytest.approx(found[truth].mean())
        assert figures["specificity"] == pytest.approx((~found)[~truth].mean())
        assert figures["auroc"] == pytest.approx(auroc(truth, shares[:, place]))
        assert summary["intervals_95"]["classes"][place]["auroc"]["low"] <= figures["auroc"]
    assert (code, summary["labels"], summary["figures"]["images"]) == (0, ["calm", "wave", "storm"], 8)


def test_each_line_names_every_finding_over_its_threshold(ward: Path) -> None:
    _, output = run(ward, json=True)
    for line in map(json.loads, output.splitlines()[:-1]):
        assert set(line["findings"]) == {name for name, share in line["probabilities"].items() if share >= 0.5}
        assert (line["label"] in {*line["findings"], "No Finding"}) is not line["uncertain"]


def test_the_text_has_a_line_for_each_label(ward: Path) -> None:
    _, output = run(ward)
    plan = ReadingPlan(ward / "models", "tiny", "1", "DX", "CHEST", None)
    first = next(iter(read_here([ward / "in" / "0.png"], plan))).prediction
    stated = ", ".join(first.findings) if first.findings and not first.uncertain else first.label
    assert output.splitlines()[0].startswith(f"{ward / 'in' / '0.png'}: {stated}")
    rows = [line.split() for line in output.splitlines()]
    assert next(row[:3] for row in rows if row[:1] == ["storm"]) == ["storm", "4", "0.500"]
    assert "mean AUROC" in output


@pytest.mark.parametrize("label", ["rain", "calm|rain", "", "No Finding|calm", "calm|calm", "Uncertain"])
def test_labels_that_cannot_be_true_end_the_run_before_it_starts(ward: Path, label: str) -> None:
    write_manifest(ward, [("0.png", "calm"), ("1.png", label)])
    with pytest.raises(Unprocessable, match=r"does not know these labels") as caught:
        run(ward)
    assert caught.value.code == "labels-unknown"
    assert f'"{label}" (1)' in caught.value.message
