"""Fit the whole network on randomised pictures: small pictures first, larger ones at the end."""

import copy
import hashlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from csss.inference.card import InputSpec
from training.fit import ChestNet, Epoch
from training.measure import macro_f1
from training.randomise import randomise, vary_mildly

FROZEN_BLOCKS = 4
"""The stem and the first three blocks keep ImageNet's filters: they cost most and know edges already."""

_EVALUATION_BATCH = 32
_LARGEST_GRADIENT = 2.0

Change = Callable[[NDArray[np.uint8], NDArray[np.uint8], int, np.random.Generator], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class WholePlan:
    """How to fit: side in pixels and share of randomised pictures per epoch, the rest being varied mildly.

    An epoch draws ``drawn`` pictures with replacement.
    """

    sides_px: tuple[int, ...]
    randomised: tuple[float, ...]
    drawn: int
    batch: int
    head_rate: float
    blocks_rate: float
    weight_decay: float
    label_smoothing: float
    averaging: float
    warming_steps: int
    seed: int

    @property
    def key(self) -> str:
        """Names a fit of this plan among the files of a cache."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class PictureData:
    """Pictures uint8 (n, rows, columns), label and source indices (n,), and who is drawn how often."""

    pictures: NDArray[np.uint8]
    truth: NDArray[np.int64]
    source: NDArray[np.int64]
    train_rows: NDArray[np.int64]
    chance: NDArray[np.float64]
    val_rows: NDArray[np.int64]


def fit_whole(
    network: ChestNet,
    data: PictureData,
    plan: WholePlan,
    spec: InputSpec,
    *,
    checkpoint: Path | None = None,
    change: Change = randomise,
) -> tuple[Epoch, ...]:
    """Fit ``network`` (``upper`` = all features) in place; it is left at the running average of its weights.

    The average is judged on plain validation pictures after each epoch, but the last one is kept: the
    rate has fallen to nothing by then, and a choice among epochs would be a choice on few pictures.
    With ``checkpoint`` an interrupted fit goes on after its last whole epoch.
    """
    run = _WholeRun(network, plan)
    if checkpoint is not None and checkpoint.exists():
        run.resume(checkpoint)
    while len(run.history) < len(plan.sides_px):
        run.step(data, spec, change)
        print(f"epoch {run.history[-1]}", file=sys.stderr, flush=True)
        if checkpoint is not None:
            run.keep(checkpoint)
    network.load_state_dict(run.average.state_dict())
    network.eval()
    return tuple(run.history)


def run_pictures(
    network: nn.Module, pictures: NDArray[np.uint8], rows: NDArray[np.int64], spec: InputSpec
) -> NDArray[np.float32]:
    """What ``network`` in evaluation mode gives for the given pictures as they are, float32 (n, ...)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), _EVALUATION_BATCH):
            batch = to_batch(pictures[rows[start : start + _EVALUATION_BATCH]], spec)
            parts.append(network(batch).numpy())
    return np.concatenate(parts)


def to_batch(greys: NDArray[np.uint8], spec: InputSpec) -> torch.Tensor:
    """Pictures uint8 (n, rows, columns) normalised as `csss.inference.prepare` does, float32 (n, 3, ...)."""
    mean = np.array(spec.mean, dtype=np.float32).reshape(1, 3, 1, 1)
    std = np.array(spec.std, dtype=np.float32).reshape(1, 3, 1, 1)
    values = (greys[:, None].astype(np.float32) / np.float32(255.0) - mean) / std
    return torch.from_numpy(values).contiguous(memory_format=torch.channels_last)


class _WholeRun:
    """The state of one fit: what a checkpoint keeps."""

    def __init__(self, network: ChestNet, plan: WholePlan) -> None:
        if not isinstance(network.upper, nn.Sequential):
            raise TypeError("Fitting the whole network needs its blocks in order.")
        self.network, self.plan = network.to(memory_format=torch.channels_last), plan  # type: ignore[call-overload]
        self.frozen, self.tuned = network.upper[:FROZEN_BLOCKS], network.upper[FROZEN_BLOCKS:]
        head = [*network.dense1.parameters(), *network.dense2.parameters()]
        groups = [
            {"params": head, "lr": plan.head_rate},
            {"params": list(self.tuned.parameters()), "lr": plan.blocks_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.average = copy.deepcopy(network)
        self.history: list[Epoch] = []
        self.steps = 0

    def step(self, data: PictureData, spec: InputSpec, change: Change) -> None:
        number = len(self.history) + 1
        train_loss = self._train(data, spec, change, number)
        logits = run_pictures(self.average, data.pictures, data.val_rows, spec)
        truth = data.truth[data.val_rows]
        val_loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
        self.history.append(
            Epoch(number, train_loss, val_loss, macro_f1(truth, logits.argmax(axis=1), logits.shape[1]))
        )

    def _train(self, data: PictureData, spec: InputSpec, change: Change, number: int) -> float:
        # Seeded by the epoch, so that a resumed fit draws what an uninterrupted one would have drawn.
        random = np.random.default_rng((self.plan.seed, number))
        torch.manual_seed(self.plan.seed * 1000 + number)
        rows = random.choice(data.train_rows, size=self.plan.drawn, p=data.chance)
        styles = self._draw_styles(data, random)
        criterion = nn.CrossEntropyLoss(label_smoothing=self.plan.label_smoothing)
        # Batch norm keeps its statistics: a batch of few sources at few pixels would move them.
        self.network.eval()
        self.network.dropout.train()
        losses, started = [], time.monotonic()
        for start in range(0, len(rows) - self.plan.batch + 1, self.plan.batch):
            part = slice(start, start + self.plan.batch)
            greys = [
                self._change(change, data, row, style, number, random)
                for row, style in zip(rows[part], styles[part], strict=True)
            ]
            loss = criterion(self._run(to_batch(np.stack(greys), spec)), torch.from_numpy(data.truth[rows[part]]))
            self._descend(loss, number, start)
            losses.append(loss.item())
            if start // self.plan.batch % 40 == 0:
                spent = time.monotonic() - started
                note = f"{start + len(greys)}/{len(rows)} loss {np.mean(losses[-40:]):.3f} {spent:.0f} s"
                print(f"epoch {number} {note}", file=sys.stderr, flush=True)
        return float(np.mean(losses))

    def _change(
        self, change: Change, data: PictureData, row: int, style: int, number: int, random: np.random.Generator
    ) -> NDArray[np.uint8]:
        chosen = change if random.random() < self.plan.randomised[number - 1] else vary_mildly
        return chosen(data.pictures[row], data.pictures[style], self.plan.sides_px[number - 1], random)

    def _draw_styles(self, data: PictureData, random: np.random.Generator) -> NDArray[np.int64]:
        """Each source is as likely as any other to lend its style."""
        sources = np.unique(data.source[data.train_rows])
        rows_of = {source: data.train_rows[data.source[data.train_rows] == source] for source in sources}
        return np.array([random.choice(rows_of[source]) for source in random.choice(sources, self.plan.drawn)])

    def _run(self, batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            edges = self.frozen(batch)
        pooled = self.tuned(edges).mean(dim=(2, 3))
        hidden = torch.relu(self.network.dense1(self.network.dropout(pooled)))
        logits: torch.Tensor = self.network.dense2(self.network.dropout(hidden))
        return logits

    def _descend(self, loss: torch.Tensor, number: int, start: int) -> None:
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self.steps += 1
        done = (number - 1 + start / self.plan.drawn) / len(self.plan.sides_px)
        share = min(1.0, self.steps / self.plan.warming_steps) * 0.5 * (1.0 + math.cos(math.pi * done))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.optimizer.step()
        self._average()

    def _average(self) -> None:
        # A young average follows quickly, or it would drag the starting weights along.
        weight = 1.0 - min(self.plan.averaging, self.steps / (self.steps + 10.0))
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
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self.history = [Epoch(*epoch) for epoch in state["history"]]
