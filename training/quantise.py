"""Store a network in 8-bit integers, and keep it only where it measures the same."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from csss.inference.card import InputSpec
from csss.inference.metrics import Cases, measure
from csss.inference.prepare import prepare_grey
from training.export import INPUT, OUTPUT, open_exported
from training.measure import softmax_rows

MOST_LOST = 0.003
"""Macro F1 and balanced accuracy that an 8-bit file may lose on validation and still count as equal."""

FLOAT_FIRST = 2
"""Convolutions at the start that stay float32: with the second in 8 bits too, validation macro F1 fell by .03."""

_BATCH = 16

Logits = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Precision:
    """One way to store the network: bytes of its file, and validation figures of the file as it is."""

    name: str
    size_bytes: int
    macro_f1: float
    balanced_accuracy: float


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, greys: NDArray[np.uint8], spec: InputSpec) -> None:
        self._batches = iter([{INPUT: prepare_grey(grey, spec)} for grey in greys])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._batches, None)


def quantise(model: bytes, greys: NDArray[np.uint8], spec: InputSpec) -> bytes:
    """``model`` with 8-bit weights (per channel) and activations, ranges taken from ``greys`` (n, rows, columns).

    Features come out as float32, so head, distance and heat maps are computed as before.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, ready, small = (Path(folder, name) for name in ("whole.onnx", "ready.onnx", "small.onnx"))
        whole.write_bytes(model)
        quant_pre_process(str(whole), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(small),
            _Pictures(greys, spec),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Seven bits: processors without VNNI add pairs of products in 16 bits, which eight would overflow.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # The usual ends of a range: the farthest of one odd picture would coarsen all steps between them.
            extra_options={"CalibMovingAverage": True},
            nodes_to_exclude=_float_nodes(ready),
        )
        return small.read_bytes()


def _float_nodes(path: Path) -> list[str]:
    convolutions = [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    return convolutions[:FLOAT_FIRST]


def pool(model: bytes, greys: NDArray[np.uint8], spec: InputSpec, threads: int) -> NDArray[np.float32]:
    """Pooled features (n, K) of pictures (n, rows, columns) as the exported ``model`` gives them."""
    session, parts = open_exported(model, threads), []
    for start in range(0, len(greys), _BATCH):
        batch = np.concatenate([prepare_grey(grey, spec) for grey in greys[start : start + _BATCH]])
        parts.append(session.run([OUTPUT], {INPUT: batch})[0].mean(axis=(2, 3)))
        if start % (_BATCH * 200) == 0:
            print(f"features {start}/{len(greys)}", file=sys.stderr, flush=True)
    return np.concatenate(parts).astype(np.float32)


def judge(name: str, model: bytes, pooled: NDArray[np.float32], truth: NDArray[np.int64], logits: Logits) -> Precision:
    """The figures of one file from its pooled features (n, K) and the head ``logits``."""
    shares = softmax_rows(logits(pooled))
    figures = measure(Cases.answered_all(truth, shares, tuple(map(str, range(shares.shape[1])))))
    return Precision(name, len(model), figures.macro_f1 or 0.0, figures.balanced_accuracy or 0.0)


def is_equal(small: Precision, whole: Precision) -> bool:
    """Whether ``small`` loses no more than MOST_LOST of both figures."""
    return (
        small.macro_f1 >= whole.macro_f1 - MOST_LOST and small.balanced_accuracy >= whole.balanced_accuracy - MOST_LOST
    )
