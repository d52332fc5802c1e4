"""Run a network with ONNX Runtime on the CPU, without spinning threads or hoarded memory."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from csss.inference.card import CardError
from csss.inference.engines.base import FEATURES
from csss.inference.prediction import InferenceRefused


class OnnxEngine:
    """One ONNX session; the runtime itself allows concurrent calls."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._input_name = session.get_inputs()[0].name

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            (features,) = self._session.run([FEATURES], {self._input_name: batch})
        except Exception as error:  # the one boundary around the foreign runtime
            raise InferenceRefused("The model could not be run.", code="model-run-failed") from error
        result: NDArray[np.float32] = features
        return result


def open_onnx(model: bytes, threads: int) -> OnnxEngine:
    """A session over the bytes of model.onnx with ``threads`` worker threads.

    Raises CardError ``model-unreadable`` when the bytes are no network with an output "features".
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    # Waiting threads that spin starve their neighbours on a small machine (p95 12 ms -> 4 ms without).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
    except Exception as error:  # the one boundary around the foreign parser
        raise CardError("The network of the model cannot be opened.", code="model-unreadable") from error
    if FEATURES not in outputs or len(session.get_inputs()) != 1:
        raise CardError("The network does not map one picture to features.", code="model-unreadable")
    return OnnxEngine(session)
