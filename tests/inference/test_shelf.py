"""The shelf: which models are served, which fit, and what is said about the others."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import (
    GATE_GREYS,
    make_card,
    make_folder,
    make_gate_folder,
    make_head,
    make_network,
    make_volume,
    need_of,
    rework,
)

from csss.foundation.errors import NotFound
from csss.inference.card import CardError, load_card, write_card
from csss.inference.engines import ENGINES
from csss.inference.golden import read_golden, write_golden
from csss.inference.shelf import Shelf, ShelfProblem


def test_shelf_serves_a_sound_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    shelf = Shelf(tmp_path)
    assert [model.folder for model in shelf.models] == [folder]
    assert shelf.problems == ()
    assert shelf.replay_golden() == ()
    prediction = shelf.model("tiny").predict(make_volume())
    golden = read_golden((folder / "golden.npz").read_bytes())
    np.testing.assert_allclose([p for _, p in prediction.probabilities], golden.probabilities, atol=1e-6)


def test_shelf_without_a_folder_is_empty(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "none")
    assert (shelf.models, shelf.problems, shelf.fitting("DX", "CHEST")) == ((), (), [])


def test_shelf_never_serves_a_bad_folder_and_says_why(tmp_path: Path) -> None:
    bad = make_folder(tmp_path, name="bad")
    make_folder(tmp_path, name="good")
    (bad / "model.onnx").write_bytes(b"other")
    shelf = Shelf(tmp_path)
    assert [model.card.name for model in shelf.models] == ["good"]
    message = "model.onnx is not the file that the card describes."
    assert shelf.problems == (ShelfProblem("bad/1", "file-altered", message),)
    with pytest.raises(NotFound) as caught:
        shelf.model("bad")
    assert caught.value.code == "model-unknown"


def test_shelf_names_a_folder_without_a_card_and_passes_over_hidden_ones(tmp_path: Path) -> None:
    for name in ("tiny/1", "tiny/.cache"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".gitkeep").touch()
    assert Shelf(tmp_path).problems == (ShelfProblem("tiny/1", "card-missing", "1 holds no card.json."),)


def test_shelf_refuses_a_folder_named_after_another_model(tmp_path: Path) -> None:
    make_folder(tmp_path, name="tiny").parent.rename(tmp_path / "other")
    shelf = Shelf(tmp_path)
    assert shelf.models == ()
    assert [(problem.folder, problem.code) for problem in shelf.problems] == [("other/1", "card-misplaced")]


@pytest.mark.parametrize(
    ("modality", "body_part", "fits"),
    [
        ("DX", "CHEST", True),
        ("cr", "chest ", True),
        ("DX", None, True),
        (None, None, True),
        ("", "", True),
        ("CT", "CHEST", False),
        ("MR", None, False),
        ("DX", "HAND", False),
    ],
)
def test_shelf_fitting_follows_the_card(
    tmp_path: Path, modality: str | None, body_part: str | None, fits: bool
) -> None:
    make_folder(tmp_path)
    found = [model.card.name for model in Shelf(tmp_path).fitting(modality, body_part)]
    assert found == (["tiny"] if fits else [])


def test_shelf_fitting_refuses_the_unstated_where_the_card_does_not_list_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    write_card(replace(load_card(folder), modalities=("DX",)), folder)
    assert Shelf(tmp_path).fitting(None, "CHEST") == []


def test_shelf_prefers_the_newest_version_by_number(tmp_path: Path) -> None:
    for version in ("2", "10", "9.1"):
        make_folder(tmp_path, version=version)
    shelf = Shelf(tmp_path)
    assert shelf.model("tiny").card.version == "10"
    assert shelf.model("tiny", "9.1").card.version == "9.1"
    assert [model.card.version for model in shelf.fitting("DX", "CHEST")] == ["10"]
    with pytest.raises(NotFound) as caught:
        shelf.model("tiny", "3")
    assert caught.value.code == "model-unknown"


def test_shelf_opens_a_network_once_for_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path)
    opened: list[int] = []
    real = ENGINES["onnx"]

    def count(data: bytes, threads: int) -> object:
        opened.append(threads)
        return real(data, threads)

    monkeypatch.setitem(ENGINES, "onnx", count)
    model = Shelf(tmp_path, threads=2).model("tiny")
    assert opened == []
    labels: list[str] = []
    threads = [threading.Thread(target=lambda: labels.append(model.predict(make_volume()).top_label)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [2]
    assert (len(labels), len(set(labels))) == (6, 1)


@pytest.mark.parametrize("name", ["model.onnx", "head.npz"])
def test_shelf_notices_a_file_changed_after_the_card_was_read(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path)
    model = Shelf(tmp_path).model("tiny")
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(CardError) as caught:
        model.predict(make_volume())
    assert caught.value.code == "file-altered"


def test_shelf_replay_notices_other_weights_behind_the_same_golden_case(tmp_path: Path) -> None:
    make_folder(tmp_path, network=make_network(99))
    assert [problem.code for problem in Shelf(tmp_path).replay_golden()] == ["golden-differs"]


def test_shelf_replay_notices_weights_that_give_no_number(tmp_path: Path) -> None:
    make_folder(tmp_path, network=make_network(filler=float("nan")))
    assert [problem.code for problem in Shelf(tmp_path).replay_golden()] == ["golden-differs"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"label": "other"}, "golden-differs"),
        ({"labels": ("a", "b", "c")}, "golden-differs"),
        ({"heat": np.zeros((4, 4), np.float32)}, "golden-differs"),
        ({"heat": np.zeros((0, 0), np.float32)}, "golden-differs"),
        ({"probabilities": np.full(3, 1 / 3)}, "golden-differs"),
        ({"pixels": np.zeros((4, 0), np.uint8)}, "golden-unreadable"),
        ({"pixels": np.zeros((4, 4), np.int64)}, "golden-unreadable"),
    ],
)
def test_shelf_replay_compares_every_part_of_the_golden_case(tmp_path: Path, change: dict, code: str) -> None:
    folder = make_folder(tmp_path)
    golden = read_golden((folder / "golden.npz").read_bytes())
    data = write_golden(replace(golden, **change))
    (folder / "golden.npz").write_bytes(data)
    parts = ((folder / "model.onnx").read_bytes(), (folder / "head.npz").read_bytes())
    write_card(make_card(*parts, data), folder)
    assert [problem.code for problem in Shelf(tmp_path).replay_golden()] == [code]


def test_shelf_refuses_a_head_with_another_number_of_labels(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    card = load_card(folder)
    write_card(replace(card, labels=card.labels[:2]), folder)
    with pytest.raises(CardError) as caught:
        Shelf(tmp_path).model("tiny").predict(make_volume())
    assert caught.value.code == "head-invalid"
    assert make_head().label_count == 3


def test_shelf_takes_off_a_model_that_fails_its_golden_case(tmp_path: Path) -> None:
    make_folder(tmp_path, name="sound")
    make_folder(tmp_path, name="other", network=make_network(weight_seed=9))
    shelf = Shelf(tmp_path)
    assert [model.card.name for model in shelf.models] == ["other", "sound"]
    assert [(problem.folder, problem.code) for problem in shelf.take_off_failing()] == [("other/1", "golden-differs")]
    assert [model.card.name for model in shelf.fitting("DX", "CHEST")] == ["sound"]
    assert shelf.replay_golden() == shelf.problems


def make_gated(root: Path, **need: object) -> Path:
    """A model behind the gate that stands on the same shelf already."""
    folder = rework(make_folder(root), gate=need_of(root))
    if need:
        write_card(replace(load_card(folder), gate=replace(need_of(root), **need)), folder)
    return folder


def troubles(shelf: Shelf) -> list[tuple[str, str]]:
    return [(problem.folder, problem.code) for problem in shelf.problems]


def test_shelf_serves_a_model_with_its_gate(tmp_path: Path) -> None:
    make_gate_folder(tmp_path)
    make_gated(tmp_path)
    shelf = Shelf(tmp_path)
    assert (shelf.problems, shelf.replay_golden()) == ((), ())
    assert shelf.model("tiny").gate is shelf.model("input-gate")
    assert shelf.model("input-gate").gate is None
    assert [model.card.name for model in shelf.fitting("DX", "CHEST")] == ["tiny"]


def test_shelf_never_fits_a_gate_to_a_picture(tmp_path: Path) -> None:
    make_gate_folder(tmp_path)
    shelf = Shelf(tmp_path)
    assert [model.card.name for model in shelf.models] == ["input-gate"]
    assert shelf.fitting(None, None) == []


@pytest.mark.parametrize(("purpose", "fits"), [("patients", ["tiny"]), ("comparison", [])])
def test_shelf_never_fits_a_model_kept_for_comparison(tmp_path: Path, purpose: str, fits: list[str]) -> None:
    folder = make_folder(tmp_path)
    write_card(replace(load_card(folder), purpose=purpose), folder)
    shelf = Shelf(tmp_path)
    assert shelf.model("tiny").card.purpose == purpose
    assert [model.card.name for model in shelf.fitting("DX", "CHEST")] == fits


def test_shelf_fits_an_older_version_for_patients_behind_a_newer_one_for_comparison(tmp_path: Path) -> None:
    make_folder(tmp_path, version="1")
    newer = make_folder(tmp_path, version="2")
    write_card(replace(load_card(newer), purpose="comparison"), newer)
    assert [model.card.version for model in Shelf(tmp_path).fitting("DX", "CHEST")] == ["1"]


def test_shelf_never_serves_a_model_without_its_gate(tmp_path: Path) -> None:
    gate = make_gate_folder(tmp_path)
    folder = make_gated(tmp_path)
    make_folder(tmp_path, name="ungated")
    (gate / "model.onnx").write_bytes(b"other")
    shelf = Shelf(tmp_path)
    assert [model.card.name for model in shelf.models] == ["ungated"]
    assert troubles(shelf) == [("input-gate/1", "file-altered"), ("tiny/1", "gate-missing")]
    with pytest.raises(NotFound) as caught:
        shelf.model("tiny")
    assert caught.value.code == "model-unknown"
    need = load_card(folder).gate
    assert need is not None
    assert need.model == "input-gate"


def test_shelf_takes_no_classifier_for_a_gate(tmp_path: Path) -> None:
    make_gate_folder(tmp_path)
    make_gated(tmp_path, model="other")
    make_folder(tmp_path, name="other")
    shelf = Shelf(tmp_path)
    assert troubles(shelf) == [("tiny/1", "gate-missing")]
    assert shelf.problems[0].message == "tiny is never asked without the gate other."


@pytest.mark.parametrize("part", ["accepts", "phantoms", "turned", "inverted"])
def test_shelf_refuses_a_gate_that_does_not_know_a_label(tmp_path: Path, part: str) -> None:
    make_gate_folder(tmp_path)
    make_gated(tmp_path, **{part: ("chest-xray", "echo")})
    shelf = Shelf(tmp_path)
    assert [model.card.name for model in shelf.models] == ["input-gate"]
    assert troubles(shelf) == [("tiny/1", "gate-mismatch")]
    assert shelf.problems[0].message == "The gate input-gate does not know echo."


def test_a_model_is_never_asked_without_its_gate(tmp_path: Path) -> None:
    make_gate_folder(tmp_path)
    make_gated(tmp_path)
    model = Shelf(tmp_path).model("tiny")
    model.gate = None
    with pytest.raises(CardError) as caught:
        model.predict(make_volume())
    assert caught.value.code == "gate-missing"


def test_shelf_asks_the_very_gate_that_a_model_was_measured_with(tmp_path: Path) -> None:
    make_gate_folder(tmp_path, version="1")
    make_gated(tmp_path)
    make_gate_folder(tmp_path, version="10", greys={**GATE_GREYS, "chest-xray": 100, "other": 150})
    make_gate_folder(tmp_path, version="0")
    shelf = Shelf(tmp_path)
    assert shelf.model("tiny").gate is shelf.model("input-gate", "1")


def test_shelf_refuses_another_gate_under_the_same_name_and_version(tmp_path: Path) -> None:
    """Its files and its card are whole, it knows every label, and yet it is not the one."""
    gate = make_gate_folder(tmp_path)
    make_gated(tmp_path)
    shutil.rmtree(gate)
    make_gate_folder(tmp_path, greys={**GATE_GREYS, "chest-xray": 140})
    shelf = Shelf(tmp_path)
    assert [model.card.name for model in shelf.models] == ["input-gate"]
    assert [(problem.folder, problem.code, problem.message) for problem in shelf.problems] == [
        ("tiny/1", "gate-mismatch", "tiny was measured with another input-gate than the one that stands here."),
    ]


def test_a_gate_that_fails_its_golden_case_takes_its_models_along(tmp_path: Path) -> None:
    gate = make_gate_folder(tmp_path)
    make_gated(tmp_path)
    make_folder(tmp_path, name="ungated")
    card, golden = load_card(gate), read_golden((gate / "golden.npz").read_bytes())
    (gate / "golden.npz").write_bytes(write_golden(replace(golden, label="other")))
    parts = [(gate / name).read_bytes() for name in ("model.onnx", "head.npz", "golden.npz")]
    write_card(replace(card, files=make_card(*parts).files), gate)
    folder = tmp_path / "tiny" / "1"
    write_card(replace(load_card(folder), gate=need_of(tmp_path)), folder)
    shelf = Shelf(tmp_path)
    assert shelf.problems == ()
    shelf.take_off_failing()
    assert troubles(shelf) == [("input-gate/1", "golden-differs"), ("tiny/1", "gate-missing")]
    assert [model.card.name for model in shelf.models] == ["ungated"]
    assert [model.card.name for model in shelf.fitting("DX", "CHEST")] == ["ungated"]


def test_the_golden_case_of_a_model_must_pass_its_gate(tmp_path: Path) -> None:
    make_gate_folder(tmp_path, version="1")
    make_gated(tmp_path)
    make_gate_folder(tmp_path, version="2", greys={**GATE_GREYS, "chest-xray": 200, "other": 127})
    folder = tmp_path / "tiny" / "1"
    write_card(replace(load_card(folder), gate=need_of(tmp_path, "2")), folder)
    problems = Shelf(tmp_path).replay_golden()
    assert [(problem.folder, problem.code) for problem in problems] == [("tiny/1", "golden-differs")]
    assert "The golden case is refused: The picture looks like" in problems[0].message


def test_opening_a_model_opens_its_gate(tmp_path: Path) -> None:
    gate = make_gate_folder(tmp_path)
    make_gated(tmp_path)
    model = Shelf(tmp_path).model("tiny")
    (gate / "head.npz").write_bytes(b"other")
    with pytest.raises(CardError, match=r"^head\.npz is not the file"):
        model.open()


def test_no_other_version_of_a_gate_steps_in(tmp_path: Path) -> None:
    gate = make_gate_folder(tmp_path, version="1")
    make_gated(tmp_path)
    make_gate_folder(tmp_path, version="2")
    (gate / "model.onnx").write_bytes(b"other")
    shelf = Shelf(tmp_path)
    assert [(model.card.name, model.card.version) for model in shelf.models] == [("input-gate", "2")]
    assert troubles(shelf) == [("input-gate/1", "file-altered"), ("tiny/1", "gate-mismatch")]


def test_shelf_takes_no_gate_that_is_kept_for_comparison(tmp_path: Path) -> None:
    make_gate_folder(tmp_path, version="1")
    make_gated(tmp_path)
    newer = make_gate_folder(tmp_path, version="2")
    write_card(replace(load_card(newer), purpose="comparison"), newer)
    folder = tmp_path / "tiny" / "1"
    write_card(replace(load_card(folder), gate=need_of(tmp_path, "2")), folder)
    assert troubles(Shelf(tmp_path)) == [("tiny/1", "gate-mismatch")]
