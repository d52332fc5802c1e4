"""Write a torch network as ONNX that takes any number of pictures."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

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
