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
from csss.inference.explain import grad_cam, name_regions
from csss.inference.head import Head, read_head
from csss.inference.prepare import prepare
from csss.inference.shelf import Shelf
from csss.inference.tasks.classify import judge, soften

BATCHES = (1, 4, 16, 64)
THREADS = (1, 2)
SIZE_PX = 299
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Pictures a second, medians over the runs: the bare session, our engine, and our whole chain."""

    threads: int
    batch: int
    ceiling: float
    engine: float
    chain: float


def compare(asked: argparse.Namespace) -> dict[str, Sequence[Rate]]:
    """Run and print the table; returns its rows."""
    model = Shelf(asked.models).model(asked.model)
    network = read_listed(model.card, model.folder, MODEL_FILE)
    head = read_head(read_listed(model.card, model.folder, HEAD_FILE))
    pixels = phantom_chest(1, size=(SIZE_PX, SIZE_PX))
    volume = Volume(pixels=pixels[np.newaxis], kind=FileKind.PNG)
    print("\npictures a second: bare onnxruntime | csss engine | csss prepare + engine + head + heat map")
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


def read_batch(volumes: Sequence[Volume], card: ModelCard, head: Head, engine: Engine) -> list[object]:
    """All that `classify` computes for each volume, with one run of the network for all of them."""
    features = engine.run(np.concatenate([prepare(volume, card.input) for volume in volumes]))
    return [_read_features(part, card, head) for part in features]


def _read_features(features: np.ndarray, card: ModelCard, head: Head) -> object:
    pooled = features.mean(axis=(1, 2))
    hidden, logits = head.logits(pooled)
    shares = soften(logits, card.calibration.temperature)
    distance = head.distance(pooled)
    verdict = judge(shares, len(card.labels), card.threshold.tau, distance, card.ood.limit)
    heat = grad_cam(features, hidden, head, verdict.top_index)
    return verdict, heat, name_regions(heat)


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
    shape = (len(volumes), 3, card.input.height_px, card.input.width_px)
    batch = random.normal(size=shape).astype(np.float32)
    name = session.get_inputs()[0].name
    calls: Mapping[str, Callable[[], object]] = {
        "ceiling": lambda: session.run(None, {name: batch}),
        "engine": lambda: engine.run(batch),
        "chain": lambda: read_batch(volumes, card, head, engine),
    }
    rates: dict[str, list[float]] = {key: [] for key in calls}
    for _ in range(runs):
        for key, call in calls.items():
            rates[key].append(len(volumes) * _calls_a_second(call))
    medians = {key: statistics.median(values) for key, values in rates.items()}
    return Rate(threads, len(volumes), **medians)


def _calls_a_second(call: Callable[[], object]) -> float:
    call()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < _SECONDS:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


def _print(rate: Rate, first: Rate) -> None:
    growth = rate.chain / first.chain
    print(
        f"threads {rate.threads}, batch {rate.batch:>2}: {rate.ceiling:>7.0f} | {rate.engine:>7.0f} | "
        f"{rate.chain:>7.0f}   chain/ceiling {rate.chain / rate.ceiling:.2f}, growth {growth:.2f}"
    )
