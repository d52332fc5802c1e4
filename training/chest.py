"""chest-mobilenetv2: from the archive to a served model folder with its measured card."""

import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits
from csss.imaging.readers import READERS
from csss.imaging.sniff import HEAD_BYTES, FileKind, sniff
from csss.imaging.volume import Volume
from csss.inference.card import InputSpec, ModelCard
from csss.inference.engines import ENGINES
from csss.inference.head import Head
from csss.inference.prediction import Prediction
from csss.inference.prepare import prepare_grey
from csss.inference.tasks.classify import classify
from training.archive import Sample, fingerprint, read_grey, read_manifest
from training.augment import hide_corners
from training.cache import cache_activations, pool_features
from training.calibrate import distances, fit_distance, fit_temperature
from training.evidence import Evidence, SourceProbe, shares_of
from training.export import export_onnx
from training.fit import ChestNet, Epoch, FitData, FitPlan, balance, fit, run_all
from training.folder import draft_card, write_folder
from training.measure import measure
from training.mobilenetv2 import MobileNetV2, load_imagenet

SPEC = InputSpec(
    width_px=224,
    height_px=224,
    colour="grey-repeated-3",
    interpolation="bilinear",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
FIRST_TUNED_BLOCK = 14
_LIMIT_PERCENTILE = 99.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a person may change about a run; everything else is fixed in `_plan`."""

    epochs: int
    variants: int
    seed: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The archive as rows of cached inputs; row i below ``len(samples)`` is the plain picture i."""

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    data: FitData

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
    prepared = _prepare(archive, network, cache, recipe)
    # A slice shares its blocks with the whole network: tuning it tunes ``network``.
    upper = network.features[FIRST_TUNED_BLOCK:]
    pooled = pool_features(upper, prepared.data.inputs)
    frozen = _replace_inputs(prepared, pooled)
    head_only, _ = _fit_head(frozen, recipe)
    probes = _probe_sources(frozen, recipe)
    tuned = ChestNet(upper, len(prepared.labels), _plan(recipe).dropout)
    tuned.dense1.load_state_dict(head_only.dense1.state_dict())
    tuned.dense2.load_state_dict(head_only.dense2.state_dict())
    name = f"chest-{fingerprint(prepared.samples)[:12]}-{recipe.epochs}-{recipe.variants}-{recipe.seed}.pt"
    history = fit(tuned, prepared.data, _plan(recipe), cache / name)
    test = prepared.plain("test")
    baseline = measure(prepared.data.truth[test], _softmax(run_all(head_only, pooled, test)), prepared.labels)
    model = export_onnx(network, torch.zeros(1, 3, SPEC.height_px, SPEC.width_px))
    head, temperature, limit = _calibrate(tuned, upper, prepared)
    card = draft_card(out, prepared.labels, SPEC, model, head, temperature, limit)
    blotted = _predict_split(archive, prepared, "test", card, head, model, change=hide_corners)
    evidence = Evidence(
        samples=prepared.samples,
        labels=prepared.labels,
        fingerprint_sha256=fingerprint(prepared.samples),
        validation=_predict_split(archive, prepared, "val", card, head, model),
        test=_predict_split(archive, prepared, "test", card, head, model),
        history=history,
        frozen=baseline,
        probes=probes,
        without_corners=measure(prepared.data.truth[test], shares_of(blotted), prepared.labels),
        foreign=_predict_foreign(foreign, card, head, model) if foreign else (),
        agreement=_agreement(archive, prepared, network, head, model),
        command=" ".join(["python -m training", *sys.argv[1:]]),
        seed=recipe.seed,
    )
    write_folder(out, card, model, head, evidence)


def _plan(recipe: Recipe) -> FitPlan:
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


def _prepare(archive: Path, network: MobileNetV2, cache: Path, recipe: Recipe) -> Prepared:
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


def _replace_inputs(prepared: Prepared, inputs: NDArray[np.float32]) -> Prepared:
    data = prepared.data
    rows = (data.truth, data.train_rows, data.chance, data.val_rows, data.drawn_per_epoch)
    return Prepared(prepared.samples, prepared.labels, FitData(inputs, *rows))


def _fit_head(frozen: Prepared, recipe: Recipe) -> tuple[ChestNet, tuple[Epoch, ...]]:
    torch.manual_seed(recipe.seed)
    network = ChestNet(None, len(frozen.labels), _plan(recipe).dropout)
    return network, fit(network, frozen.data, _plan(recipe))


def _probe_sources(frozen: Prepared, recipe: Recipe) -> tuple[SourceProbe, ...]:
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
        network, _ = _fit_head(Prepared(samples, frozen.labels, part), recipe)
        outside = np.flatnonzero(source_of_row[: len(samples)] == source)
        shares = _softmax(run_all(network, data.inputs, outside))
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
    limit = float(np.percentile(distances(head, pooled), _LIMIT_PERCENTILE))
    return head, temperature, limit


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _predict_split(
    archive: Path,
    prepared: Prepared,
    split: str,
    card: ModelCard,
    head: Head,
    model: bytes,
    *,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> tuple[Prediction, ...]:
    """The serving path itself over every picture of a split: what is measured is what is served."""
    engine = ENGINES[card.engine](model, 2)
    predictions = []
    with zipfile.ZipFile(archive) as pictures:
        for row in prepared.plain(split):
            grey = read_grey(pictures, prepared.samples[row])
            volume = Volume(pixels=(change(grey) if change else grey)[None], kind=FileKind.JPEG)
            predictions.append(classify(volume, card, head, engine))
    return tuple(predictions)


def _predict_foreign(archive: Path, card: ModelCard, head: Head, model: bytes) -> tuple[tuple[str, Prediction], ...]:
    """(folder, prediction) of every picture of an archive that holds no chest X-ray."""
    engine = ENGINES[card.engine](model, 2)
    predictions = []
    with zipfile.ZipFile(archive) as pictures:
        for name in sorted(pictures.namelist()):
            data = pictures.read(name)
            try:
                volume = READERS[sniff(data[:HEAD_BYTES], name)](data, Limits())
            except CsssError:
                continue
            predictions.append((name.split("/")[0], classify(volume, card, head, engine)))
    return tuple(predictions)


def _agreement(archive: Path, prepared: Prepared, network: MobileNetV2, head: Head, model: bytes) -> float:
    """The largest difference of a logit between torch and the exported model over 200 test pictures."""
    engine = ENGINES["onnx"](model, 1)
    worst = 0.0
    with zipfile.ZipFile(archive) as pictures, torch.inference_mode():
        for row in prepared.plain("test")[:200]:
            batch = prepare_grey(read_grey(pictures, prepared.samples[row]), SPEC)
            in_torch, served = network(torch.from_numpy(batch)).numpy(), engine.run(batch)
            first, second = (head.logits(features[0].mean(axis=(1, 2)))[1] for features in (in_torch, served))
            worst = max(worst, float(np.abs(first - second).max()))
    return worst
