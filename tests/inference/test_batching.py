"""Batched: who waits is run together, in order, with the results of running alone; failures stay with their cause."""

import threading
from collections.abc import Callable
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from tiny_model import SIDE, make_folder, make_network, make_volume

from csss.foundation.errors import CsssError
from csss.inference import shelf as shelf_module
from csss.inference.batching import Batched
from csss.inference.card import MODEL_FILE
from csss.inference.engines import ENGINES, Engine
from csss.inference.packaged import packaged_models
from csss.inference.prediction import InferenceRefused
from csss.inference.shelf import Shelf


class Gated:
    """An engine that tells what it is asked to run, and lets no run end before its gate is open."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray] = lambda batch: batch * 10) -> None:
        self.answer = answer
        self.runs: list[list[float]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.runs.append([float(picture.flat[0]) for picture in batch])
        self.started.release()
        self.gate.wait()
        return self.answer(batch)


class Watched(Batched):
    """Tells when a caller has lined up."""

    def __init__(self, engine: Engine, **options: int) -> None:
        super().__init__(engine, **options)
        self.lined_up = threading.Semaphore(0)

    def _wait(self, share) -> None:  # type: ignore[no-untyped-def]
        self.lined_up.release()
        super()._wait(share)


class Crowd:
    """Callers, each in a thread of its own, who line up one after the other while the first one's run is on."""

    def __init__(self, batched: Watched, engine: Gated) -> None:
        self.batched, self.engine = batched, engine
        self.outcomes: dict[float, np.ndarray | Exception] = {}
        self._threads: list[threading.Thread] = []

    def begin(self, value: float, *shape: int) -> None:
        thread = threading.Thread(target=self._ask, args=(value, shape or (1, 3)), daemon=True)
        self._threads.append(thread)
        thread.start()

    def first(self, value: float) -> None:
        self.begin(value)
        self.engine.started.acquire()

    def then(self, value: float, *shape: int) -> None:
        self.begin(value, *shape)
        self.batched.lined_up.acquire()

    def open_gate(self) -> None:
        self.engine.gate.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, value: float, shape: tuple[int, ...]) -> None:
        try:
            self.outcomes[value] = self.batched.run(np.full(shape, value, np.float32))
        except (CsssError, ValueError) as error:
            self.outcomes[value] = error

    def codes(self) -> dict[float, str | float]:
        """What everybody got: the first number of the features, or the code of the refusal."""
        return {
            value: getattr(outcome, "code", type(outcome).__name__)
            if isinstance(outcome, Exception)
            else float(outcome.flat[0])
            for value, outcome in sorted(self.outcomes.items())
        }


def gather(engine: Gated, *waiting: float, **options: int) -> Crowd:
    """A crowd in which 1 runs and the others wait, until the gate was opened."""
    crowd = Crowd(Watched(engine, **options), engine)
    crowd.first(1)
    for value in waiting:
        crowd.then(value)
    crowd.open_gate()
    return crowd


def test_batched_runs_what_waits_stacked_and_in_order() -> None:
    engine = Gated()
    crowd = gather(engine, 2, 3, 4)
    assert engine.runs == [[1], [2, 3, 4]]
    assert crowd.codes() == {1: 10, 2: 20, 3: 30, 4: 40}
    assert {outcome.shape for outcome in crowd.outcomes.values() if isinstance(outcome, np.ndarray)} == {(1, 3)}


def test_a_machine_that_failed_is_not_asked_again_by_those_who_waited() -> None:
    def answer(batch: np.ndarray) -> np.ndarray:
        if len(batch) > 1:
            raise InferenceRefused("The server does not answer.", code="remote-unreachable")
        return batch * 10

    engine = Gated(answer)
    crowd = gather(engine, 2, 3)
    assert engine.runs == [[1], [2, 3]]
    assert crowd.codes() == {1: 10, 2: "remote-unreachable", 3: "remote-unreachable"}


@pytest.mark.parametrize(("limit", "runs"), [(1, [[1], [2], [3], [4]]), (2, [[1], [2, 3], [4]]), (3, [[1], [2, 3, 4]])])
def test_batched_stacks_no_more_than_its_limit(limit: int, runs: list[list[float]]) -> None:
    engine = Gated()
    crowd = gather(engine, 2, 3, 4, limit=limit)
    assert (engine.runs, crowd.codes()) == (runs, {1: 10, 2: 20, 3: 30, 4: 40})


def test_batched_gives_everybody_as_many_pictures_as_they_brought() -> None:
    engine = Gated()
    crowd = Crowd(Watched(engine), engine)
    crowd.first(1)
    crowd.then(2, 3, 3)
    crowd.then(3, 2, 3)
    crowd.open_gate()
    assert engine.runs == [[1], [2, 2, 2, 3, 3]]
    assert [crowd.outcomes[value].tolist() for value in (2, 3)] == [[[20] * 3] * 3, [[30] * 3] * 2]


def test_batched_does_not_stack_what_does_not_fit() -> None:
    engine = Gated()
    crowd = Crowd(Watched(engine), engine)
    crowd.first(1)
    crowd.then(2)
    crowd.then(3, 1, 4)
    crowd.then(4)
    crowd.open_gate()
    assert (engine.runs, crowd.codes()) == ([[1], [2], [3], [4]], {1: 10, 2: 20, 3: 30, 4: 40})


def test_batched_lets_nobody_wait_while_a_lane_is_free() -> None:
    engine = Gated()
    crowd = Crowd(Watched(engine, lanes=2), engine)
    crowd.first(1)
    crowd.first(2)  # returns only when its run began, while the gate is closed
    crowd.then(3)
    assert engine.runs == [[1], [2]]
    crowd.open_gate()
    assert (engine.runs, crowd.codes()) == ([[1], [2], [3]], {1: 10, 2: 20, 3: 30})


def refuse_three(batch: np.ndarray) -> np.ndarray:
    if 3 in batch:
        raise InferenceRefused("no", code="three")
    return batch * 10


def test_batched_failure_reaches_only_whose_picture_it_is() -> None:
    engine = Gated(refuse_three)
    crowd = gather(engine, 2, 3, 4)
    assert engine.runs == [[1], [2, 3, 4], [2], [3], [4]]
    assert crowd.codes() == {1: 10, 2: 20, 3: "three", 4: 40}


def test_batched_repeats_alone_what_was_answered_in_another_number() -> None:
    engine = Gated(lambda batch: batch[:1] * 10)
    crowd = gather(engine, 2, 3)
    assert (engine.runs, crowd.codes()) == ([[1], [2, 3], [2], [3]], {1: 10, 2: 20, 3: 30})


def test_batched_lets_nobody_hang_when_an_engine_breaks_its_promise() -> None:
    def burst(batch: np.ndarray) -> np.ndarray:
        if len(batch) > 1:
            raise ValueError
        return batch * 10

    engine = Gated(burst)
    crowd = gather(engine, 2, 3, 4, limit=2)
    assert crowd.codes() == {1: 10, 2: "ValueError", 3: "model-run-failed", 4: 40}
    assert crowd.batched.run(np.full((1, 3), 5, np.float32)).tolist() == [[50, 50, 50]]


class Stopped:
    """An event whose waiter is stopped by ctrl-c."""

    def wait(self) -> None:
        raise KeyboardInterrupt


def test_batched_caller_who_is_stopped_leaves_the_line() -> None:
    engine = Gated()

    class Impatient(Watched):
        def _wait(self, share) -> None:  # type: ignore[no-untyped-def]
            if share.batch.flat[0] == 2:
                share.woken = Stopped()
            super()._wait(share)

    crowd = Crowd(Impatient(engine), engine)
    crowd.first(1)
    with pytest.raises(KeyboardInterrupt):
        crowd.batched.run(np.full((1, 3), 2, np.float32))
    crowd.batched.lined_up.acquire()
    crowd.then(3)
    crowd.open_gate()
    assert (engine.runs, crowd.codes()) == ([[1], [3]], {1: 10, 3: 30})


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("network", ["tiny", "shipped"])
def test_batched_onnx_answers_are_those_of_each_alone(network: str, threads: int) -> None:
    data, shape = make_network(5), (3, SIDE, SIDE)
    if network == "shipped":
        model = Shelf(packaged_models()).model("chest-mobilenetv2")
        spec = model.card.input
        data, shape = (model.folder / MODEL_FILE).read_bytes(), (spec.channels, spec.height_px, spec.width_px)
    alone = ENGINES["onnx"](data, threads)
    batches = np.random.default_rng(7).normal(size=(5, 1, *shape)).astype(np.float32)
    wanted = [alone.run(batch) for batch in batches]
    engine = Gated(alone.run)
    batched = Watched(engine)
    got: dict[int, np.ndarray] = {}

    def ask(index: int) -> None:
        got[index] = batched.run(batches[index])

    callers = [threading.Thread(target=ask, args=(index,), daemon=True) for index in range(5)]
    callers[0].start()
    engine.started.acquire()
    for caller in callers[1:]:
        caller.start()
        batched.lined_up.acquire()
    engine.gate.set()
    for caller in callers:
        caller.join()
    assert [len(run) for run in engine.runs] == [1, 4]
    for index, features in got.items():
        np.testing.assert_allclose(features, wanted[index], rtol=0, atol=1e-5)


def test_shelf_batches_the_predictions_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path)
    alone = Shelf(tmp_path).model("tiny")
    wanted = [alone.predict(make_volume(seed)) for seed in range(4)]
    engine = Gated(ENGINES["onnx"](make_network(), 1).run)
    monkeypatch.setitem(ENGINES, "onnx", lambda *_: engine)
    monkeypatch.setattr(shelf_module, "count_lanes", lambda _: 1)
    model = Shelf(tmp_path).model("tiny")
    got: dict[int, float | CsssError] = {}

    def ask(seed: int) -> None:
        got[seed] = model.predict(make_volume(seed)).confidence

    callers = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(4)]
    callers[0].start()
    engine.started.acquire()
    for caller in callers[1:]:
        caller.start()
    opened = model._opened
    assert opened is not None
    while len(opened.engine._waiting) < 3:  # type: ignore[attr-defined]
        sleep(0)
    engine.gate.set()
    for caller in callers:
        caller.join()
    assert [len(run) for run in engine.runs] == [1, 3]
    assert [got[seed] for seed in range(4)] == pytest.approx([p.confidence for p in wanted], abs=1e-5)
