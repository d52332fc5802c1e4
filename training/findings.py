"""Fit several findings a picture: the network of `chest`, a sigmoid for each label; from the data to a model folder."""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from csss.inference.card import InputSpec
from training.backbones import BACKBONES
from training.chest_net import ChestNet
from training.export import export_onnx, halve_weights
from training.findings_aim import FindingsAim
from training.findings_data import FindingsData, read_findings
from training.findings_folder import FittedFindings, finish_findings
from training.finetune import Course, Epoch, Pictures, fit_course
from training.pictures import cache_pictures
from training.quantise import pool
from training.ranks import Ranks, join_ranks

SPEC = InputSpec(224, 224, "grey-repeated-3", "whole", "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DROPOUT = 0.2


@dataclass(frozen=True, slots=True)
class FindingsWishes:
    """What a person may ask of a run; ``gate`` is the shelf with its gate, ``foreign`` an archive of other pictures."""

    out: Path
    cache: Path
    gate: Path | None
    foreign: Path | None
    backbone: str
    courses: tuple[Course, ...]
    seed: int


def plan_findings(seed: int, share: float = 1.0) -> tuple[Course, ...]:
    """Courses for the 86,000 training pictures of ChestX-ray14; a ``share`` below 1 draws fewer, for a quick try.

    Pictures are drawn as the data lies: rare findings weigh more in the loss instead. Labels are not softened, which
    would tell the network that every rare finding is a little present. Never run on the whole of those data yet.
    """
    first = Course(
        stages=((160, 40000),) * 4,
        head_rate=2e-3, rate=8e-4, batch=64, averaging=0.998, cell_power=1.0, strong=0.4, mixed=0.0, mixing=0.3,
        weight_decay=0.05, label_smoothing=0.0, warming_steps=80, seed=seed,
    )  # fmt: skip
    last = replace(first, stages=((224, 40000),) * 8, head_rate=8e-4, rate=4e-4, averaging=0.999, seed=seed + 1)
    if share == 1.0:
        return first, last
    return tuple(
        replace(each, stages=tuple((side, max(each.batch, round(drawn * share))) for side, drawn in each.stages))
        for each in (first, last)
    )


def train_findings(path: Path, weights: dict[str, torch.Tensor], wishes: FindingsWishes) -> None:
    """Train on the folder or zip ``path`` from ImageNet ``weights`` and write the model folder.

    What is slow is kept in the cache: an interrupted run goes on where it stopped. Raises UnreadableDataset,
    UnfitFindings, SplitLeak.
    """
    ranks = join_ranks()
    data, pictures = ranks.after_first(lambda: _gather(path, wishes))
    aim = FindingsAim(pictures.truth[pictures.train_rows])
    network, history = _fit(weights, data, pictures, wishes, aim, ranks)
    if not ranks.first:
        return
    network = network.to("cpu")
    model = halve_weights(export_onnx(network.backbone, torch.zeros(1, SPEC.channels, SPEC.height_px, SPEC.width_px)))
    finish_findings(
        FittedFindings(
            data=data,
            spec=SPEC,
            model=model,
            backbone=network.backbone,
            pooled=pool(model, pictures.greys, SPEC, torch.get_num_threads()),
            dense=tuple(parameter.detach().numpy() for parameter in network.head),
            weights=aim.weights,
            history=history,
            command=" ".join(["python -m training", *sys.argv[1:]]),
            seed=wishes.seed,
            ingredient=BACKBONES[wishes.backbone](weights).ingredient,
        ),
        out=wishes.out,
        gate=wishes.gate,
        foreign=wishes.foreign,
    )


def _gather(path: Path, wishes: FindingsWishes) -> tuple[FindingsData, Pictures]:
    data = read_findings(path, seed=wishes.seed)
    sources = sorted({sample.source for sample in data.samples})
    pictures = Pictures(
        greys=cache_pictures(path, data.samples, SPEC, folder=wishes.cache),
        truth=data.truth,
        source=np.array([sources.index(sample.source) for sample in data.samples], dtype=np.int64),
        train_rows=data.rows("train"),
        val_rows=data.rows("val"),
    )
    return data, pictures


def _fit(
    weights: dict[str, torch.Tensor],
    data: FindingsData,
    pictures: Pictures,
    wishes: FindingsWishes,
    aim: FindingsAim,
    ranks: Ranks,
) -> tuple[ChestNet, tuple[Epoch, ...]]:
    """The network after all courses, and their stages."""
    torch.manual_seed(wishes.seed)
    backbone = BACKBONES[wishes.backbone](weights)
    network = ChestNet(backbone.network, backbone.channels, len(data.labels), DROPOUT)
    # So many rare labels: it begins at how often each occurs and does not spend its first steps on learning that.
    with torch.no_grad():
        network.dense2.bias.copy_(torch.from_numpy(aim.first_logits))
    history: tuple[Epoch, ...] = ()
    done = f"findings-{wishes.backbone}-{data.fingerprint_sha256[:12]}-{wishes.seed}"
    for course in wishes.courses:
        # A course goes on from the one before it, so its file is named by all of them.
        done = hashlib.sha256(f"{done}{course.key}".encode()).hexdigest()[:12]
        checkpoint = wishes.cache / f"findings-{done}.pt"
        history += fit_course(network, pictures, course, SPEC, checkpoint=checkpoint, ranks=ranks, aim=aim)
    return network, tuple(replace(each, number=number) for number, each in enumerate(history, start=1))
