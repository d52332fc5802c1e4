"""Fit on the validation split what turns logits of findings into statements: calibration, thresholds, limits."""

import numpy as np
from numpy.typing import NDArray

from csss.inference.card import Calibration, Conformal
from csss.inference.findings_rule import FindingsRule
from csss.inference.tasks.findings import sigmoid
from training.conformal import reached_by

Shares = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST = 10
"""Validation pictures with and without a finding that it takes to choose its threshold."""
WITHOUT_CHOICE = 0.5
MARGIN = 0.5
"""A label is clearly absent only below this part of its threshold."""
_STEPS = 60
_LEAST_SCALE, _MOST_SCALE = 0.05, 20.0
_MOST_BIAS = 50.0
_LEAST_LIMIT, _MOST_LIMIT = 1e-6, 1.0 - 1e-6


def fit_calibration(logits: NDArray[np.floating], truth: Flags, shift: Shares, fitted_on: str) -> Calibration:
    """For each label a scale and a bias of its logit: sigmoid(scale * logit + bias), from (n, C) on validation.

    Platt 1999, by the largest posterior under a normal prior of width 1 around scale 1 and bias -``shift`` (C,), what
    the weights of the loss should have added: a label with hardly a picture keeps about that.
    """
    fitted = [_fit_one(logits[:, index], truth[:, index], -shift[index]) for index in range(logits.shape[1])]
    scales, biases = zip(*fitted, strict=True)
    return Calibration("vector", 1.0, scales, biases, fitted_on)


def choose_thresholds(shares: Shares, truth: Flags) -> tuple[float, ...]:
    """For each label the threshold with the largest F1 on validation (n, C), half-way between two probabilities.

    Of equal ones the highest. With fewer than ten pictures with or without the label there is no choice: 0.5.
    """
    return tuple(_choose_one(shares[:, index], truth[:, index]) for index in range(shares.shape[1]))


def rule_out(shares: Shares, truth: Flags, coverage: float, fitted_on: str) -> Conformal:
    """The limit of each label that its own pictures reach with the stated coverage.

    0, so that the label is never ruled out, where too few pictures have it for that promise.
    """
    at_least = (reached_by(shares[truth[:, index], index], coverage) for index in range(shares.shape[1]))
    return Conformal(coverage, tuple(at_least), fitted_on, two_are_uncertain=False)


def make_rule(thresholds: tuple[float, ...], conformal: Conformal) -> FindingsRule:
    """Present from the threshold on; clearly absent below half of it and below the limit of the conformal set."""
    absent = tuple(min(MARGIN * one, low) for one, low in zip(thresholds, conformal.at_least, strict=True))
    return FindingsRule(
        thresholds,
        absent,
        f"{conformal.fitted_on}: each label's threshold has the largest F1 there ({WITHOUT_CHOICE} with fewer than "
        f"{FEWEST} pictures); clearly absent is what lies below {MARGIN} of it and below the limit that "
        f"{conformal.coverage:.0%} of the label's own pictures reach",
    )


def _fit_one(logits: NDArray[np.floating], truth: Flags, bias: float) -> tuple[float, float]:
    """Newton's method with halved steps; the posterior has one maximum."""
    inputs = np.column_stack([logits.astype(np.float64), np.ones(len(logits))])
    middle = np.array([1.0, bias])
    point = middle.copy()
    for _ in range(_STEPS):
        shares = sigmoid(inputs @ point)
        slope = inputs.T @ (shares - truth) + (point - middle)
        curve = (inputs * (shares * (1.0 - shares))[:, None]).T @ inputs + np.eye(2)
        step = np.linalg.solve(curve, slope)
        before = _lack(inputs, truth, point, middle)
        size = 1.0
        while size > 1e-6 and _lack(inputs, truth, point - size * step, middle) > before:
            size /= 2.0
        point = point - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return float(np.clip(point[0], _LEAST_SCALE, _MOST_SCALE)), float(np.clip(point[1], -_MOST_BIAS, _MOST_BIAS))


def _lack(inputs: Shares, truth: Flags, point: Shares, middle: Shares) -> float:
    """The negative log posterior but for a constant."""
    values = inputs @ point
    return float((np.logaddexp(0.0, values) - truth * values).sum() + ((point - middle) ** 2).sum() / 2.0)


def _choose_one(shares: Shares, truth: Flags) -> float:
    count = int(truth.sum())
    if min(count, len(truth) - count) < FEWEST:
        return WITHOUT_CHOICE
    order = np.argsort(-shares, kind="stable")
    levels, hits = shares[order], np.cumsum(truth[order])
    f1 = 2.0 * hits / (count + np.arange(1, len(shares) + 1))
    last_of_level = np.r_[levels[1:] != levels[:-1], True]
    best = int(np.where(last_of_level, f1, -1.0).argmax())
    below = float(levels[best + 1]) if best + 1 < len(levels) else 0.0
    return float(np.clip((levels[best] + below) / 2.0, _LEAST_LIMIT, _MOST_LIMIT))
