"""Predictions through the serving path itself: what is measured is what is served."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits
from csss.imaging.readers import READERS
from csss.imaging.sniff import HEAD_BYTES, FileKind, sniff
from csss.imaging.volume import Volume
from csss.inference.card import ModelCard
from csss.inference.engines import ENGINES
from csss.inference.head import Head
from csss.inference.prediction import Prediction
from csss.inference.prepare import prepare_grey
from csss.inference.tasks.classify import classify
from training.archive import Sample, read_grey
from training.mobilenetv2 import MobileNetV2

_COMPARED = 200


def predict_split(
    archive: Path,
    samples: tuple[Sample, ...],
    card: ModelCard,
    head: Head,
    model: bytes,
    *,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> tuple[Prediction, ...]:
    """One prediction per sample, of its picture as it is or as ``change`` makes it."""
    engine = ENGINES[card.engine](model, 2)
    predictions = []
    with zipfile.ZipFile(archive) as pictures:
        for sample in samples:
            grey = read_grey(pictures, sample)
            volume = Volume(pixels=(change(grey) if change else grey)[None], kind=FileKind.JPEG)
            predictions.append(classify(volume, card, head, engine))
    return tuple(predictions)


def predict_foreign(archive: Path, card: ModelCard, head: Head, model: bytes) -> tuple[tuple[str, Prediction], ...]:
    """(folder, prediction) of every picture of an archive that holds no chest X-ray."""
    engine = ENGINES[card.engine](model, 2)
    predictions = []
    with zipfile.ZipFile(archive) as pictures:
        for name in sorted(pictures.namelist()):
            data = pictures.read(name)
            try:
                volume = READERS[sniff(data[:HEAD_BYTES], name)](data, Limits())
            except CsssError:
                continue
            predictions.append((name.split("/")[0], classify(volume, card, head, engine)))
    return tuple(predictions)


def compare_logits(
    archive: Path, samples: tuple[Sample, ...], card: ModelCard, network: MobileNetV2, head: Head, model: bytes
) -> float:
    """The largest difference of a logit between torch and the exported model over 200 pictures."""
    engine = ENGINES["onnx"](model, 1)
    worst = 0.0
    with zipfile.ZipFile(archive) as pictures, torch.inference_mode():
        for sample in samples[:_COMPARED]:
            batch = prepare_grey(read_grey(pictures, sample), card.input)
            in_torch, served = network(torch.from_numpy(batch)).numpy(), engine.run(batch)
            first, second = (head.logits(features[0].mean(axis=(1, 2)))[1] for features in (in_torch, served))
            worst = max(worst, float(np.abs(first - second).max()))
    return worst
