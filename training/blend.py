"""Blend the weights a fit began with and those it came to: the line between is often better than both ends.

After Wortsman et al. 2022 (arXiv:2109.01903). Both ends share their statistics of batch norm.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from csss.inference.card import InputSpec
from training.evidence import Choice
from training.fit import ChestNet
from training.measure import Figures, measure, softmax_rows
from training.whole import PictureData, run_pictures

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

State = dict[str, torch.Tensor]


def blend_weights(start: State, end: State, share: float) -> State:
    """The weights at ``share`` (0 to 1) of the way from ``start`` to ``end``."""
    return {
        name: torch.lerp(value, end[name], share) if value.is_floating_point() else end[name]
        for name, value in start.items()
    }


def choose_blend(
    network: ChestNet, start: State, data: PictureData, labels: tuple[str, ...], spec: InputSpec
) -> tuple[Choice, ...]:
    """Leave ``network`` at the blend that does best on validation; returns all that were tried.

    Judged by the mean of macro F1 over all and balanced accuracy averaged over sources, so that no
    large source decides alone.
    """
    end = {name: value.clone() for name, value in network.state_dict().items()}
    truth, source = data.truth[data.val_rows], data.source[data.val_rows]
    tried = []
    for share in SHARES:
        network.load_state_dict(blend_weights(start, end, share))
        shares = softmax_rows(run_pictures(network, data.pictures, data.val_rows, spec))
        tried.append(Choice(share, measure(truth, shares, labels), _average_sources(truth, shares, source, labels)))
    best = max(tried, key=lambda choice: choice.validation.macro_f1 + choice.over_sources)
    network.load_state_dict(blend_weights(start, end, best.share))
    return tuple(tried)


def _average_sources(
    truth: NDArray[np.int64], shares: NDArray[np.float64], source: NDArray[np.int64], labels: tuple[str, ...]
) -> float:
    def judge(rows: NDArray[np.bool_]) -> Figures:
        return measure(truth[rows], shares[rows], labels)

    return float(np.mean([judge(source == each).balanced_accuracy for each in np.unique(source)]))
