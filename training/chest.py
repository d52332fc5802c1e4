"""chest-mobilenetv2: from the archive to a served model folder with its measured card."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csss.inference.card import InputSpec
from csss.inference.head import Head
from training.archive import Sample, fingerprint, read_manifest
from training.augment import hide_corners
from training.cache import cache_activations, pool_features
from training.calibrate import distances, fit_distance, fit_temperature
from training.evidence import Evidence, SourceProbe, shares_of
from training.export import export_onnx
from training.fit import ChestNet, Epoch, FitData, FitPlan, balance, fit, run_all
from training.folder import draft_card, write_folder
from training.measure import measure, softmax_rows
from training.mobilenetv2 import MobileNetV2, load_imagenet
from training.served import compare_logits, predict_foreign, predict_split

SPEC = InputSpec(
    width_px=224,
    height_px=224,
    colour="grey-repeated-3",
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
FIRST_TUNED_BLOCK = 14
LIMIT_PERCENTILE = 99.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a person may change about a run; everything else is fixed in `plan_fit`."""

    epochs: int
    variants: int
    seed: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The archive as rows of cached inputs; row i below ``len(samples)`` is the plain picture i."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    data: FitData

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split in the order of `plain`."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def plain(self, split: str) -> NDArray[np.int64]:
        """Rows of the plain pictures of one split."""
        return np.array([row for row, sample in enumerate(self.samples) if sample.split == split], dtype=np.int64)


def train_chest(
    archive: Path,
    out: Path,
    *,
    weights: dict[str, torch.Tensor],
    cache: Path,
    foreign: Path | None,
    recipe: Recipe,
) -> None:
    """Train on ``archive`` from ImageNet ``weights`` and write the model folder ``out`` (NAME/VERSION).

    What is slow is kept in ``cache``: an interrupted run goes on where it stopped.
    """
    torch.manual_seed(recipe.seed)
    network = MobileNetV2()
    load_imagenet(network, weights)
    network.eval()
    prepared = prepare_rows(archive, network, cache, recipe)
    # A slice shares its blocks with the whole network: tuning it tunes ``network``.
    upper = network.features[FIRST_TUNED_BLOCK:]
    pooled = pool_features(upper, prepared.data.inputs)
    frozen = replace_inputs(prepared, pooled)
    head_only, _ = fit_head(frozen, recipe)
    probes = probe_sources(frozen, recipe)
    tuned = ChestNet(upper, len(prepared.labels), plan_fit(recipe).dropout)
    tuned.dense1.load_state_dict(head_only.dense1.state_dict())
    tuned.dense2.load_state_dict(head_only.dense2.state_dict())
    history = fit(tuned, prepared.data, plan_fit(recipe), checkpoint_path(prepared, cache, recipe))
    test = prepared.plain("test")
    baseline = measure(prepared.data.truth[test], softmax_rows(run_all(head_only, pooled, test)), prepared.labels)
    model = export_onnx(network, torch.zeros(1, 3, SPEC.height_px, SPEC.width_px))
    head, temperature, limit = _calibrate(tuned, upper, prepared)
    card = draft_card(out, prepared.labels, SPEC, model, head, temperature, limit)
    blotted = predict_split(archive, prepared.split("test"), card, head, model, change=hide_corners)
    evidence = Evidence(
        samples=prepared.samples,
        labels=prepared.labels,
        fingerprint_sha256=fingerprint(prepared.samples),
        validation=predict_split(archive, prepared.split("val"), card, head, model),
        test=predict_split(archive, prepared.split("test"), card, head, model),
        history=history,
        frozen=baseline,
        probes=probes,
        trials=(),
        choices=(),
        without_corners=measure(prepared.data.truth[test], shares_of(blotted), prepared.labels),
        foreign=predict_foreign(foreign, card, head, model) if foreign else (),
        agreement=compare_logits(archive, prepared.split("test"), card, network, head, model),
        command=" ".join(["python -m training", *sys.argv[1:]]),
        seed=recipe.seed,
    )
    write_folder(out, card, model, head, evidence)


def checkpoint_path(prepared: Prepared, cache: Path, recipe: Recipe) -> Path:
    """Where the fit of the blocks keeps its state: named by the data and by what a person may change."""
    name = f"chest-{fingerprint(prepared.samples)[:12]}-{recipe.epochs}-{recipe.variants}-{recipe.seed}.pt"
    return cache / name


def plan_fit(recipe: Recipe) -> FitPlan:
    """How the head and the upper blocks are fitted."""
    return FitPlan(
        epochs=recipe.epochs,
        patience=4,
        batch=32,
        head_rate=1e-3,
        blocks_rate=2e-4,
        weight_decay=1e-4,
        label_smoothing=0.05,
        dropout=0.2,
        warming_steps=300,
        seed=recipe.seed,
    )


def prepare_rows(archive: Path, network: MobileNetV2, cache: Path, recipe: Recipe) -> Prepared:
    """The archive as cached activations before block 14, plain pictures first, then variants of the training ones."""
    samples = read_manifest(archive)
    lower = network.features[:FIRST_TUNED_BLOCK]
    cached = cache_activations(archive, samples, lower, SPEC, folder=cache, variants=recipe.variants, seed=recipe.seed)
    shown = [samples[index] for index in cached.picture]
    labels = tuple(sorted({sample.label for sample in samples}))
    truth = np.array([labels.index(sample.label) for sample in shown], dtype=np.int64)
    train = np.array([row for row, sample in enumerate(shown) if sample.split == "train"], dtype=np.int64)
    validation = np.array([row for row, sample in enumerate(shown) if sample.split == "val"], dtype=np.int64)
    chance = balance([shown[row].label for row in train], [shown[row].source for row in train])
    drawn = sum(sample.split == "train" for sample in samples)
    return Prepared(samples, labels, FitData(cached.activations, truth, train, chance, validation, drawn))


def replace_inputs(prepared: Prepared, inputs: NDArray[np.float32]) -> Prepared:
    """The same rows with other inputs (rows, ...)."""
    data = prepared.data
    rows = (data.truth, data.train_rows, data.chance, data.val_rows, data.drawn_per_epoch)
    return Prepared(prepared.samples, prepared.labels, FitData(inputs, *rows))


def fit_head(frozen: Prepared, recipe: Recipe) -> tuple[ChestNet, tuple[Epoch, ...]]:
    """A new head fitted on pooled features."""
    torch.manual_seed(recipe.seed)
    network = ChestNet(None, len(frozen.labels), plan_fit(recipe).dropout)
    return network, fit(network, frozen.data, plan_fit(recipe))


def probe_sources(frozen: Prepared, recipe: Recipe) -> tuple[SourceProbe, ...]:
    """The head trained without one source, measured on all of that source: what a new hospital may meet."""
    samples, data = frozen.samples, frozen.data
    variants = (len(data.inputs) - len(samples)) // max(data.drawn_per_epoch, 1)
    training = [index for index, sample in enumerate(samples) if sample.split == "train"]
    picture = np.array(list(range(len(samples))) + training * variants)
    source_of_row = np.array([samples[index].source for index in picture])
    probes = []
    for source in sorted({sample.source for sample in samples}):
        kept = data.train_rows[source_of_row[data.train_rows] != source]
        validation = data.val_rows[source_of_row[data.val_rows] != source]
        chance = balance([samples[picture[row]].label for row in kept], source_of_row[kept].tolist())
        part = FitData(data.inputs, data.truth, kept, chance, validation, data.drawn_per_epoch)
        network, _ = fit_head(Prepared(samples, frozen.labels, part), recipe)
        outside = np.flatnonzero(source_of_row[: len(samples)] == source)
        shares = softmax_rows(run_all(network, data.inputs, outside))
        probes.append(SourceProbe(source, measure(data.truth[outside], shares, frozen.labels)))
    return tuple(probes)


def _calibrate(tuned: ChestNet, upper: torch.nn.Module, prepared: Prepared) -> tuple[Head, float, float]:
    train, validation = prepared.plain("train"), prepared.plain("val")
    truth = prepared.data.truth
    known = pool_features(upper, prepared.data.inputs[train])
    centre, directions, class_means, residual = fit_distance(known, truth[train], len(prepared.labels))
    dense = [
        parameter.detach().numpy() for layer in (tuned.dense1, tuned.dense2) for parameter in (layer.weight, layer.bias)
    ]
    w1, b1, w2, b2 = dense
    head = Head(w1, b1, w2, b2, centre, directions, class_means, residual)
    pooled = pool_features(upper, prepared.data.inputs[validation])
    logits = np.stack([head.logits(row)[1] for row in pooled])
    temperature = fit_temperature(logits, truth[validation])
    limit = float(np.percentile(distances(head, pooled), LIMIT_PERCENTILE))
    return head, temperature, limit
