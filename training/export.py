"""Write a torch network as ONNX that takes any number of pictures."""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from csss.inference.card import InputSpec

INPUT = "pictures"
OUTPUT = "features"
_OPSET = 17
_SMALLEST_HALVED = 1024


def export_onnx(network: nn.Module, example: torch.Tensor) -> bytes:
    """The bytes of an ONNX file "pictures" (n, ...) -> "features" (n, ...), batch norm folded in.

    The exporter without dynamo is used on purpose: it takes 0.3 s instead of 11 s.
    """
    network.eval()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", DeprecationWarning)
        path = Path(folder, "network.onnx")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
            opset_version=_OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def fold_grey(model: bytes, spec: InputSpec) -> tuple[bytes, InputSpec]:
    """The same network for one grey plane in place of three equal ones, and what it is then to be shown.

    Its first convolution (with a bias, as batch norm leaves it when folded in) sees three planes that differ by scale
    and shift alone: the scales go into its weights, the shifts into its bias. Exact but for the outermost places, where
    zeros that stand for the picture's surroundings now mean one grey and no longer three slightly different ones.
    """
    proto = onnx.load_from_string(model)
    convolution = next(node for node in proto.graph.node if node.op_type == "Conv")
    arrays = {weight.name: weight for weight in proto.graph.initializer}
    weights, bias = (onnx.numpy_helper.to_array(arrays[name]) for name in convolution.input[1:])
    means, spreads = np.array(spec.mean), np.array(spec.std)
    mean, spread = float(means.mean()), float(spreads.mean())
    scaled = weights * (spread / spreads)[:, np.newaxis, np.newaxis]
    shifted = bias + (weights * ((mean - means) / spreads)[:, np.newaxis, np.newaxis]).sum(axis=(1, 2, 3))
    for name, values in zip(convolution.input[1:], (scaled.sum(axis=1, keepdims=True), shifted), strict=True):
        arrays[name].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    folded: bytes = proto.SerializeToString()
    return folded, replace(spec, colour="grey", mean=(mean,), std=(spread,))


def halve_weights(model: bytes) -> bytes:
    """The same network with its large weights stored as float16 and cast to float32 when it is opened.

    Arithmetic stays float32; the file is half as large. Measured figures are those of the file as it is.
    """
    graph = onnx.load_from_string(model).graph
    casts = []
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _SMALLEST_HALVED:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    halved = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=8)
    encoded: bytes = halved.SerializeToString()
    return encoded


def open_exported(model: bytes | Path, threads: int) -> onnxruntime.InferenceSession:
    """A session over an exported network, for the long runs of training."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
