"""The choice of engines, and OpenVINO: it computes the same network from the same file."""

import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tiny_model import SIDE, make_folder, make_network, make_volume

from csss.inference.card import CardError
from csss.inference.engines import ENGINES, EngineChoice, count_lanes
from csss.inference.engines.base import MAX_LANES
from csss.inference.packaged import packaged_models
from csss.inference.prediction import InferenceRefused
from csss.inference.shelf import Shelf, ShelfProblem

OPENVINO = EngineChoice("openvino")


@pytest.fixture
def openvino() -> None:
    if importlib.util.find_spec("openvino") is None:  # importing it here would report that to its maker
        pytest.skip("OpenVINO is not installed")


@pytest.mark.parametrize(("processors", "threads", "lanes"), [(1, 1, 1), (2, 1, 2), (2, 2, 1), (4, 3, 1), (2, 4, 1)])
def test_lanes_share_the_processors_out(
    monkeypatch: pytest.MonkeyPatch, processors: int, threads: int, lanes: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)), raising=False)
    assert count_lanes(threads) == lanes


def test_lanes_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(96)), raising=False)
    assert count_lanes(1) == MAX_LANES


def test_choice_takes_onnx_by_default(tmp_path: Path) -> None:
    card = Shelf(make_folder(tmp_path).parents[1]).model("tiny").card
    engine = EngineChoice().open(card, make_network(), 1)
    assert type(engine).__name__ == "OnnxEngine"


def test_choice_refuses_an_engine_that_does_not_exist(tmp_path: Path) -> None:
    make_folder(tmp_path)
    assert Shelf(tmp_path, engines=EngineChoice("abacus")).take_off_failing() == (
        ShelfProblem("tiny/1", "engine-unknown", "There is no engine abacus; there are onnx, openvino."),
    )


def test_shelf_tells_of_a_remote_model_that_it_does_not_have(tmp_path: Path) -> None:
    make_folder(tmp_path)
    shelf = Shelf(tmp_path, engines=EngineChoice.of("onnx", {"tinny": "http://127.0.0.1:9"}, {}))
    assert [(problem.folder, problem.code) for problem in shelf.take_off_failing()] == [("tinny", "remote-unknown")]
    assert [model.card.name for model in shelf.models] == ["tiny"]


def test_choosing_engines_loads_neither_openvino_nor_an_http_client() -> None:
    script = "import sys, csss.inference.shelf; print(sorted({'openvino', 'httpx', 'ssl'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


SPEAKS = """
import sys
events = []
watched = ("socket.", "urllib.", "http.", "subprocess.", "os.fork", "os.posix_spawn")
sys.addaudithook(lambda event, _: events.append(event) if event.startswith(watched) else None)
from csss.inference.engines.openvino import open_openvino
open_openvino(sys.stdin.buffer.read(), 1)
print(events, sys.modules["openvino_telemetry"])
"""


@pytest.mark.usefixtures("openvino")
def test_openvino_reports_to_nobody() -> None:
    told = subprocess.run([sys.executable, "-c", SPEAKS], input=make_network(), capture_output=True, check=True)
    assert told.stdout.decode().strip() == "[] None"


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pictures", [1, 3])
def test_openvino_computes_what_onnx_computes(threads: int, pictures: int) -> None:
    batch = np.random.default_rng(7).normal(size=(pictures, 3, SIDE, SIDE)).astype(np.float32)
    wanted = ENGINES["onnx"](make_network(5), threads).run(batch)
    np.testing.assert_allclose(ENGINES["openvino"](make_network(5), threads).run(batch), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("openvino")
def test_openvino_leaves_old_answers_alone() -> None:
    engine = ENGINES["openvino"](make_network(5), 1)
    first = engine.run(np.full((1, 3, SIDE, SIDE), 1.0, np.float32))
    before = first.copy()
    engine.run(np.full((1, 3, SIDE, SIDE), 9.0, np.float32))
    np.testing.assert_array_equal(first, before)


@pytest.mark.usefixtures("openvino")
def test_openvino_answers_several_threads_at_once() -> None:
    engine = ENGINES["openvino"](make_network(5), 1)
    batches = [np.full((1, 3, SIDE, SIDE), value, np.float32) for value in (0.5, 1.0, 2.0, 4.0)]
    wanted = [ENGINES["onnx"](make_network(5), 1).run(batch) for batch in batches]
    answers: dict[int, list[np.ndarray]] = {index: [] for index in range(4)}

    def ask(index: int) -> None:
        for _ in range(20):
            answers[index].append(engine.run(batches[index]))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, got in answers.items():
        for features in got:
            np.testing.assert_allclose(features, wanted[index], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("shape", [(1, 1, SIDE, SIDE), (1, 3, 8, 8), (3, SIDE, SIDE)])
def test_openvino_refuses_a_picture_of_another_shape(shape: tuple[int, ...]) -> None:
    engine = ENGINES["openvino"](make_network(), 1)
    with pytest.raises(InferenceRefused) as caught:
        engine.run(np.zeros(shape, np.float32))
    assert caught.value.code == "model-run-failed"
    assert engine.run(np.zeros((1, 3, SIDE, SIDE), np.float32)).shape == (1, 6, 4, 4)


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(
    "model", [b"", b"no network", make_network()[:-40], make_network().replace(b"features", b"sensibly")]
)
def test_openvino_refuses_bytes_that_are_no_such_network(model: bytes) -> None:
    with pytest.raises(CardError) as caught:
        ENGINES["openvino"](model, 1)
    assert caught.value.code == "model-unreadable"


def test_openvino_that_is_not_installed_takes_the_model_off_the_shelf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    message = "The engine openvino is not installed here; install csss with the extra openvino."
    assert Shelf(tmp_path, engines=OPENVINO).take_off_failing() == (ShelfProblem("tiny/1", "engine-missing", message),)


@pytest.mark.usefixtures("openvino")
def test_openvino_replays_golden_cases_and_notices_other_weights(tmp_path: Path) -> None:
    make_folder(tmp_path)
    make_folder(tmp_path, name="swapped", network=make_network(99))
    shelf = Shelf(tmp_path, engines=OPENVINO)
    assert [(problem.folder, problem.code) for problem in shelf.take_off_failing()] == [("swapped/1", "golden-differs")]
    wanted = Shelf(tmp_path).model("tiny").predict(make_volume(8))
    got = shelf.model("tiny").predict(make_volume(8))
    assert dict(got.probabilities) == pytest.approx(dict(wanted.probabilities), abs=1e-5)


@pytest.mark.usefixtures("openvino")
def test_openvino_replays_the_golden_cases_of_the_shipped_models() -> None:
    shelf = Shelf(packaged_models(), engines=OPENVINO)
    assert (shelf.models != (), shelf.take_off_failing()) == (True, ())
