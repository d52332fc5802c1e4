"""Make a whole model folder in code: a network of one pooling and one convolution, its head and its card; a gate."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import (
    FLOAT_REPLAY,
    Calibration,
    Coding,
    Explanation,
    FileHash,
    GateNeed,
    Ingredient,
    InputSpec,
    Label,
    ModelCard,
    OutOfDistribution,
    Risk,
    RiskRule,
    SourceFigures,
    Threshold,
    TrainingData,
    load_card,
    seal_of,
    write_card,
)
from csss.inference.engines.onnx import open_onnx
from csss.inference.golden import keep_golden, write_golden
from csss.inference.head import Head, write_head
from csss.inference.prepare import open_picture
from csss.inference.shelf import Shelf
from csss.inference.tasks.classify import classify

SIDE = 32
CHANNELS = 6
SPEC = InputSpec(SIDE, SIDE, "grey-repeated-3", "whole", "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def make_network(
    weight_seed: int = 1, *, filler: float | None = None, channels: int = CHANNELS, weights: np.ndarray | None = None
) -> bytes:
    """ONNX bytes: (n, 3, 32, 32) -> average pool 8 -> convolution 1 x 1 -> ReLU -> "features" (n, 6, 4, 4).

    The convolution's ``weights`` (channels, 3, 1, 1) are drawn unless they are given.
    """
    if weights is None:
        weights = np.random.default_rng(weight_seed).normal(size=(channels, 3, 1, 1)).astype(np.float32)
    if filler is not None:
        weights[:] = filler
    pool = _node("AveragePool", ["pictures"], ["pooled"], kernel_shape=(8, 8), strides=(8, 8))
    convolution = _node("Conv", ["pooled", "w"], ["mixed"], kernel_shape=(1, 1))
    relu = _node("Relu", ["mixed"], ["features"])
    tensor = b"".join(_number(1, size) for size in weights.shape) + _number(2, 1) + _text(8, "w")
    graph = b"".join(_field(1, node) for node in (pool, convolution, relu)) + _text(2, "tiny")
    graph += _field(5, tensor + _field(9, weights.tobytes()))
    graph += _field(11, _value("pictures", 3, SIDE, SIDE)) + _field(12, _value("features", channels, 4, 4))
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 17))


def make_head(seed: int = 2, labels: int = 3, sharpness: float = 8.0) -> Head:
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    w1, b1, w2, b2 = draw(5, CHANNELS), draw(5), sharpness * draw(labels, 5), draw(labels)
    # A last unit speaks for every label alike: it changes no probability, and every map is warm somewhere.
    return Head(
        w1=np.vstack([w1, np.ones((1, CHANNELS), np.float32)]),
        b1=np.append(b1, np.float32(0.0)),
        w2=np.hstack([w2, np.full((labels, 1), 4.0 * sharpness, np.float32)]),
        b2=b2,
        centre=np.zeros(CHANNELS, np.float32),
        directions=np.eye(2, CHANNELS, dtype=np.float32),
        class_means=np.zeros((labels, 2), np.float32),
        residual_scale=np.ones(1, np.float32),
    )


def make_picture(seed: int = 3, rows: int = 40, columns: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)


def make_volume(seed: int = 3, *, modality: str | None = None, body_part: str | None = None) -> Volume:
    return Volume(pixels=make_picture(seed)[None], kind=FileKind.PNG, modality=modality, body_part=body_part)


def make_card(network: bytes, head: bytes, golden: bytes, *, name: str = "tiny", version: str = "1") -> ModelCard:
    files = (("model.onnx", network), ("head.npz", head), ("golden.npz", golden))
    return ModelCard(
        name=name,
        version=version,
        task="classify",
        purpose="patients",
        engine="onnx",
        modalities=("DX", "CR", "unstated"),
        body_parts=("CHEST", "unstated"),
        input=SPEC,
        labels=(
            Label("calm", "Calm", None, Risk.LOW),
            Label("wave", "Wave", Coding("SNOMED CT", "1", "Wave"), Risk.HIGH),
            Label("storm", "Storm", None, Risk.HIGH),
        ),
        threshold=Threshold(0.75, "default rule", version, _sha256(network), _sha256(head)),
        calibration=Calibration("temperature", 1.5, (), (), "made-up pictures"),
        ood=OutOfDistribution("pca-mahalanobis", 100.0, "everything passes"),
        conformal=None,
        gate=None,
        quality=None,
        risk=RiskRule(0.1, Risk.MODERATE, "highest plausible"),
        explanation=Explanation("grad-cam-closed-form", True, "a test"),
        intended_use="Tests only.",
        limits=("It knows nothing.",),
        training_data=TrainingData(
            "0" * 64, "made up", 1, 1, 1, 0.5, 0.5, 0.5, 0.5, (SourceFigures("made-up", 1, 0.5, 0.5),)
        ),
        ingredients=(Ingredient("weights", "random numbers", "MIT", None),),
        phantom_trained=True,
        replay=FLOAT_REPLAY,
        files=tuple(FileHash(file, _sha256(data)) for file, data in files),
    )


def make_folder(root: Path, *, name: str = "tiny", version: str = "1", network: bytes | None = None) -> Path:
    """A folder ``root/name/version`` that `load_card` accepts; its golden case was made by the real chain."""
    folder = root / name / version
    folder.mkdir(parents=True)
    network = make_network() if network is None else network
    head = write_head(make_head())
    draft = make_card(network, head, b"", name=name, version=version)
    volume = make_volume()
    prediction = classify(open_picture(volume), draft, make_head(), open_onnx(make_network(), 1))
    golden = write_golden(keep_golden(volume.pixels[0], prediction))
    for file, data in (("model.onnx", network), ("head.npz", head), ("golden.npz", golden)):
        (folder / file).write_bytes(data)
    write_card(make_card(network, head, golden, name=name, version=version), folder)
    return folder


def make_grey_volume(grey: int, rows: int = 40, columns: int = 48) -> Volume:
    """A picture of one grey."""
    return Volume(pixels=np.full((1, rows, columns), grey, np.uint8), kind=FileKind.PNG)


GATE_GREYS = {"chest-xray": 150, "chest-xray-turned": 205, "chest-xray-inverted": 240, "chest-phantom": 60, "other": 10}
"""The tiny gate takes a picture for the label whose grey is nearest to the picture's mean; half-way it is not sure."""
NEED = GateNeed(
    "input-gate", "0" * 64, ("chest-xray",), ("chest-phantom",), ("chest-xray-turned",), ("chest-xray-inverted",)
)


def need_of(root: Path, version: str = "1") -> GateNeed:
    """The need of the very gate that stands on the shelf ``root``."""
    return replace(NEED, seal=seal_of(load_card(root / NEED.model / version)))


def make_gate_folder(
    root: Path, *, name: str = "input-gate", version: str = "1", greys: Mapping[str, int] = GATE_GREYS
) -> Path:
    """A gate ``root/name/version`` that the shelf accepts and whose golden case replays."""
    folder = root / name / version
    folder.mkdir(parents=True)
    weights = np.zeros((CHANNELS, 3, 1, 1), np.float32)
    weights[0], weights[1] = 1.0 / 3.0, -1.0 / 3.0
    network, head = make_network(weights=weights), write_head(_nearest_grey(tuple(greys.values())))
    card = replace(
        make_card(network, head, b"", name=name, version=version),
        task="gate",
        modalities=("unstated",),
        body_parts=("unstated",),
        labels=tuple(Label(label, f"a picture called {label}", None, Risk.LOW) for label in greys),
        calibration=Calibration("identity", 1.0, (), (), "nothing"),
        explanation=Explanation("grad-cam-closed-form", False, "a gate"),
    )
    (folder / "model.onnx").write_bytes(network)
    (folder / "head.npz").write_bytes(head)
    (folder / "golden.npz").write_bytes(b"")
    return rework(folder, card)


def rework(folder: Path, card: ModelCard | None = None, **changes: object) -> Path:
    """Give the folder another card (its own with ``changes``), and the golden case that the model then has.

    What else the model needs, its gate, stands on the same shelf.
    """
    card = replace(load_card(folder) if card is None else card, **changes)
    write_card(_listing(card, folder), folder)
    volume = make_volume()
    prediction = Shelf(folder.parents[1]).model(card.name, card.version).predict(volume)
    (folder / "golden.npz").write_bytes(write_golden(keep_golden(volume.pixels[0], prediction)))
    write_card(_listing(card, folder), folder)
    return folder


def _nearest_grey(greys: tuple[int, ...], sharpness: float = 40.0) -> Head:
    """A head whose largest logit is that of the nearest mean grey: |x - m|^2 is linear in x but for x^2."""
    middles = (np.array(greys) / 255.0 - SPEC.mean[0]) / SPEC.std[0]
    brightness = np.zeros((1, CHANNELS), np.float32)
    brightness[0, :2] = 1.0, -1.0
    above_zero = 3.0
    return Head(
        w1=brightness,
        b1=np.array([above_zero], np.float32),
        w2=(sharpness * middles).astype(np.float32).reshape(-1, 1),
        b2=(-sharpness * middles * (above_zero + middles / 2.0)).astype(np.float32),
        centre=np.zeros(CHANNELS, np.float32),
        directions=np.eye(2, CHANNELS, dtype=np.float32),
        class_means=np.zeros((len(greys), 2), np.float32),
        residual_scale=np.ones(1, np.float32),
    )


def _listing(card: ModelCard, folder: Path) -> ModelCard:
    """The card with the hashes that its files have now."""
    return replace(
        card, files=tuple(FileHash(file.name, _sha256((folder / file.name).read_bytes())) for file in card.files)
    )


def with_threshold(card: ModelCard, **changes: object) -> ModelCard:
    return replace(card, threshold=replace(card.threshold, **changes))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# The protocol buffer wire format, as far as onnx.proto needs it here: varints and length-delimited fields.
def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _field(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _text(tag: int, text: str) -> bytes:
    return _field(tag, text.encode())


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: tuple[int, ...]) -> bytes:
    node = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
    node += _text(4, kind)
    for name, values in attributes.items():
        content = _text(1, name) + b"".join(_number(8, value) for value in values) + _number(20, 7)
        node += _field(5, content)
    return node


def _value(name: str, *sizes: int) -> bytes:
    dimensions = _field(1, _text(2, "n")) + b"".join(_field(1, _number(1, size)) for size in sizes)
    return _text(1, name) + _field(2, _field(1, _number(1, 1) + _field(2, dimensions)))
