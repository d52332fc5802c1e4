"""input-gate: what kind of picture this is; a small head on the lower blocks of MobileNetV2 as ImageNet left them."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from csss.inference.card import FLOAT_REPLAY, INT8_REPLAY, InputSpec, Replay
from csss.inference.head import Head
from csss.inference.metrics import expected_calibration_error
from training.augment import vary
from training.calibrate import distances, fit_distance, fit_temperature
from training.export import export_onnx, fold_grey, halve_weights
from training.gate_folder import GateEvidence, Row, write_gate
from training.gate_pictures import GatePicture, gather
from training.measure import softmax_rows
from training.mobilenetv2 import MobileNetV2, load_imagenet
from training.quantise import Precision, is_equal, judge, pool, quantise

SPEC = InputSpec(112, 112, "grey-repeated-3", "whole", "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LAST_BLOCK = 13
"""96 channels of 7 x 7: measured, the deeper blocks know less of what makes a radiograph (docs/models.md)."""
HIDDEN = 128
CHEST, TURNED, INVERTED = "chest-xray", "chest-xray-turned", "chest-xray-inverted"

_STEPS = 2000
_BATCH = 128
_RATE = 2e-3
_SURE_SHARE = 0.995
_SHOWN = 300
"""Pictures from which the 8-bit file takes its ranges."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the network is shown: ``batch`` rows uint8 (n, 112, 112), and where each comes from."""

    greys: NDArray[np.uint8]
    labels: NDArray[np.str_]
    splits: NDArray[np.str_]
    origins: NDArray[np.str_]


class _LowerBlocks(nn.Module):
    def __init__(self, network: MobileNetV2) -> None:
        super().__init__()
        self.blocks = network.features[: LAST_BLOCK + 1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.blocks(x)
        return features


def train_gate(
    data: Path, out: Path, *, weights: dict[str, torch.Tensor], cache: Path, strangers: Path | None, seed: int
) -> None:
    """Fit on the archives in the folder ``data`` and write the model folder ``out``.

    ``strangers`` is an archive of other DICOM files, only looked at in the end. The gathered pictures are kept
    in ``cache``: a run that was stopped goes on with the network's features.
    """
    imagenet = MobileNetV2()
    load_imagenet(imagenet, weights)
    whole = export_onnx(_LowerBlocks(imagenet.eval()), torch.zeros(1, SPEC.channels, SPEC.height_px, SPEC.width_px))
    seen = _gather_once(data, cache / f"gate-{_name_archives(data)}-{seed}.npz", seed)
    names = tuple(sorted(set(seen.labels.tolist())))
    truth = np.array([names.index(label) for label in seen.labels], dtype=np.int64)
    train, validation = np.flatnonzero(seen.splits == "train"), np.flatnonzero(seen.splits == "val")
    folded, spec = fold_grey(whole, SPEC)
    ways = _store(folded, spec, seen, truth, seed)
    chosen = ways[1] if is_equal(ways[1].figures, ways[0].figures) else ways[0]
    pooled = chosen.pooled
    centre, directions, means, residual = fit_distance(pooled[train], truth[train], len(names))
    w1, b1, w2, b2 = chosen.dense
    head = Head(w1, b1, w2, b2, centre, directions, means, residual)
    logits = _logits(chosen.dense, pooled)
    temperature = max(fit_temperature(logits[validation], truth[validation]), 1.0)
    shares = softmax_rows(logits, temperature)
    far = distances(head, pooled)
    right = validation[(shares[validation].argmax(axis=1) == truth[validation])]
    chests = right[seen.labels[right] == CHEST]
    tau = float(np.clip(np.quantile(shares[chests].max(axis=1), 1.0 - _SURE_SHARE), 0.5, 0.95))
    limit = float(np.quantile(far[chests], _SURE_SHARE))
    rows = tuple(
        Row(
            str(seen.splits[i]),
            str(seen.labels[i]),
            str(seen.origins[i]),
            names[int(shares[i].argmax())],
            bool(shares[i].max() >= tau and far[i] <= limit),
        )
        for i in range(len(truth))
        if seen.splits[i] != "train"
    )
    evidence = GateEvidence(
        rows=rows,
        train_pictures=_count_pictures(seen.labels[train]),
        fingerprint_sha256=_fingerprint(seen),
        test_ece=expected_calibration_error(truth[seen.splits == "test"], shares[seen.splits == "test"]) or 0.0,
        stored=tuple(way.figures for way in ways),
        strangers=strangers,
        command=" ".join(["python -m training", *sys.argv[1:]]),
        seed=seed,
    )
    write_gate(
        out,
        names,
        spec,
        chosen.model,
        head,
        replay=chosen.replay,
        temperature=temperature,
        tau=tau,
        limit=limit,
        evidence=evidence,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """One way to store the network: its file, its features (n, K) of all pictures, the head fitted on them."""

    model: bytes
    replay: Replay
    pooled: NDArray[np.float32]
    dense: tuple[NDArray[np.float32], ...]
    figures: Precision


def _store(folded: bytes, spec: InputSpec, seen: _Seen, truth: NDArray[np.int64], seed: int) -> tuple[_Way, _Way]:
    """The network with float16 weights and in 8 bits, each with a head of its own, judged on validation."""
    train, validation = np.flatnonzero(seen.splits == "train"), np.flatnonzero(seen.splits == "val")
    shown = seen.greys[train[:: max(1, len(train) // _SHOWN)]]

    def fit(name: str, model: bytes, replay: Replay) -> _Way:
        pooled = pool(model, seen.greys, spec, torch.get_num_threads())
        dense = _fit_head(pooled, truth, train, int(truth.max()) + 1, seed)
        figures = judge(
            name, model, pooled[validation], truth[validation], lambda rows: _logits(dense, rows).astype(np.float64)
        )
        return _Way(model, replay, pooled, dense, figures)

    return fit("float16", halve_weights(folded), FLOAT_REPLAY), fit("int8", quantise(folded, shown, spec), INT8_REPLAY)


def _name_archives(data: Path) -> str:
    """Names the archives of a folder exactly."""
    digest = hashlib.sha256()
    for path in sorted(data.glob("*.zip")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _gather_once(data: Path, kept: Path, seed: int) -> _Seen:
    if not kept.exists():
        seen = _show(gather(data, seed), seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, greys=seen.greys, labels=seen.labels, splits=seen.splits, origins=seen.origins)
        partial.replace(kept)
    with np.load(kept) as file:
        return _Seen(file["greys"], file["labels"], file["splits"], file["origins"])


def _show(pictures: tuple[GatePicture, ...], seed: int) -> _Seen:
    """Varied copies for training, the pictures as they are else; chests also turned and with levels swapped."""
    random = np.random.default_rng(seed)
    rows: list[tuple[NDArray[np.uint8], str, str, str]] = []
    for picture in pictures:
        train = picture.split == "train"
        for copy in range(_copies(picture.label) if train else 1):
            rows.append((_one(picture, random, train), picture.label, picture.split, picture.origin))
            if picture.label == CHEST and copy == 0:
                turned = np.rot90(_one(picture, random, train), int(random.integers(1, 4)))
                rows.append((turned, TURNED, picture.split, picture.origin))
                rows.append((255 - _one(picture, random, train), INVERTED, picture.split, picture.origin))
    greys, labels, splits, origins = zip(*rows, strict=True)
    return _Seen(np.stack(greys), np.array(labels), np.array(splits), np.array(origins))


def _copies(label: str) -> int:
    return 2 if label in (CHEST, "chest-phantom") else 4


def _count_pictures(labels: NDArray[np.str_]) -> int:
    """The pictures behind the varied copies; a turned or inverted chest is no further one."""
    return round(sum(1.0 / _copies(label) for label in labels if label not in (TURNED, INVERTED)))


def _fingerprint(seen: _Seen) -> str:
    """sha256 over every picture as it was shown, with its label, split and collection."""
    found = hashlib.sha256()
    for grey, *words in zip(seen.greys, seen.labels, seen.splits, seen.origins, strict=True):
        found.update(grey.tobytes() + "\n".join(words).encode())
    return found.hexdigest()


def _one(picture: GatePicture, random: np.random.Generator, train: bool) -> NDArray[np.uint8]:
    size = (SPEC.width_px, SPEC.height_px)
    grey = picture.grey
    if train:
        grey = vary(np.asarray(Image.fromarray(grey).resize((144, 144), Image.Resampling.BILINEAR)), random)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))


def _fit_head(
    pooled: NDArray[np.float32], truth: NDArray[np.int64], train: NDArray[np.int64], classes: int, seed: int
) -> tuple[NDArray[np.float32], ...]:
    """w1, b1, w2, b2 of Dense -> ReLU -> Dense; the standardisation of the features is folded into the first."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    middle, spread = pooled[train].mean(axis=0), pooled[train].std(axis=0) + 1e-3
    inputs = torch.from_numpy((pooled - middle) / spread)
    wanted = torch.from_numpy(truth)
    first, last = nn.Linear(inputs.shape[1], HIDDEN), nn.Linear(HIDDEN, classes)
    head = nn.Sequential(nn.Dropout(0.1), first, nn.ReLU(), nn.Dropout(0.2), last)
    optimizer = torch.optim.AdamW(head.parameters(), _RATE, weight_decay=0.01)
    chance = 1.0 / np.sqrt(np.bincount(truth[train])[truth[train]])
    for step in range(_STEPS):
        rows = random.choice(train, _BATCH, p=chance / chance.sum())
        loss = nn.functional.cross_entropy(head(inputs[rows]), wanted[rows], label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1.0 - step / _STEPS)
    w1, b1 = first.weight.detach().numpy() / spread, first.bias.detach().numpy()
    folded = (w1, b1 - w1 @ middle, last.weight.detach().numpy(), last.bias.detach().numpy())
    return tuple(np.ascontiguousarray(array, dtype=np.float32) for array in folded)


def _logits(dense: tuple[NDArray[np.float32], ...], pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    w1, b1, w2, b2 = dense
    logits: NDArray[np.float32] = np.maximum(pooled @ w1.T + b1, 0.0) @ w2.T + b2
    return logits
