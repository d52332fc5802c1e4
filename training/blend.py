"""Average the weights that two courses ended with: the line between is often better than both ends.

After Wortsman et al. 2022 (arXiv:2109.01903). The averaged statistics of batch norm are kept as they are.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from csss.inference.card import InputSpec
from training.chest_net import ChestNet
from training.finetune import Pictures, run_pictures
from training.measure import macro_f1

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

State = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Blend:
    """``share`` of the way from before to after the course of this number, judged on the validation split."""

    course: int
    share: float
    loss: float
    macro_f1: float


def blend_weights(start: State, end: State, share: float) -> State:
    """The weights at ``share`` (0 to 1) of the way from ``start`` to ``end``."""
    return {
        name: torch.lerp(value, end[name], share) if value.is_floating_point() else end[name]
        for name, value in start.items()
    }


def choose_blend(
    network: ChestNet, start: State, course: int, pictures: Pictures, spec: InputSpec, device: torch.device
) -> tuple[Blend, ...]:
    """Leave ``network``, come from ``start``, at the blend with the least validation loss; returns all tried."""
    end = {name: value.clone() for name, value in network.state_dict().items()}
    greys, truth = pictures.greys[pictures.val_rows], pictures.truth[pictures.val_rows]
    tried = []
    for share in SHARES:
        network.load_state_dict(blend_weights(start, end, share))
        logits = run_pictures(network, greys, spec, spec.width_px, device)
        loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)).item()
        tried.append(Blend(course, share, loss, macro_f1(truth, np.asarray(logits.argmax(axis=1)), logits.shape[1])))
    best = min(tried, key=lambda blend: blend.loss)
    network.load_state_dict(blend_weights(start, end, best.share))
    return tuple(tried)
