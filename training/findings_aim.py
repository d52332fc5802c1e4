"""FindingsAim: every label by itself, by a binary cross-entropy in which a rare finding that is present counts more."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from training.aims import Truth

MOST_WEIGHT = 20.0
"""A finding in every thousandth picture would weigh 32; so much noise of single pictures is not wanted."""


class FindingsAim:
    """``weights`` (C,): what a present finding counts in the loss; an absent one counts 1.

    ``rarity`` (C,) is in how many of the training ``pictures`` each is present.
    """

    def __init__(self, truth: Truth) -> None:
        """From the findings (n, C) of the training pictures."""
        self.pictures = len(truth)
        self.rarity = truth.sum(axis=0)
        self.weights = weigh(truth)

    @property
    def first_logits(self) -> NDArray[np.float32]:
        """(C,) the logits that lose least when nothing is known of a picture."""
        present = np.clip(self.rarity / self.pictures, 1e-4, 1.0 - 1e-4)
        return np.asarray(np.log(self.weights * present / (1.0 - present)), dtype=np.float32)

    def cells(self, truth: Truth) -> NDArray[np.int64]:
        """The rarest finding of each picture, C for a picture without any."""
        order = np.argsort(self.rarity, kind="stable")
        has = truth[:, order].astype(bool)
        return np.asarray(np.where(has.any(axis=1), order[has.argmax(axis=1)], truth.shape[1]), dtype=np.int64)

    def wanted(self, truth: Truth, classes: int) -> torch.Tensor:
        """1 for each finding that is present; all 0 is "No Finding"."""
        return torch.from_numpy(truth.astype(np.float32)).reshape(len(truth), classes)

    def smooth(self, wanted: torch.Tensor, share: float) -> torch.Tensor:
        """Towards one half."""
        return wanted * (1.0 - share) + share / 2.0

    def loss(self, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Mean over pictures and labels of -(w y log p + (1 - y) log(1 - p)), p the sigmoid of the logit."""
        weights = torch.from_numpy(self.weights.astype(np.float32)).to(logits.device)
        return functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weights)

    def judge(self, logits: NDArray[np.float32], truth: Truth) -> tuple[float, float]:
        """The same loss, and the mean F1 of labels that occur, where the logit is above 0."""
        values = torch.from_numpy(logits)
        loss = self.loss(values, self.wanted(truth, logits.shape[1])).item()
        named, held = logits > 0.0, truth.astype(bool)
        hits, both = (named & held).sum(axis=0), named.sum(axis=0) + held.sum(axis=0)
        occurs = held.any(axis=0)
        return loss, float((2.0 * hits[occurs] / both[occurs]).mean()) if occurs.any() else 0.0


def weigh(truth: Truth) -> NDArray[np.float64]:
    """(C,) the square root of absent over present, between 1 and MOST_WEIGHT; findings (n, C) of training pictures.

    Half-way, on a scale of ratios, between no weight, where rare findings hardly move a network, and full balance,
    where single pictures of the rarest do. The shift of the probabilities is undone by calibration.
    """
    present = truth.sum(axis=0).astype(np.float64)
    ratio = (len(truth) - present) / np.maximum(present, 1.0)
    return np.asarray(np.clip(np.sqrt(ratio), 1.0, MOST_WEIGHT))


def shift_of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C,) what a perfectly fitted logit is too high by because of the weights: log w."""
    return np.array([math.log(weight) for weight in weights])
