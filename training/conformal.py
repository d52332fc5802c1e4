"""Fit what a card says about doubt: the set of labels per class, and the scaling of each label's logit."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from csss.inference.card import Calibration, Conformal
from csss.inference.metrics import Cases, measure
from csss.inference.tasks.classify import calibrate
from training.calibrate import fit_temperature
from training.evidence import CalibrationChoice
from training.measure import softmax_rows

_FOLDS = 5
_FOLD_SEED = 42
_STEPS = 400
_POWERS = np.linspace(0.0, 0.8, 17)
_MOST_LOSS = 0.02
_PULL = 1e-3
"""Draws scales to those of the temperature and biases to zero: some classes have few validation pictures."""


def fit_sets(
    shares: NDArray[np.float64], truth: NDArray[np.int64], coverage: float, fitted_on: str, *, two_are_uncertain: bool
) -> Conformal:
    """Per label the probability (of ``shares`` (n, C)) that its own pictures reach with the stated coverage.

    With n pictures of a label the k-th smallest of their probabilities is taken, k = floor((1 - coverage)
    (n + 1)); none is ruled out (0.0) where k is 0: too few pictures for the promise.
    """
    at_least = (reached_by(shares[truth == label, label], coverage) for label in range(shares.shape[1]))
    return Conformal(coverage, tuple(at_least), fitted_on, two_are_uncertain)


def reached_by(own: NDArray[np.float64], coverage: float) -> float:
    """What the stated share of a label's own pictures reach; 0.0 for too few pictures (see `fit_sets`)."""
    # In binary 1 - 0.9 is a little less than a tenth, and a tenth of ten pictures less than one.
    rank = int(np.floor((1.0 - coverage) * (len(own) + 1) + 1e-9))
    return float(np.sort(own)[rank - 1]) if rank >= 1 else 0.0


def by_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64], fitted_on: str) -> Calibration:
    """One temperature for all labels."""
    return Calibration("temperature", fit_temperature(logits, truth), (), (), fitted_on)


def by_vector(logits: NDArray[np.float32], truth: NDArray[np.int64], fitted_on: str) -> Calibration:
    """One scale and one bias per label (vector scaling), by least negative log likelihood."""
    temperature = fit_temperature(logits, truth)
    values, wanted = torch.from_numpy(logits.astype(np.float64)), torch.from_numpy(truth)
    log_scale = torch.zeros(values.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(values.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([log_scale, bias], lr=0.02)
    for _ in range(_STEPS):
        loss = functional.cross_entropy(values * log_scale.exp() / temperature + bias, wanted)
        loss = loss + _PULL * (log_scale.square().sum() + bias.square().sum())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    scale = tuple(float(value) for value in log_scale.detach().exp())
    return Calibration("vector", temperature, scale, tuple(float(value) for value in bias.detach()), fitted_on)


def by_prior(logits: NDArray[np.float32], truth: NDArray[np.int64], fitted_on: str) -> Calibration:
    """One temperature, and probabilities as for labels that are more evenly common than they are in the data.

    Each is divided by the label's share of the data to a power (0: as common as in the data; 1: all equally common),
    the one with the largest sum of macro F1 and balanced accuracy (Menon et al. 2021, arXiv:2007.07314).
    """
    temperature = fit_temperature(logits, truth)
    rarity = -np.log(np.maximum(np.bincount(truth, minlength=logits.shape[1]), 1) / len(truth))
    names = tuple(map(str, range(logits.shape[1])))

    def score(power: float) -> float:
        shares = softmax_rows(logits / temperature + power * rarity)
        figures = measure(Cases.answered_all(truth, shares, names))
        return (figures.macro_f1 or 0.0) + (figures.balanced_accuracy or 0.0)

    # Scores jump from picture to picture: neighbours on the grid are averaged before the best is taken.
    scores = np.pad([score(power) for power in _POWERS], 1, mode="edge")
    power = float(_POWERS[int(np.convolve(scores, np.ones(3) / 3.0, mode="valid").argmax())])
    bias = tuple(float(value) for value in power * (rarity - rarity.min()))
    return Calibration("vector", temperature, (1.0,) * len(bias), bias, fitted_on)


def choose_calibration(
    logits: NDArray[np.float32], truth: NDArray[np.int64], groups: NDArray[np.str_], fitted_on: str
) -> tuple[Calibration, tuple[CalibrationChoice, ...]]:
    """The way that serves best on pictures it was not fitted on, fitted on all; and every way that was tried.

    Judged by the sum of macro F1 and balanced accuracy over five folds of whole groups, among the ways whose
    negative log likelihood there is at most _MOST_LOSS above the least: a probability has to mean its number.
    """
    _, member = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(_FOLD_SEED).permutation(member.max() + 1)[member] % _FOLDS
    ways = {"temperature": by_temperature, "vector": by_vector, "prior": by_prior}
    tried = []
    for name, way in ways.items():
        shares = np.zeros(logits.shape)
        for number in range(_FOLDS):
            held = fold == number
            fitted = way(logits[~held], truth[~held], fitted_on)
            shares[held] = [calibrate(row, fitted) for row in logits[held]]
        figures = measure(Cases.answered_all(truth, shares, tuple(map(str, range(logits.shape[1])))))
        loss = float(-np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-12)).mean())
        tried.append(CalibrationChoice(name, figures.macro_f1 or 0.0, figures.balanced_accuracy or 0.0, loss))
    least = min(choice.loss for choice in tried)
    honest = [choice for choice in tried if choice.loss <= least + _MOST_LOSS]
    best = max(honest, key=lambda choice: choice.macro_f1 + choice.balanced_accuracy)
    return ways[best.method](logits, truth, fitted_on), tuple(tried)
