"""The ONNX engine: it computes the network it was given, and refuses what is none."""

import threading

import numpy as np
import pytest
from tiny_model import SIDE, make_network

from csss.inference.card import CardError
from csss.inference.engines import ENGINES
from csss.inference.prediction import InferenceRefused


def by_hand(batch: np.ndarray, seed: int) -> np.ndarray:
    weights = np.random.default_rng(seed).normal(size=(6, 3)).astype(np.float32)
    pooled = batch.reshape(len(batch), 3, 4, 8, 4, 8).mean(axis=(3, 5))
    return np.maximum(np.einsum("kc,nchw->nkhw", weights, pooled), 0.0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pictures", [1, 3])
def test_onnx_engine_runs_the_network_on_any_number_of_pictures(threads: int, pictures: int) -> None:
    batch = np.random.default_rng(7).normal(size=(pictures, 3, SIDE, SIDE)).astype(np.float32)
    features = ENGINES["onnx"](make_network(5), threads).run(batch)
    np.testing.assert_allclose(features, by_hand(batch, 5), rtol=1e-4, atol=1e-5)


def test_onnx_engine_answers_several_threads_at_once() -> None:
    engine = ENGINES["onnx"](make_network(5), 1)
    batches = [np.full((1, 3, SIDE, SIDE), value, np.float32) for value in (0.5, 1.0, 2.0, 4.0)]
    answers: dict[int, np.ndarray] = {}

    def ask(index: int) -> None:
        for _ in range(20):
            answers[index] = engine.run(batches[index])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, batch in enumerate(batches):
        np.testing.assert_allclose(answers[index], by_hand(batch, 5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, SIDE, SIDE), (1, 3, 8, 8), (3, SIDE, SIDE)])
def test_onnx_engine_refuses_a_picture_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceRefused) as caught:
        ENGINES["onnx"](make_network(), 1).run(np.zeros(shape, np.float32))
    assert caught.value.code == "model-run-failed"


@pytest.mark.parametrize(
    "model", [b"", b"no network", make_network()[:-40], make_network().replace(b"features", b"sensibly")]
)
def test_onnx_engine_refuses_bytes_that_are_no_such_network(model: bytes) -> None:
    with pytest.raises(CardError) as caught:
        ENGINES["onnx"](model, 1)
    assert caught.value.code == "model-unreadable"
