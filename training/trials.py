"""Trials: each recipe fitted without three sources and measured on them, the nearest thing to an outside hospital."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csss.inference.card import InputSpec
from training.archive import Sample
from training.evidence import Trial
from training.fit import ChestNet, FitData, FitPlan, balance, fit, run_all
from training.measure import measure, softmax_rows
from training.mobilenetv2 import MobileNetV2
from training.whole import PictureData, WholePlan, fit_whole, run_pictures

HEAD_ONLY = "head on frozen ImageNet features"
WAYS = (0.4, 0.0)


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of a fit without the outside sources, and the outside rows whose label the rest still holds."""

    train: NDArray[np.int64]
    chance: NDArray[np.float64]
    validation: NDArray[np.int64]
    outside: NDArray[np.int64]

    @property
    def measured(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows within and without that a trial is judged on."""
        return self.validation, self.outside


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


def try_recipes(
    imagenet: MobileNetV2,
    pooled: NDArray[np.float32],
    data: PictureData,
    kept: Kept,
    head_plan: FitPlan,
    plan: WholePlan,
    spec: InputSpec,
    cache: Path,
) -> tuple[Trial, ...]:
    """A head on frozen features (n, 1280), then from there the whole network with and without randomised sources."""
    torch.manual_seed(head_plan.seed)
    labels = int(data.truth.max()) + 1
    head = ChestNet(None, labels, head_plan.dropout)
    fit(head, FitData(pooled, data.truth, kept.train, kept.chance, kept.validation, len(kept.train)), head_plan)
    trials = [_judge(HEAD_ONLY, data.truth, kept, *(run_all(head, pooled, rows) for rows in kept.measured))]
    part = replace(data, train_rows=kept.train, chance=kept.chance, val_rows=kept.validation)
    for share in WAYS:
        way = replace(plan, randomised=(share,) * len(plan.sides_px))
        network = ChestNet(copy.deepcopy(imagenet.features), labels, head_plan.dropout)
        network.dense1.load_state_dict(head.dense1.state_dict())
        network.dense2.load_state_dict(head.dense2.state_dict())
        fit_whole(network, part, way, spec, checkpoint=cache / f"trial-{way.key}.pt")
        answers = (run_pictures(network, data.pictures, rows, spec) for rows in kept.measured)
        trials.append(
            _judge(f"whole network, {share:.0%} of pictures with their source randomised", data.truth, kept, *answers)
        )
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
