"""Fit on the validation split what turns logits into honest answers: temperature and distance limit."""

import numpy as np
from numpy.typing import NDArray

from csss.inference.head import Head
from training.measure import softmax_rows

Floats = NDArray[np.float32]

_DIRECTIONS = 64
_SHRINKAGE = 0.1


def fit_temperature(logits: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature in [0.1, 10] with the least negative log likelihood (Guo et al. 2017)."""
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        shares = softmax_rows(logits, float(np.exp(log_temperature)))[rows, truth]
        return float(-np.log(np.maximum(shares, 1e-12)).mean())

    low, high = np.log(0.1), np.log(10.0)
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2.0))


def fit_distance(pooled: Floats, truth: NDArray[np.int64], classes: int) -> tuple[Floats, Floats, Floats, Floats]:
    """(centre, directions, class_means, residual_scale) for `csss.inference.head.Head.distance`.

    The directions are the leading ones of the spread within the classes, scaled so that this spread
    is 1 along each of them.
    """
    values = pooled.astype(np.float64)
    centre = values.mean(axis=0)
    means = np.stack([values[truth == index].mean(axis=0) for index in range(classes)])
    within = values - means[truth]
    variance, vectors = np.linalg.eigh(within.T @ within / len(values))
    variance, vectors = variance[::-1][:_DIRECTIONS], vectors[:, ::-1][:, :_DIRECTIONS].T
    scale = np.sqrt(variance + _SHRINKAGE * variance.mean())
    directions = vectors / scale[:, None]
    centred = values - centre
    rest = centred - (centred @ vectors.T) @ vectors
    residual = np.sqrt((rest**2).sum(axis=1).mean())
    class_means = (means - centre) @ directions.T
    parts = (centre, directions, class_means, np.array([residual]))
    first, second, third, fourth = (np.ascontiguousarray(part, dtype=np.float32) for part in parts)
    return first, second, third, fourth


def distances(head: Head, pooled: Floats) -> NDArray[np.float64]:
    """`Head.distance` of each row of pooled features (n, K)."""
    return np.array([head.distance(row) for row in pooled])
