"""predict_files: every file gets one reading, in order, whatever it holds."""

import hashlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import make_folder, make_picture

from csss.foundation.errors import NotFound
from csss.imaging.limits import Limits
from csss.imaging.quality import QualityCheck, QualityFinding
from csss.imaging.readers import READERS
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import CardError
from csss.inference.prediction import GateVerdict, UncertainReason
from csss.inference.read_files import COLUMNS, FileReading, predict_files, to_json, to_row, walk_files
from csss.inference.shelf import Shelf


class DirectDecoder:
    """The readers in this process, with what a DICOM file would say about itself."""

    def __init__(self, modality: str | None = None, body_part: str | None = None) -> None:
        self.said = (modality, body_part)

    def decode(self, data: bytes, kind: FileKind) -> Volume:
        volume = READERS[kind](data, Limits())
        return Volume(pixels=volume.pixels, kind=kind, modality=self.said[0], body_part=self.said[1])


@pytest.fixture
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    root = tmp_path_factory.mktemp("models")
    make_folder(root)
    return Shelf(root)


def png(seed: int = 3) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(make_picture(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def read(paths: list[Path], shelf: Shelf, decoder: DirectDecoder | None = None, **said: str) -> list[FileReading]:
    return list(predict_files(paths, shelf=shelf, decoder=decoder or DirectDecoder(), model="tiny", **said))


def error_codes(readings: list[FileReading]) -> list[str | None]:
    return [reading.error.code if reading.error else None for reading in readings]


def test_predict_files_gives_the_prediction_of_the_model(tmp_path: Path, shelf: Shelf) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    (reading,) = read([path], shelf)
    wanted = shelf.model("tiny").predict(reading.volume)
    np.testing.assert_array_equal(reading.volume.pixels[0], make_picture())
    assert (reading.file, reading.sha256) == (str(path), hashlib.sha256(png()).hexdigest())
    assert reading.prediction.probabilities == wanted.probabilities
    assert [stage.value for stage, _ in reading.stage_ms] == ["read", "decode", "prepare", "model", "explain"]
    assert all(value >= 0.0 for _, value in reading.stage_ms)


def test_predict_files_walks_folders_in_sorted_order_without_hidden_files(tmp_path: Path, shelf: Shelf) -> None:
    for name in ("b/2.png", "b/1.png", "a/3.png", "z.png", ".hidden.png", ".git/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    names = [Path(reading.file).relative_to(tmp_path).as_posix() for reading in read([tmp_path], shelf)]
    assert names == ["z.png", "a/3.png", "b/1.png", "b/2.png"]


def test_predict_files_reports_each_bad_file_and_goes_on(tmp_path: Path, shelf: Shelf) -> None:
    contents = {
        "1.png": png(),
        "2.png": b"this is text",
        "3.png": png()[:200],
        "4.jpg": png(),
        "5.png": b"",
        "6.png": b"\x89PNG\r\n\x1a\n" + bytes(10 * 1024 * 1024),
        "7.png": png(4),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    readings = read([tmp_path, tmp_path / "missing.png"], shelf)
    codes = error_codes(readings)
    assert codes[:2] == [None, "unsupported-type"]
    assert codes[3:] == ["extension-mismatch", "unsupported-type", "file-too-large", None, "file-missing"]
    assert codes[2] is not None
    assert [reading.prediction is None for reading in readings] == [code is not None for code in codes]


@pytest.mark.parametrize(
    ("file_says", "caller_says", "code"),
    [
        ((None, None), ("DX", "CHEST"), None),
        ((None, None), ("CT", "CHEST"), "no-model-fits"),
        (("CT", "CHEST"), ("DX", "CHEST"), "no-model-fits"),
        (("MR", None), ("DX", "CHEST"), "no-model-fits"),
        (("DX", "HAND"), ("DX", "CHEST"), "no-model-fits"),
        (("CR", None), ("CT", "CHEST"), None),
    ],
)
def test_predict_files_believes_the_file_before_the_caller(
    tmp_path: Path,
    shelf: Shelf,
    file_says: tuple[str | None, str | None],
    caller_says: tuple[str, str],
    code: str | None,
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    said = {"modality": caller_says[0], "body_part": caller_says[1]}
    assert error_codes(read([path], shelf, DirectDecoder(*file_says), **said)) == [code]


def test_predict_files_refuses_an_unknown_model_before_the_first_file(shelf: Shelf) -> None:
    with pytest.raises(NotFound) as caught:
        predict_files([], shelf=shelf, decoder=DirectDecoder(), model="other")
    assert caught.value.code == "model-unknown"


def test_predict_files_refuses_a_damaged_model_before_the_first_file(shelf: Shelf) -> None:
    path = shelf.model("tiny").folder / "head.npz"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CardError) as caught:
        predict_files([], shelf=shelf, decoder=DirectDecoder(), model="tiny")
    assert caught.value.code == "file-altered"


def test_predict_files_hands_no_cut_file_to_the_decoder(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "a.png").write_bytes(png() + bytes(10 * 1024 * 1024))
    decoded: list[int] = []

    class Listening(DirectDecoder):
        def decode(self, data: bytes, kind: FileKind) -> Volume:
            decoded.append(len(data))
            return super().decode(png(), kind)

    assert error_codes(read([tmp_path], shelf, Listening())) == ["file-too-large"]
    assert decoded == []


def test_to_json_is_one_line_with_every_field(tmp_path: Path, shelf: Shelf) -> None:
    path = tmp_path / "a\nb.png"
    path.write_bytes(png())
    (reading,) = read([path], shelf)
    line = to_json(reading)
    content = json.loads(line)
    prediction = reading.prediction
    assert "\n" not in line
    assert content.pop("milliseconds").keys() == {"read", "decode", "prepare", "model", "explain"}
    assert content == {
        "file": str(path),
        "label": prediction.label,
        "top_label": prediction.top_label,
        "findings": [],
        "confidence": prediction.confidence,
        "probabilities": dict(prediction.probabilities),
        "threshold": 0.75,
        "uncertain": prediction.uncertain,
        "uncertain_reasons": [str(reason) for reason in prediction.uncertain_reasons],
        "conformal_set": [],
        "coverage": None,
        "ood_distance": prediction.ood_distance,
        "ood_limit": 100.0,
        "quality": [],
        "gate": None,
        "phantom": False,
        "phantom_trained": True,
        "risk": str(prediction.risk),
        "heat_of": prediction.top_label,
        "heat_against": None,
        "regions": list(prediction.regions),
        "model": "tiny",
        "version": "1",
        "calibration": prediction.calibration,
        "model_sha256": prediction.model_sha256,
        "sha256": reading.sha256,
    }


def test_to_json_of_a_refused_file_is_its_error(tmp_path: Path, shelf: Shelf) -> None:
    (reading,) = read([tmp_path / "none.png"], shelf)
    assert json.loads(to_json(reading)) == {
        "file": str(tmp_path / "none.png"),
        "sha256": None,
        "error": {"code": "file-missing", "message": "There is no such file."},
    }


def test_to_row_fills_the_columns_and_disarms_formulas(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("=cmd().png").write_bytes(png())
    good, bad = read([Path("=cmd().png"), Path("none.png")], shelf)
    row = dict(zip(COLUMNS, to_row(good), strict=True))
    assert (row["file"], row["model"], row["error"]) == ("'=cmd().png", "tiny", "")
    assert json.loads(row["probabilities"]) == dict(good.prediction.probabilities)
    assert (row["top_label"], row["model_sha256"]) == (good.prediction.top_label, good.prediction.model_sha256)
    assert (float(row["ood_distance"]), row["ood_limit"]) == (good.prediction.ood_distance, "100.0")
    assert (row["conformal_set"], row["coverage"], row["phantom"], row["gate"]) == ("", "", "false", "")
    refused = dict(zip(COLUMNS, to_row(bad), strict=True))
    assert (refused["file"], refused["label"], refused["error"]) == ("none.png", "", "file-missing")


def test_to_row_and_to_json_carry_set_quality_gate_and_phantom(tmp_path: Path, shelf: Shelf) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    (reading,) = read([path], shelf)
    richer = replace(
        reading,
        prediction=replace(
            reading.prediction,
            uncertain_reasons=(UncertainReason.SET_OF_TWO, UncertainReason.QUALITY),
            conformal_set=("calm", "wave"),
            coverage=0.9,
            quality=(QualityFinding(QualityCheck.TURNED, True, 0.7, 0.5),),
            gate=GateVerdict("door", "3", "scan", "A scan", 0.8, 1.5, 2.0, True),
            phantom=True,
        ),
    )
    row = dict(zip(COLUMNS, to_row(richer), strict=True))
    assert (row["uncertain_reasons"], row["conformal_set"]) == ("set-of-two; quality", "calm; wave")
    assert (row["coverage"], row["quality"], row["phantom"]) == ("0.9", "turned", "true")
    gate = {
        "model": "door",
        "version": "3",
        "label": "scan",
        "display": "A scan",
        "share": 0.8,
        "distance": 1.5,
        "limit": 2.0,
        "sure": True,
    }
    content = json.loads(to_json(richer))
    assert (json.loads(row["gate"]), content["gate"]) == (gate, gate)
    assert content["quality"] == [{"check": "turned", "fault": True, "value": 0.7, "limit": 0.5}]


def test_columns_hold_every_field_of_the_json(tmp_path: Path, shelf: Shelf) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    (reading,) = read([path], shelf)
    assert set(COLUMNS) == {*json.loads(to_json(reading)), "error", "message"}


def test_walk_files_passes_over_what_may_never_end(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "d.png").symlink_to(tmp_path / "nowhere.png")
    assert list(walk_files(tmp_path)) == [tmp_path / "a.png", tmp_path / "d.png"]
    assert list(walk_files(tmp_path / "b.png")) == [tmp_path / "b.png"]


def test_a_name_that_is_no_utf_8_can_be_written(tmp_path: Path, shelf: Shelf) -> None:
    file = tmp_path / os.fsdecode(b"a\xff.png")
    file.write_bytes(png())
    (reading,) = read([file], shelf)
    assert json.loads(to_json(reading).encode())["file"] == str(file)
    assert to_row(reading)[0].encode() == os.fsencode(tmp_path) + b"/a\\udcff.png"
