"""Fit a whole network in courses: small pictures first, balanced draws, mixed pictures, averaged weights."""

import copy
import hashlib
import math
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from csss.inference.card import Framing, InputSpec
from training.aims import ONE_LABEL, Aim
from training.chest_net import ChestNet
from training.export import INPUT, OUTPUT, export_onnx, open_exported
from training.ranks import Ranks
from training.teaching import Teachers
from training.vary_batch import MILD, STRONG, show_batch, vary_batch

_EVALUATION_BATCH = 32
_LARGEST_GRADIENT = 2.0
_LEAST_RATE = 0.02


@dataclass(frozen=True, slots=True)
class Course:
    """How to fit, on pictures of this ``framing`` (see `InputSpec`).

    Each stage is (side in pixels, pictures drawn); rates fall by half a cosine over the course.
    A picture is drawn with a chance in proportion to the size of its cell of label x source to the power
    ``cell_power`` - 1: 1 draws as the data lies, 0 draws every cell equally often. A share ``strong`` of
    the batches is varied strongly, a share ``mixed`` mixed in pairs (Zhang et al. 2018, arXiv:1710.09412), a share
    ``joined`` made of the left part of one picture and the right part of another (after Yun et al. 2019,
    arXiv:1905.04899). A share ``taught`` of what is wanted comes from teachers (`training.teaching`), the rest from
    the labels. ``bfloat16`` is how the network is run forwards; its weights stay float32. A ``blended`` course is
    followed by the best blend of the weights before and after it (`training.blend`).
    """

    stages: tuple[tuple[int, int], ...]
    head_rate: float
    rate: float
    batch: int
    averaging: float
    cell_power: float
    strong: float
    mixed: float
    mixing: float
    weight_decay: float
    label_smoothing: float
    warming_steps: int
    seed: int
    framing: Framing = "whole"
    dropout: float = 0.2
    blended: bool = False
    joined: float = 0.0
    taught: float = 0.0
    bfloat16: bool = False

    @property
    def key(self) -> str:
        """Names a fit of this course among the files of a cache; what is as usual is left out, so that it may grow."""
        told = [(each.name, value) for each in fields(self) if (value := getattr(self, each.name)) != each.default]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one stage came to: mean training loss at its end, loss and macro F1 on the validation split."""

    number: int
    train_loss: float
    val_loss: float
    val_macro_f1: float


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """``greys`` uint8 (n, rows, columns); label and source index (n,); the rows to fit and to judge by.

    Where several findings can be present, ``truth`` is (n, C) instead, 1 for each that is.
    """

    greys: NDArray[np.uint8]
    truth: NDArray[np.int64]
    source: NDArray[np.int64]
    train_rows: NDArray[np.int64]
    val_rows: NDArray[np.int64]


def fit_course(
    network: ChestNet,
    pictures: Pictures,
    course: Course,
    spec: InputSpec,
    *,
    checkpoint: Path,
    ranks: Ranks,
    aim: Aim = ONE_LABEL,
    teachers: Teachers | None = None,
) -> tuple[Epoch, ...]:
    """Fit ``network`` in place towards ``aim``; it is left at the running average of its weights.

    The average is judged on plain validation pictures after each stage, but the last is kept: the rate has
    fallen to almost nothing by then, and a choice among stages would be a choice on few pictures. An
    interrupted fit goes on after its last whole stage. A taught course needs ``teachers`` (ValueError without).
    """
    network.dropout.p = course.dropout
    run = _Run(network, pictures, course, ranks, aim, teachers)
    if checkpoint.exists():
        run.resume(checkpoint)
    while len(run.history) < len(course.stages):
        run.step(spec)
        print(f"{course.key} {run.history[-1]}", file=sys.stderr, flush=True)
        if ranks.first:
            run.keep(checkpoint)
    network.load_state_dict(run.average.state_dict())
    network.eval()
    return tuple(run.history)


def run_pictures(
    network: nn.Module, greys: NDArray[np.uint8], spec: InputSpec, side_px: int, device: torch.device
) -> NDArray[np.float32]:
    """What ``network`` in evaluation mode gives for pictures as they are, float32 (n, ...)."""
    network.eval()
    run = _exported(network, spec.channels, side_px) if device.type == "cpu" else _on(network, device)
    starts = range(0, len(greys), _EVALUATION_BATCH)
    return np.concatenate([run(show_batch(greys[at : at + _EVALUATION_BATCH], spec, side_px)) for at in starts])


def _exported(network: nn.Module, channels: int, side_px: int) -> Callable[[torch.Tensor], NDArray[np.float32]]:
    # On processors the exported network answers the same several times faster than the one that can be fitted.
    example = torch.zeros(1, channels, side_px, side_px)
    session = open_exported(export_onnx(network, example), torch.get_num_threads())
    return lambda batch: np.asarray(session.run([OUTPUT], {INPUT: batch.contiguous().numpy()})[0])


def _on(network: nn.Module, device: torch.device) -> Callable[[torch.Tensor], NDArray[np.float32]]:
    def run(batch: torch.Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(batch.to(device)).cpu().numpy())

    return run


def chances(truth: NDArray[np.int64], source: NDArray[np.int64], cell_power: float) -> NDArray[np.float64]:
    """The chance (n,) of each row to be drawn, by the size of its cell of label x source (see `Course`).

    Equal cells (0) would repeat a cell of five pictures hundreds of times; cells by their size (1) let the
    largest source decide.
    """
    _, member, counts = np.unique(np.stack([truth, source], 1), axis=0, return_inverse=True, return_counts=True)
    weights = counts[member.ravel()].astype(np.float64) ** (cell_power - 1.0)
    chance: NDArray[np.float64] = weights / weights.sum()
    return chance


class _Run:
    """The state of one fit: what a checkpoint keeps."""

    def __init__(
        self,
        network: ChestNet,
        pictures: Pictures,
        course: Course,
        ranks: Ranks,
        aim: Aim = ONE_LABEL,
        teachers: Teachers | None = None,
    ) -> None:
        if course.taught > 0.0 and teachers is None:
            raise ValueError("A taught course needs teachers.")
        self.course, self.ranks, self.pictures, self.aim, self.teachers = course, ranks, pictures, aim, teachers
        self.network = network.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rows = pictures.train_rows
        self.chance = chances(aim.cells(pictures.truth[rows]), pictures.source[rows], course.cell_power)
        body = list(network.backbone.parameters())
        groups = [
            {"params": network.head, "lr": course.head_rate},
            {"params": [each for each in body if each.ndim > 1], "lr": course.rate},
            # Scales and shifts of the normalisation are not drawn towards zero.
            {"params": [each for each in body if each.ndim <= 1], "lr": course.rate, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=course.weight_decay)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.average = copy.deepcopy(network)
        self.history: list[Epoch] = []
        self.steps = 0

    def step(self, spec: InputSpec) -> None:
        side_px = self.course.stages[len(self.history)][0]
        train_loss = self._train(spec)
        rows = self.pictures.val_rows
        logits = run_pictures(self.average, self.pictures.greys[rows], spec, side_px, self.ranks.device)
        val_loss, score = self.aim.judge(logits, self.pictures.truth[rows])
        self.history.append(Epoch(len(self.history) + 1, train_loss, val_loss, score))

    def _train(self, spec: InputSpec) -> float:
        number, course = len(self.history), self.course
        side_px, drawn = course.stages[number]
        # Seeded by the stage, so that a resumed fit draws what an uninterrupted one would have drawn.
        random = np.random.default_rng((course.seed, number))
        own_seed = self.ranks.own_seed(course.seed * 100 + number)
        variation = torch.Generator().manual_seed(own_seed)
        torch.manual_seed(own_seed)  # of dropout and of the pairs that are mixed
        rows = random.choice(self.pictures.train_rows, drawn, p=self.chance)
        self.network.train()
        losses = []
        for start in range(0, drawn - course.batch + 1, course.batch):
            part = self.ranks.share(rows[start : start + course.batch])
            strength = STRONG if random.random() < course.strong else MILD
            batch = vary_batch(self.pictures.greys[part], spec, side_px, strength, variation)
            wanted = self.aim.wanted(self.pictures.truth[part], self.network.dense2.out_features)
            batch, wanted = self._mix(batch, wanted, random)
            wanted = self.aim.smooth(wanted, course.label_smoothing)
            if self.teachers is not None and course.taught > 0.0:
                wanted = torch.lerp(wanted, self.teachers.answer(batch), course.taught)
            with torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=course.bfloat16):
                logits = self.network(batch.to(self.ranks.device))
            loss = self.aim.loss(logits.float(), wanted.to(self.ranks.device))
            self._descend(loss, start)
            losses.append(loss.item())
            if start // course.batch % 40 == 0:
                note = f"stage {number + 1} {start + len(part)}/{drawn} loss {np.mean(losses[-40:]):.3f}"
                print(note, file=sys.stderr, flush=True)
        return float(np.mean(losses[-60:]))

    def _mix(
        self, batch: torch.Tensor, wanted: torch.Tensor, random: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        course = self.course
        lot = random.random() if course.mixed + course.joined > 0.0 else 1.0
        if lot >= course.mixed + course.joined:
            return batch, wanted
        share = random.beta(course.mixing, course.mixing) if lot < course.mixed else random.uniform(1 / 3, 2 / 3)
        other = torch.randperm(len(batch))
        if lot < course.mixed:
            batch = share * batch + (1.0 - share) * batch[other]
        else:
            seam = round(share * batch.shape[3])
            batch = torch.cat([batch[..., :seam], batch[other][..., seam:]], dim=3)
        return batch, share * wanted + (1.0 - share) * wanted[other]

    def _descend(self, loss: torch.Tensor, start: int) -> None:
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.average_gradients(self.network)
        nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self.steps += 1
        done = sum(drawn for _, drawn in self.course.stages[: len(self.history)]) + start
        progress = done / sum(drawn for _, drawn in self.course.stages)
        fall = _LEAST_RATE + (1.0 - _LEAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * progress))
        share = min(1.0, self.steps / self.course.warming_steps) * fall
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.optimizer.step()
        self._average()

    def _average(self) -> None:
        # A young average follows quickly, or it would drag the starting weights along.
        weight = 1.0 - min(self.course.averaging, self.steps / (self.steps + 10.0))
        with torch.no_grad():
            for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(new, weight)

    def keep(self, path: Path) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [astuple(epoch) for epoch in self.history],
            "steps": self.steps,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True, map_location=self.ranks.device)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self.history = [Epoch(*epoch) for epoch in state["history"]]
