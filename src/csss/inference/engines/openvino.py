"""Run the same model.onnx with OpenVINO on the CPU, where the extra ``openvino`` is installed."""

import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csss.inference.card import CardError
from csss.inference.engines.base import FEATURES, count_lanes
from csss.inference.prediction import InferenceRefused


class OpenVinoEngine:
    """One compiled network; each run borrows an infer request, because one of those serves one caller at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        request = self._borrow()
        try:
            # Outputs are copied: the next run of this request writes into the same memory.
            features: NDArray[np.float32] = request.infer([batch], share_outputs=False)[FEATURES]
        except Exception as error:  # the one boundary around the foreign runtime
            raise InferenceRefused("The model could not be run.", code="model-run-failed") from error
        with self._lock:
            self._idle.append(request)
        return features

    def _borrow(self) -> Any:
        with self._lock:
            return self._idle.pop() if self._idle else self._compiled.create_infer_request()


def open_openvino(model: bytes, threads: int) -> OpenVinoEngine:
    """The bytes of model.onnx compiled for the CPU, ``threads`` threads a run.

    The hint LATENCY alone gives all threads to one run and lets others wait; THROUGHPUT alone opens as many streams
    as the machine has room for and ignores ``threads``. So the streams are counted here: one for each run that
    may go on at once. Precision stays float32: on some processors OpenVINO would choose bfloat16, whose
    rounding is coarser than the golden case allows. Threads are not pinned to processors, which other
    processes of the site share.

    Raises CardError ``engine-missing`` without the package, ``model-unreadable`` for bytes that are no
    network from one picture to "features".
    """
    openvino = _import_openvino()
    lanes = count_lanes(threads)
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": lanes,
        "INFERENCE_NUM_THREADS": lanes * threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    try:
        core = openvino.Core()
        network = core.read_model(model, b"")
        outputs = [name for output in network.outputs for name in output.names]
        inputs = len(network.inputs)
        compiled = core.compile_model(network, "CPU", options)
    except Exception as error:  # the one boundary around the foreign parser
        raise CardError("The network of the model cannot be opened.", code="model-unreadable") from error
    if FEATURES not in outputs or inputs != 1:
        raise CardError("The network does not map one picture to features.", code="model-unreadable")
    return OpenVinoEngine(compiled)


def _import_openvino() -> Any:
    # Importing OpenVINO reports the import to its maker by the internet, through this package. A hospital's machine
    # reports to nobody: where the package cannot be imported, OpenVINO takes a stub of its own that does nothing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        message = "The engine openvino is not installed here; install csss with the extra openvino."
        raise CardError(message, code="engine-missing") from error
    return openvino
