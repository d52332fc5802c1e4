"""The card: read strictly, sealed, and bound to the very files beside it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_model import NEED, make_folder, make_gate_folder, with_threshold

from csss.inference.card import Calibration, CardError, Conformal, FileHash, Risk, load_card, seal_of, write_card


def refusal(folder: Path) -> str:
    with pytest.raises(CardError) as caught:
        load_card(folder)
    return caught.value.code


def seal(content: dict) -> bytes:
    def spell(value: dict) -> bytes:
        return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()

    content.pop("seal", None)
    return spell({**content, "seal": hashlib.sha256(spell(content)).hexdigest()})


def test_card_reads_back_as_written(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    card = load_card(folder)
    write_card(card, folder)
    assert load_card(folder) == card
    assert (card.name, card.threshold.tau, card.label("wave").risk) == ("tiny", 0.75, Risk.HIGH)
    assert card.label("Uncertain") is None


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "head.npz", "golden.npz"])
def test_card_notices_a_flipped_bit_anywhere(tmp_path: Path, name: str) -> None:
    path = make_folder(tmp_path) / name
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        code = refusal(path.parent)
        allowed = {"card-altered", "card-unreadable", "card-invalid"} if name == "card.json" else {"file-altered"}
        assert code in allowed | ({"threshold-stale", "file-altered", "file-missing"} if name == "card.json" else set())


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("colour", "red", "colour"),
        ("threshold.tau", 0.49, "threshold.tau"),
        ("threshold.tau", 1.0, "threshold.tau"),
        ("threshold.tau", "0.75", "threshold.tau"),
        ("threshold.tau", None, "threshold.tau"),
        ("threshold.note", "more", "threshold.note"),
        ("version", 1, "version"),
        ("version", "../2", "version"),
        ("phantom_trained", "no", "phantom_trained"),
        ("labels", [], "labels"),
        ("intended_use", "", "intended_use"),
        ("calibration.temperature", 0.0, "calibration.temperature"),
        ("input.std", [0.2, 0.2], "input"),
        ("input.mean", [0.2], "input"),
        ("input.colour", "grey", "input"),
        ("input.std", [0.2, 0.0, 0.2], "input.std"),
        ("risk.floor_when_uncertain", "low", "risk.floor_when_uncertain"),
        ("labels.0.risk", "none", "labels.0.risk"),
        ("files.0.name", "../model.onnx", "files.0.name"),
        ("task", "segment", "task"),
        ("purpose", "everybody", "purpose"),
        ("quality", "brain", "quality"),
        ("calibration.method", "isotonic", "calibration.method"),
        ("calibration.scale", [1.0, 0.0, 1.0], "calibration.scale.1"),
        (
            "conformal",
            {"coverage": 0.5, "at_least": [], "fitted_on": "x", "two_are_uncertain": True},
            "conformal.coverage",
        ),
        (
            "gate",
            {"model": "../x", "seal": "0" * 64, "accepts": ["y"], "phantoms": [], "turned": [], "inverted": []},
            "gate.model",
        ),
        (
            "gate",
            {"model": "x", "seal": "0" * 64, "accepts": [], "phantoms": [], "turned": [], "inverted": []},
            "gate.accepts",
        ),
        ("gate", {"model": "x", "accepts": ["y"], "phantoms": [], "turned": [], "inverted": []}, "gate.seal"),
    ],
)
def test_card_refuses_a_wrong_value_even_when_sealed(tmp_path: Path, path: str, value: object, place: str) -> None:
    folder = make_folder(tmp_path)
    content = json.loads((folder / "card.json").read_bytes())
    *parents, last = path.split(".")
    node = content
    for name in parents:
        node = node[int(name) if name.isdigit() else name]
    node[last] = value
    (folder / "card.json").write_bytes(seal(content))
    with pytest.raises(CardError, match=rf"^The card is wrong at {place}: ") as caught:
        load_card(folder)
    assert caught.value.code == "card-invalid"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ['"tau": 0.75', '"limit": 100.0', '"test_ece": 0.5'])
def test_card_refuses_what_is_no_number(tmp_path: Path, field: str, number: str) -> None:
    folder = make_folder(tmp_path)
    text = (folder / "card.json").read_text()
    assert text.count(field) == 1
    (folder / "card.json").write_text(text.replace(field, f"{field.split(':')[0]}: {number}"))
    assert refusal(folder) == "card-invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"for_model_version": "2"},
        {"for_model_sha256": "a" * 64},
        {"for_head_sha256": "a" * 64},
    ],
)
def test_card_refuses_a_threshold_of_other_weights(tmp_path: Path, changes: dict) -> None:
    folder = make_folder(tmp_path)
    write_card(with_threshold(load_card(folder), **changes), folder)
    assert refusal(folder) == "threshold-stale"


def test_card_refuses_equal_labels(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    card = load_card(folder)
    write_card(replace(card, labels=(card.labels[0], card.labels[0], card.labels[2])), folder)
    assert refusal(folder) == "label-duplicate"


def test_card_refuses_a_label_called_uncertain(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    card = load_card(folder)
    named = replace(card.labels[0], name="Uncertain")
    write_card(replace(card, labels=(named, *card.labels[1:])), folder)
    assert refusal(folder) == "label-duplicate"


@pytest.mark.parametrize("name", ["model.onnx", "head.npz", "golden.npz"])
def test_card_must_list_what_is_served(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path)
    card = load_card(folder)
    write_card(replace(card, files=tuple(file for file in card.files if file.name != name)), folder)
    assert refusal(folder) == "file-unlisted"


def test_card_notices_a_listed_file_that_is_missing(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    card = load_card(folder)
    write_card(replace(card, files=(*card.files, FileHash("METRICS.md", "0" * 64))), folder)
    assert refusal(folder) == "file-missing"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "card-unreadable"),
        (b"{", "card-unreadable"),
        (b"\xff\xfe", "card-unreadable"),
        (b"[" * 100_000, "card-unreadable"),
        (b"[]", "card-invalid"),
        (b"{}", "card-invalid"),
        (b'{"seal": "x"}', "card-invalid"),
    ],
)
def test_card_refuses_foreign_content(tmp_path: Path, data: bytes, code: str) -> None:
    (tmp_path / "card.json").write_bytes(data)
    assert refusal(tmp_path) == code


def test_card_missing_is_said(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "card-missing"


def kept_as(folder: Path, **changes: object) -> Path:
    write_card(replace(load_card(folder), **changes), folder)
    return folder


@pytest.mark.parametrize(
    ("method", "scale", "bias", "sound"),
    [
        ("vector", (1.0, 2.0, 0.5), (0.0, -1.0, 1.0), True),
        ("vector", (1.0, 2.0), (0.0, -1.0, 1.0), False),
        ("vector", (1.0, 2.0, 0.5), (0.0, -1.0), False),
        ("vector", (1.0, 2.0, 0.5, 1.0), (0.0, -1.0, 1.0, 0.0), False),
        ("vector", (), (), False),
        ("temperature", (), (), True),
        ("temperature", (1.0, 2.0, 0.5), (0.0, -1.0, 1.0), False),
        ("identity", (), (), True),
        ("identity", (), (0.0, -1.0, 1.0), False),
    ],
)
def test_card_wants_a_scale_and_a_bias_for_each_label_of_vector_scaling(
    tmp_path: Path, method: str, scale: tuple, bias: tuple, sound: bool
) -> None:
    folder = kept_as(make_folder(tmp_path), calibration=Calibration(method, 1.0, scale, bias, "x"))
    if sound:
        assert load_card(folder).calibration.scale == scale
        return
    with pytest.raises(CardError, match=r"^The card is wrong at calibration: another number of labels") as caught:
        load_card(folder)
    assert caught.value.code == "card-invalid"


@pytest.mark.parametrize("limits", [(0.1, 0.2), (0.1, 0.2, 0.3, 0.4), ()])
def test_card_wants_a_conformal_limit_for_each_label(tmp_path: Path, limits: tuple[float, ...]) -> None:
    folder = kept_as(make_folder(tmp_path), conformal=Conformal(0.9, (0.1, 0.2, 0.3), "x", True))
    assert load_card(folder).conformal == Conformal(0.9, (0.1, 0.2, 0.3), "x", True)
    kept_as(folder, conformal=Conformal(0.9, limits, "x", True))
    with pytest.raises(CardError, match=r"^The card is wrong at conformal: another number of labels") as caught:
        load_card(folder)
    assert caught.value.code == "card-invalid"


def test_card_holds_its_maps_against_a_label_of_its_own(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    plain = load_card(folder)
    assert (plain.explanation.against, b"against" in (folder / "card.json").read_bytes()) == (None, False)
    kept_as(folder, explanation=replace(plain.explanation, against="calm"))
    card = load_card(folder)
    assert (card.index_of(card.explanation.against), card.index_of("Uncertain"), card.index_of(None)) == (0, None, None)
    assert seal_of(card) != seal_of(plain)
    kept_as(folder, explanation=replace(plain.explanation, against="rain"))
    with pytest.raises(CardError, match=r"^The card is wrong at explanation.against: no label of its own") as caught:
        load_card(folder)
    assert caught.value.code == "card-invalid"


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (Calibration("temperature", 0.8634, (), (), "the validation split"),
         "Temperature 0.863, fitted on the validation split."),
        (Calibration("vector", 1.5, (1.0, 2.0), (0.0, 0.5), "some"),
         "Temperature 1.5 with a scale and a bias for each label, fitted on some."),
        (Calibration("identity", 1.0, (), (), "not calibrated"), "None: not calibrated."),
    ],
)  # fmt: skip
def test_calibration_is_said_in_words(calibration: Calibration, words: str) -> None:
    assert calibration.words == words


def test_card_of_a_gate_names_no_gate(tmp_path: Path) -> None:
    folder = make_gate_folder(tmp_path)
    assert load_card(folder).gate is None
    kept_as(folder, gate=NEED)
    with pytest.raises(CardError, match=r"^The card is wrong at gate: a gate stands behind no other") as caught:
        load_card(folder)
    assert caught.value.code == "card-invalid"


def test_seal_changes_with_every_file_and_every_word_of_the_card(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    card = load_card(folder)
    others = [replace(card, intended_use="Other words."), replace(card, files=card.files[:-1])]
    others.append(with_threshold(card, tau=0.8))
    assert json.loads((folder / "card.json").read_bytes())["seal"] == seal_of(card)
    assert len({seal_of(other) for other in (card, *others)}) == 4
