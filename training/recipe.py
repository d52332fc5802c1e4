"""papers-recipe: the papers' pipeline as it is written, fitted and measured like any other model, for comparison.

Frozen ImageNet MobileNetV2 on grey levels in [0, 1] -> GAP -> Dense(128, ReLU) -> Dense(softmax), Adam at 1e-4,
batches of 16, early stopping with a patience of 3 on the validation loss.
"""

import copy
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from csss.inference.card import FLOAT_REPLAY, InputSpec
from training.archive import fingerprint, read_manifest
from training.chest_card import demand_labels
from training.chest_net import HIDDEN
from training.export import export_onnx, halve_weights
from training.finetune import Epoch
from training.folder import Fitted, finish_folder
from training.measure import macro_f1
from training.mobilenetv2 import FEATURE_CHANNELS, MobileNetV2, load_imagenet
from training.pictures import cache_pictures
from training.pretrained import imagenet_ingredient
from training.quantise import pool

SPEC = InputSpec(224, 224, "grey-repeated-3", "whole", "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
RATE = 1e-4
BATCH = 16
PATIENCE = 3
MOST_EPOCHS = 60


@dataclass(frozen=True, slots=True)
class _Rows:
    inputs: torch.Tensor
    truth: torch.Tensor
    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def train_recipe(
    archive: Path, weights: dict[str, torch.Tensor], *, out: Path, cache: Path, foreign: Path | None, seed: int
) -> None:
    """Fit the recipe on ``archive`` and write its model folder ``out``; features are kept in ``cache``."""
    samples = read_manifest(archive)
    demand_labels(samples)
    imagenet = MobileNetV2()
    load_imagenet(imagenet, weights)
    model = halve_weights(export_onnx(imagenet.eval(), torch.zeros(1, 3, SPEC.height_px, SPEC.width_px)))
    greys = cache_pictures(archive, samples, SPEC, folder=cache)
    pooled = _keep_features(model, greys, cache / f"recipe-{fingerprint(samples)[:12]}.npy")
    labels = sorted({sample.label for sample in samples})
    splits = np.array([sample.split for sample in samples])
    rows = _Rows(
        torch.from_numpy(pooled),
        torch.tensor([labels.index(sample.label) for sample in samples]),
        np.flatnonzero(splits == "train"),
        np.flatnonzero(splits == "val"),
    )
    dense, history = _fit(rows, len(labels), seed)
    finish_folder(
        Fitted(
            archive=archive,
            samples=samples,
            spec=SPEC,
            shown=SPEC,
            model=model,
            backbone=imagenet,
            pooled=pooled,
            dense=tuple(parameter.detach().numpy() for parameter in dense.parameters()),
            history=history,
            trials=(),
            blends=(),
            precisions=(),
            replay=FLOAT_REPLAY,
            command=" ".join(["python -m training", *sys.argv[1:]]),
            seed=seed,
            ingredients=(imagenet_ingredient(),),
            for_patients=False,
        ),
        out=out,
        gate=None,
        foreign=foreign,
        beside=None,
    )


def _keep_features(model: bytes, greys: NDArray[np.uint8], kept: Path) -> NDArray[np.float32]:
    """GAP features (n, 1280) of the pictures as they are."""
    if kept.exists():
        loaded: NDArray[np.float32] = np.load(kept)
        return loaded
    pooled = pool(model, greys, SPEC, torch.get_num_threads())
    partial = kept.with_suffix(".partial.npy")
    np.save(partial, pooled)
    partial.replace(kept)
    return pooled


def _fit(rows: _Rows, classes: int, seed: int) -> tuple[nn.Sequential, tuple[Epoch, ...]]:
    torch.manual_seed(seed)
    dense = nn.Sequential(nn.Linear(FEATURE_CHANNELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
    optimizer = torch.optim.Adam(dense.parameters(), RATE)
    best, history = copy.deepcopy(dense.state_dict()), []
    random = np.random.default_rng(seed)
    for number in range(1, MOST_EPOCHS + 1):
        losses = []
        order = random.permutation(rows.train)
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            loss = functional.cross_entropy(dense(rows.inputs[part]), rows.truth[part])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        history.append(_judge(dense, rows, number, float(np.mean(losses)), classes))
        print(f"epoch {history[-1]}", file=sys.stderr, flush=True)
        falls = [epoch.val_loss for epoch in history]
        if int(np.argmin(falls)) == len(falls) - 1:
            best = copy.deepcopy(dense.state_dict())
        elif len(falls) - 1 - int(np.argmin(falls)) >= PATIENCE:
            break
    dense.load_state_dict(best)
    return dense, tuple(history)


def _judge(dense: nn.Sequential, rows: _Rows, number: int, train_loss: float, classes: int) -> Epoch:
    with torch.inference_mode():
        logits = dense(rows.inputs[rows.validation])
        loss = functional.cross_entropy(logits, rows.truth[rows.validation]).item()
    truth = rows.truth[rows.validation].numpy()
    return Epoch(number, train_loss, loss, macro_f1(truth, logits.argmax(1).numpy(), classes))
