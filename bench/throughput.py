"""Compares the pictures a second of csss.inference, alone and in batches, with ONNX Runtime's own ceiling."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

from csss.imaging.phantom import phantom_chest
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import HEAD_FILE, MODEL_FILE, ModelCard, read_listed
from csss.inference.engines import ENGINES, Engine
from csss.inference.head import Head, read_head
from csss.inference.prediction import Prediction
from csss.inference.prepare import open_picture, prepare_grey
from csss.inference.shelf import Shelf
from csss.inference.tasks.classify import classify

BATCHES = (1, 2, 4, 8, 16)
THREADS = (1, 2)
SIZE_PX = 299
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Pictures a second, and CPU milliseconds a picture: the second does not depend on busy neighbours."""

    pictures_a_second: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Medians over the runs: the bare session, our engine, and our whole chain from decoded picture to prediction."""

    threads: int
    batch: int
    ceiling: Speed
    engine: Speed
    chain: Speed


def compare(asked: argparse.Namespace) -> dict[str, Sequence[Rate]]:
    """Run and print the table; returns its rows."""
    model = Shelf(asked.models).model(asked.model)
    network = read_listed(model.card, model.folder, MODEL_FILE)
    head = read_head(read_listed(model.card, model.folder, HEAD_FILE))
    pixels = phantom_chest(1, size=(SIZE_PX, SIZE_PX))
    volume = Volume(pixels=pixels[np.newaxis], kind=FileKind.PNG)
    print("\npictures a second (CPU ms a picture)")
    print("                           bare onnxruntime       csss engine     whole prediction   chain/ceiling   growth")
    rates = []
    for threads in THREADS:
        session = open_bare(network, threads)
        engine = ENGINES[model.card.engine](network, threads)
        for batch in BATCHES:
            rates.append(_measure(session, engine, model.card, head, [volume] * batch, threads, asked.runs))
            _print(rates[-1], rates[0])
    return {"throughput": rates}


def open_bare(network: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session with ONNX Runtime's own defaults but for the number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


class _Ready:
    """Hands `classify` feature maps that were computed already, as the batched engine of the shelf does."""

    def __init__(self, features: np.ndarray) -> None:
        self._features = features

    def run(self, _: np.ndarray) -> np.ndarray:
        return self._features


def read_batch(volumes: Sequence[Volume], card: ModelCard, head: Head, engine: Engine) -> list[Prediction]:
    """The prediction for each volume, with one run of the network for all of them; no gate is asked.

    `classify` prepares its picture a second time here: a little more work than a server has.
    """
    pictures = [open_picture(volume) for volume in volumes]
    features = engine.run(np.concatenate([prepare_grey(picture.grey, card.input) for picture in pictures]))
    return [
        classify(picture, card, head, _Ready(part[np.newaxis]))
        for picture, part in zip(pictures, features, strict=True)
    ]


def _measure(
    session: onnxruntime.InferenceSession,
    engine: Engine,
    card: ModelCard,
    head: Head,
    volumes: Sequence[Volume],
    threads: int,
    runs: int,
) -> Rate:
    random = np.random.default_rng(1)
    shape = (len(volumes), card.input.channels, card.input.height_px, card.input.width_px)
    batch = random.normal(size=shape).astype(np.float32)
    name = session.get_inputs()[0].name
    calls: Mapping[str, Callable[[], object]] = {
        "ceiling": lambda: session.run(None, {name: batch}),
        "engine": lambda: engine.run(batch),
        "chain": lambda: read_batch(volumes, card, head, engine),
    }
    speeds: dict[str, list[Speed]] = {key: [] for key in calls}
    for _ in range(runs):
        for key, call in calls.items():
            speeds[key].append(_time_calls(call, len(volumes)))
    return Rate(threads, len(volumes), **{key: _median(found) for key, found in speeds.items()})


def _time_calls(call: Callable[[], object], pictures: int) -> Speed:
    call()
    calls, started, cpu = 0, time.perf_counter(), time.process_time()
    while calls == 0 or time.perf_counter() - started < _SECONDS:
        call()
        calls += 1
    shown = calls * pictures
    return Speed(shown / (time.perf_counter() - started), 1000.0 * (time.process_time() - cpu) / shown)


def _median(speeds: Sequence[Speed]) -> Speed:
    return Speed(
        statistics.median(speed.pictures_a_second for speed in speeds),
        statistics.median(speed.cpu_ms for speed in speeds),
    )


def _print(rate: Rate, first: Rate) -> None:
    cells = "".join(
        f"{speed.pictures_a_second:>11.0f} ({speed.cpu_ms:.1f})" for speed in (rate.ceiling, rate.engine, rate.chain)
    )
    share = rate.chain.pictures_a_second / rate.ceiling.pictures_a_second
    growth = rate.chain.pictures_a_second / first.chain.pictures_a_second
    print(f"threads {rate.threads}, batch {rate.batch:>2}: {cells}   {share:>10.2f} {growth:>11.2f}")
