"""Two short ways to `csss.inference.metrics` that fits need at every stage: softmax of rows, macro F1 of answers."""

import numpy as np
from numpy.typing import NDArray

from csss.inference.metrics import Cases, measure


def softmax_rows(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """softmax(logits / temperature) of each row, (n, C)."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def macro_f1(truth: NDArray[np.int64], answer: NDArray[np.int64], classes: int) -> float:
    """Mean F1 over the classes that occur in ``truth``, of answers (n,) without probabilities; 0 for no answer."""
    figures = measure(Cases.answered_all(truth, np.eye(classes)[answer], tuple(map(str, range(classes)))))
    return figures.macro_f1 or 0.0
