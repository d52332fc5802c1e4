"""Answers through the serving path itself: what is measured is what is served."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits
from csss.imaging.readers import READERS
from csss.imaging.sniff import HEAD_BYTES, FileKind, sniff
from csss.imaging.volume import Volume
from csss.inference.card import InputSpec
from csss.inference.head import Head
from csss.inference.prepare import choose_frame, prepare_grey
from csss.inference.shelf import Model
from training.archive import Sample, read_grey
from training.datasets.files import Files
from training.evidence import Answer

_COMPARED = 200

Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def answer_samples(
    model: Model, archive: Path, samples: tuple[Sample, ...], *, change: Change | None = None
) -> tuple[Answer, ...]:
    """One answer per sample, to its picture as it is or as ``change`` makes it."""
    answers = []
    with Files(archive) as pictures:
        for sample in samples:
            grey = read_grey(pictures, sample)
            answers.append(_ask(model, Volume(pixels=(change(grey) if change else grey)[None], kind=FileKind.JPEG)))
    return tuple(answers)


def answer_foreign(model: Model, archive: Path) -> tuple[tuple[str, Answer], ...]:
    """(folder, answer) of every picture of an archive that holds no chest X-ray."""
    answers = []
    with zipfile.ZipFile(archive) as pictures:
        for name in sorted(pictures.namelist()):
            data = pictures.read(name)
            try:
                volume = READERS[sniff(data[:HEAD_BYTES], name)](data, Limits())
            except CsssError:
                continue
            answers.append((name.split("/")[0], _ask(model, volume)))
    return tuple(answers)


def compare_logits(
    model: Model, backbone: nn.Module, shown: InputSpec, head: Head, archive: Path, samples: tuple[Sample, ...]
) -> float:
    """The largest difference of a logit between torch, ``shown`` pictures so, and the served network, over 200."""
    worst = 0.0
    with Files(archive) as pictures, torch.inference_mode():
        for sample in samples[:_COMPARED]:
            grey = read_grey(pictures, sample)
            frame = choose_frame(grey, shown)
            in_torch = backbone(torch.from_numpy(prepare_grey(grey, shown, frame))).numpy()
            served = model.features(prepare_grey(grey, model.card.input, frame))
            first, second = (head.logits(features[0].mean(axis=(1, 2)))[1] for features in (in_torch, served))
            worst = max(worst, float(np.abs(first - second).max()))
    return worst


def _ask(model: Model, volume: Volume) -> Answer:
    try:
        return Answer(model.predict(volume), None)
    except CsssError as error:
        return Answer(None, error.code)
