"""Aims: what a fit in courses wants of a network's answers; its pictures and its steps are the same for all."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from training.measure import macro_f1

Truth = NDArray[np.int64]


class Aim(Protocol):
    """How ``truth`` ((n,) classes or (n, C) findings) becomes what the logits (n, C) are compared with."""

    def cells(self, truth: Truth) -> NDArray[np.int64]:
        """(n,) the kind of each picture, by which `finetune.chances` balances what is drawn."""

    def wanted(self, truth: Truth, classes: int) -> torch.Tensor:
        """The wanted probabilities, float32 (n, classes); pairs of them may be mixed."""

    def smooth(self, wanted: torch.Tensor, share: float) -> torch.Tensor:
        """``wanted`` moved by ``share`` of the way to knowing nothing."""

    def loss(self, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """What is descended, one number."""

    def judge(self, logits: NDArray[np.float32], truth: Truth) -> tuple[float, float]:
        """Loss and macro F1 of plain pictures."""


class OneLabel:
    """Labels that exclude each other: softmax and cross-entropy."""

    def cells(self, truth: Truth) -> NDArray[np.int64]:
        """The label itself."""
        return truth

    def wanted(self, truth: Truth, classes: int) -> torch.Tensor:
        """All of it for the true label."""
        return functional.one_hot(torch.from_numpy(truth), classes).float()

    def smooth(self, wanted: torch.Tensor, share: float) -> torch.Tensor:
        """Towards equal shares of all labels."""
        return wanted * (1.0 - share) + share / wanted.shape[1]

    def loss(self, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy."""
        return -(wanted * functional.log_softmax(logits, 1)).sum(1).mean()

    def judge(self, logits: NDArray[np.float32], truth: Truth) -> tuple[float, float]:
        """Cross-entropy, and macro F1 of the likeliest labels."""
        loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
        return loss, macro_f1(truth, np.asarray(logits.argmax(axis=1)), logits.shape[1])


ONE_LABEL = OneLabel()
