"""Trials: each recipe fitted without three sources and measured on them, the nearest thing to an outside hospital."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csss.inference.card import InputSpec
from training.archive import Sample
from training.evidence import OUTSIDE_SOURCES, Trial
from training.fit import ChestNet, FitData, FitPlan, balance, fit, run_all
from training.measure import measure, softmax_rows
from training.mobilenetv2 import MobileNetV2
from training.whole import PictureData, WholePlan, fit_whole, run_pictures

_DROPOUT = 0.2


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of a fit without the outside sources, and the outside rows whose label the rest still holds."""

    train: NDArray[np.int64]
    chance: NDArray[np.float64]
    validation: NDArray[np.int64]
    outside: NDArray[np.int64]


def leave_out(samples: tuple[Sample, ...], sources: tuple[str, ...]) -> Kept:
    """Split the rows of ``samples`` for a fit that never sees ``sources``.

    Outside pictures of a label that no other source holds are left aside: nobody could name them.
    """
    kept = [row for row, sample in enumerate(samples) if sample.source not in sources]
    train = [row for row in kept if samples[row].split == "train"]
    known = {samples[row].label for row in train}
    outside = [row for row, sample in enumerate(samples) if sample.source in sources and sample.label in known]
    return Kept(
        np.array(train, dtype=np.int64),
        balance([samples[row].label for row in train], [samples[row].source for row in train]),
        np.array([row for row in kept if samples[row].split == "val"], dtype=np.int64),
        np.array(outside, dtype=np.int64),
    )


def try_head(pooled: NDArray[np.float32], truth: NDArray[np.int64], kept: Kept, plan: FitPlan, labels: int) -> Trial:
    """The papers' way: a new head on frozen features (n, 1280) of the plain pictures."""
    torch.manual_seed(plan.seed)
    network = ChestNet(None, labels, _DROPOUT)
    fit(network, FitData(pooled, truth, kept.train, kept.chance, kept.validation, len(kept.train)), plan)
    inside, outside = (run_all(network, pooled, rows) for rows in (kept.validation, kept.outside))
    return _judge("head on frozen ImageNet features", truth, kept, inside, outside)


def try_whole(
    start: MobileNetV2, data: PictureData, samples: tuple[Sample, ...], plan: WholePlan, spec: InputSpec, cache: Path
) -> tuple[Trial, ...]:
    """The whole network from ``start`` (ImageNet), with more and less randomising of sources."""
    kept = leave_out(samples, OUTSIDE_SOURCES)
    part = replace(data, train_rows=kept.train, chance=kept.chance, val_rows=kept.validation)
    ways = (
        (1.0, "whole network, every picture with its source randomised"),
        (0.5, "whole network, every second picture with its source randomised"),
        (0.0, "whole network, mild variation only"),
    )
    trials = []
    for share, title in ways:
        way = replace(plan, randomised=(share,) * len(plan.sides_px))
        torch.manual_seed(plan.seed)
        network = ChestNet(copy.deepcopy(start.features), int(data.truth.max()) + 1, _DROPOUT)
        fit_whole(network, part, way, spec, checkpoint=cache / f"trial-{way.key}.pt")
        inside, outside = (run_pictures(network, data.pictures, rows, spec) for rows in (kept.validation, kept.outside))
        trials.append(_judge(title, data.truth, kept, inside, outside))
    return tuple(trials)


def _judge(
    title: str, truth: NDArray[np.int64], kept: Kept, inside: NDArray[np.float32], outside: NDArray[np.float32]
) -> Trial:
    labels = tuple(str(index) for index in range(inside.shape[1]))
    return Trial(
        recipe=title,
        validation=measure(truth[kept.validation], softmax_rows(inside), labels),
        outside=measure(truth[kept.outside], softmax_rows(outside), labels),
    )
