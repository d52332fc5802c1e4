"""Fit a network on cached inputs with balanced sampling, early stopping and checkpoints to resume from."""

import copy
import math
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.measure import macro_f1
from training.mobilenetv2 import FEATURE_CHANNELS

HIDDEN = 128
_EVALUATION_BATCH = 128
_AVERAGING = 0.997
_LARGEST_GRADIENT = 2.0


@dataclass(frozen=True, slots=True)
class FitPlan:
    """How to fit; one epoch draws as many rows as there are training pictures, with replacement."""

    epochs: int
    patience: int
    batch: int
    head_rate: float
    blocks_rate: float
    weight_decay: float
    label_smoothing: float
    dropout: float
    warming_steps: int
    seed: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to: mean training loss, loss and macro F1 on the validation split."""

    number: int
    train_loss: float
    val_loss: float
    val_macro_f1: float


@dataclass(frozen=True, slots=True)
class FitData:
    """Rows of cached inputs with their label indices; ``chance`` is each training row's share of draws."""

    inputs: NDArray[np.floating]
    truth: NDArray[np.int64]
    train_rows: NDArray[np.int64]
    chance: NDArray[np.float64]
    val_rows: NDArray[np.int64]
    drawn_per_epoch: int


class ChestNet(nn.Module):
    """Upper blocks (or none, for inputs that are pooled already) -> GAP -> Dense 128 -> ReLU -> Dense."""

    def __init__(self, upper: nn.Module | None, classes: int, dropout: float) -> None:
        super().__init__()
        self.upper = upper
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(FEATURE_CHANNELS, HIDDEN)
        self.dense2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x if self.upper is None else self.upper(x).mean(dim=(2, 3))
        hidden = torch.relu(self.dense1(self.dropout(pooled)))
        logits: torch.Tensor = self.dense2(self.dropout(hidden))
        return logits


def balance(labels: list[str], sources: list[str]) -> NDArray[np.float64]:
    """Chance of each row to be drawn: every cell of label x source by the root of its size, (n,).

    Equal cells would repeat a cell of five pictures hundreds of times, and rare labels so often that
    they are found everywhere; cells by their size would let the largest source decide.
    """
    _, member, counts = np.unique(
        [f"{label}\t{source}" for label, source in zip(labels, sources, strict=True)],
        return_inverse=True,
        return_counts=True,
    )
    weights: NDArray[np.float64] = 1.0 / np.sqrt(counts[member])
    chance: NDArray[np.float64] = weights / weights.sum()
    return chance


def fit(network: ChestNet, data: FitData, plan: FitPlan, checkpoint: Path | None = None) -> tuple[Epoch, ...]:
    """Fit ``network`` in place and leave it at its best validation macro F1; returns the epochs.

    What is judged and kept is the running average of the weights, which steadies a validation score
    over few pictures. Batch norm keeps its statistics (evaluation mode): a small batch would move them.
    With ``checkpoint`` an interrupted fit goes on after its last whole epoch.
    """
    run = _Run(network, plan)
    if checkpoint is not None and checkpoint.exists():
        run.resume(checkpoint)
    while not run.finished():
        run.step(data)
        print(f"epoch {run.history[-1]}", file=sys.stderr, flush=True)
        if checkpoint is not None:
            run.keep(checkpoint)
    network.load_state_dict(run.best)
    network.eval()
    return tuple(run.history)


def run_all(network: nn.Module, inputs: NDArray[np.floating], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The outputs of ``network`` in evaluation mode for the given rows, float32 (n, ...)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), _EVALUATION_BATCH):
            part = rows[start : start + _EVALUATION_BATCH]
            parts.append(network(_tensor(inputs, part)).numpy())
    return np.concatenate(parts)


class _Run:
    """The state of one fit: what a checkpoint keeps."""

    def __init__(self, network: ChestNet, plan: FitPlan) -> None:
        self.network, self.plan = network, plan
        groups = [{"params": [*network.dense1.parameters(), *network.dense2.parameters()], "lr": plan.head_rate}]
        if network.upper is not None:
            groups.append({"params": list(network.upper.parameters()), "lr": plan.blocks_rate})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.average = copy.deepcopy(network)
        self.best = copy.deepcopy(network.state_dict())
        self.history: list[Epoch] = []
        self.steps = 0

    def finished(self) -> bool:
        scores = [epoch.val_macro_f1 for epoch in self.history]
        tired = bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= self.plan.patience
        return tired or len(scores) >= self.plan.epochs

    def step(self, data: FitData) -> None:
        number = len(self.history) + 1
        train_loss = self._train(data, number)
        logits = run_all(self.average, data.inputs, data.val_rows)
        truth = data.truth[data.val_rows]
        val_loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
        score = macro_f1(truth, logits.argmax(axis=1), logits.shape[1])
        if score > max((past.val_macro_f1 for past in self.history), default=-1.0):
            self.best = copy.deepcopy(self.average.state_dict())
        self.history.append(Epoch(number, train_loss, val_loss, score))

    def _train(self, data: FitData, number: int) -> float:
        # Seeded by the epoch, so that a resumed fit draws what an uninterrupted one would have drawn.
        random = np.random.default_rng((self.plan.seed, number))
        torch.manual_seed(self.plan.seed * 1000 + number)
        rows = random.choice(data.train_rows, size=data.drawn_per_epoch, p=data.chance)
        criterion = nn.CrossEntropyLoss(label_smoothing=self.plan.label_smoothing)
        self.network.eval()
        self.network.dropout.train()
        losses = []
        for start in range(0, len(rows), self.plan.batch):
            part = rows[start : start + self.plan.batch]
            self.optimizer.zero_grad()
            loss = criterion(self.network(_tensor(data.inputs, part)), torch.from_numpy(data.truth[part]))
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
            self._set_rates(number)
            self.optimizer.step()
            self._average()
            losses.append(loss.item())
        return float(np.mean(losses))

    def _set_rates(self, epoch: int) -> None:
        """Warm up over the first steps, then fall by half a cosine over the planned epochs."""
        self.steps += 1
        fall = 0.5 * (1.0 + math.cos(math.pi * (epoch - 1) / self.plan.epochs))
        share = min(1.0, self.steps / self.plan.warming_steps) * fall
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share

    def _average(self) -> None:
        # A young average follows quickly, or it would drag the starting weights along.
        weight = 1.0 - min(_AVERAGING, self.steps / (self.steps + 10.0))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(new, weight)

    def keep(self, path: Path) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
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
        self.best, self.steps = state["best"], state["steps"]
        self.history = [Epoch(*epoch) for epoch in state["history"]]


def _tensor(inputs: NDArray[np.floating], rows: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(inputs[rows], dtype=np.float32))
