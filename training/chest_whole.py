"""chest-mobilenetv2, whole network: goes on from the tuned blocks, with what belongs to a source randomised."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csss.inference.head import Head
from training.archive import fingerprint
from training.augment import hide_corners
from training.blend import choose_blend
from training.cache import pool_features
from training.calibrate import distances, fit_distance, fit_temperature
from training.chest import (
    FIRST_TUNED_BLOCK,
    LIMIT_PERCENTILE,
    SPEC,
    Prepared,
    Recipe,
    checkpoint_path,
    fit_head,
    plan_fit,
    prepare_rows,
)
from training.evidence import OUTSIDE_SOURCES, Choice, Evidence, Trial, shares_of
from training.export import INPUT, OUTPUT, export_onnx, open_exported
from training.fit import ChestNet, Epoch, FitData, balance, fit, run_all
from training.folder import draft_card, write_folder
from training.measure import measure, softmax_rows
from training.mobilenetv2 import MobileNetV2, load_imagenet
from training.pictures import cache_pictures
from training.served import compare_logits, predict_foreign, predict_split
from training.trials import leave_out, try_recipes
from training.whole import PictureData, WholePlan, fit_whole, to_batch

_KNOWN_STEP = 3
"""Every third training picture is enough for a covariance and takes a third of the time."""


@dataclass(frozen=True, slots=True)
class WholeRecipe:
    """What a person may change: ``blocks`` is the run it goes on from, ``trial_drawn`` 0 leaves the trials out."""

    blocks: Recipe
    sides_px: tuple[int, ...]
    randomised: tuple[float, ...]
    drawn: int
    trial_sides_px: tuple[int, ...]
    trial_drawn: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the fit came to; ``network`` is the same blocks as ``tuned.upper``."""

    network: MobileNetV2
    tuned: ChestNet
    history: tuple[Epoch, ...]
    choices: tuple[Choice, ...]


def train_whole(
    archive: Path,
    out: Path,
    *,
    weights: dict[str, torch.Tensor],
    cache: Path,
    foreign: Path | None,
    recipe: WholeRecipe,
) -> None:
    """Train on ``archive`` and write the model folder ``out``; whatever ``cache`` holds already is not done again."""
    imagenet = MobileNetV2()
    load_imagenet(imagenet, weights)
    imagenet.eval()
    prepared = prepare_rows(archive, imagenet, cache, recipe.blocks)
    plain = _plain_features(imagenet, prepared)
    data = _picture_data(archive, prepared, cache)
    trials = _run_trials(imagenet, plain, data, prepared, cache, recipe)
    head_only, _ = fit_head(plain, recipe.blocks)
    fitted = _fit(weights, head_only, data, prepared, cache, recipe)
    model = export_onnx(fitted.network, torch.zeros(1, 3, SPEC.height_px, SPEC.width_px))
    head, temperature, limit = _calibrate(fitted.tuned, model, data, prepared)
    card = draft_card(out, prepared.labels, SPEC, model, head, temperature, limit)
    test = prepared.plain("test")
    baseline = softmax_rows(run_all(head_only, plain.data.inputs, test))
    blotted = predict_split(archive, prepared.split("test"), card, head, model, change=hide_corners)
    evidence = Evidence(
        samples=prepared.samples,
        labels=prepared.labels,
        fingerprint_sha256=fingerprint(prepared.samples),
        validation=predict_split(archive, prepared.split("val"), card, head, model),
        test=predict_split(archive, prepared.split("test"), card, head, model),
        history=fitted.history,
        frozen=measure(data.truth[test], baseline, prepared.labels),
        probes=(),
        trials=trials,
        choices=fitted.choices,
        without_corners=measure(data.truth[test], shares_of(blotted), prepared.labels),
        foreign=predict_foreign(foreign, card, head, model) if foreign else (),
        agreement=compare_logits(archive, prepared.split("test"), card, fitted.network, head, model),
        command=" ".join(["python -m training", *sys.argv[1:]]),
        seed=recipe.blocks.seed,
    )
    write_folder(out, card, model, head, evidence)


def _plan(recipe: WholeRecipe, sides_px: tuple[int, ...], randomised: tuple[float, ...], drawn: int) -> WholePlan:
    return WholePlan(
        sides_px=sides_px,
        randomised=randomised,
        drawn=drawn,
        batch=32,
        head_rate=4e-4,
        blocks_rate=1.2e-4,
        weight_decay=0.02,
        label_smoothing=0.05,
        averaging=0.99,
        warming_steps=40,
        seed=recipe.blocks.seed,
    )


def _plain_features(imagenet: MobileNetV2, prepared: Prepared) -> Prepared:
    """Pooled ImageNet features of the plain pictures only, with the fit's rows to match."""
    count, data = len(prepared.samples), prepared.data
    pooled = pool_features(imagenet.features[FIRST_TUNED_BLOCK:], data.inputs[:count])
    train = prepared.plain("train")
    chance = balance([sample.label for sample in prepared.split("train")], [s.source for s in prepared.split("train")])
    part = FitData(pooled, data.truth[:count], train, chance, data.val_rows, data.drawn_per_epoch)
    return Prepared(prepared.samples, prepared.labels, part)


def _picture_data(archive: Path, prepared: Prepared, cache: Path) -> PictureData:
    samples = prepared.samples
    sources = sorted({sample.source for sample in samples})
    train = prepared.split("train")
    return PictureData(
        pictures=cache_pictures(archive, samples, SPEC, folder=cache),
        truth=prepared.data.truth[: len(samples)],
        source=np.array([sources.index(sample.source) for sample in samples], dtype=np.int64),
        train_rows=prepared.plain("train"),
        chance=balance([sample.label for sample in train], [sample.source for sample in train]),
        val_rows=prepared.plain("val"),
    )


def _run_trials(
    imagenet: MobileNetV2, plain: Prepared, data: PictureData, prepared: Prepared, cache: Path, recipe: WholeRecipe
) -> tuple[Trial, ...]:
    kept = leave_out(prepared.samples, OUTSIDE_SOURCES)
    if not recipe.trial_drawn or not len(kept.outside):
        return ()
    plan = _plan(recipe, recipe.trial_sides_px, (), recipe.trial_drawn)
    return try_recipes(imagenet, plain.data.inputs, data, kept, plan_fit(recipe.blocks), plan, SPEC, cache)


def _fit(
    weights: dict[str, torch.Tensor],
    head_only: ChestNet,
    data: PictureData,
    prepared: Prepared,
    cache: Path,
    recipe: WholeRecipe,
) -> Fitted:
    """The blocks first (from their checkpoint where there is one), then the whole network."""
    blocks_plan, plan = plan_fit(recipe.blocks), _plan(recipe, recipe.sides_px, recipe.randomised, recipe.drawn)
    network = MobileNetV2()
    load_imagenet(network, weights)
    upper = ChestNet(network.features[FIRST_TUNED_BLOCK:], len(prepared.labels), blocks_plan.dropout)
    upper.dense1.load_state_dict(head_only.dense1.state_dict())
    upper.dense2.load_state_dict(head_only.dense2.state_dict())
    fit(upper, prepared.data, blocks_plan, checkpoint_path(prepared, cache, recipe.blocks))
    tuned = ChestNet(network.features, len(prepared.labels), blocks_plan.dropout)
    tuned.dense1, tuned.dense2 = upper.dense1, upper.dense2
    start = {name: value.clone() for name, value in tuned.state_dict().items()}
    history = fit_whole(
        tuned, data, plan, SPEC, checkpoint=cache / f"whole-{fingerprint(prepared.samples)[:12]}-{plan.key}.pt"
    )
    choices = choose_blend(tuned, start, data, prepared.labels, SPEC)
    return Fitted(network, tuned, history, choices)


def _calibrate(tuned: ChestNet, model: bytes, data: PictureData, prepared: Prepared) -> tuple[Head, float, float]:
    labels = len(prepared.labels)
    known, validation = data.train_rows[::_KNOWN_STEP], data.val_rows
    seen, unseen = _pool(model, data.pictures, known), _pool(model, data.pictures, validation)
    w1, b1, w2, b2 = (
        parameter.detach().numpy() for layer in (tuned.dense1, tuned.dense2) for parameter in (layer.weight, layer.bias)
    )
    logits = np.maximum(unseen @ w1.T + b1, 0.0) @ w2.T + b2
    head = Head(w1, b1, w2, b2, *fit_distance(seen, data.truth[known], labels))
    temperature = fit_temperature(logits, data.truth[validation])
    return head, temperature, float(np.percentile(distances(head, unseen), LIMIT_PERCENTILE))


def _pool(model: bytes, pictures: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    session = open_exported(model, torch.get_num_threads())
    parts = []
    for start in range(0, len(rows), 32):
        batch = np.ascontiguousarray(to_batch(pictures[rows[start : start + 32]], SPEC).numpy())
        parts.append(session.run([OUTPUT], {INPUT: batch})[0].mean(axis=(2, 3)))
    return np.concatenate(parts)
