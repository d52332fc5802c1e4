"""Servers on the loopback that speak the Open Inference Protocol as a test tells them to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from tiny_model import SIDE

BATCH = np.random.default_rng(4).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
FEATURES = np.arange(2 * 6 * 4 * 4, dtype=np.float32).reshape(2, 6, 4, 4)
DESCRIPTION = {
    "name": "tiny",
    "inputs": [
        {"name": "grey", "datatype": "UINT8", "shape": [-1, -1, -1]},
        {"name": "x", "datatype": "FP32", "shape": [-1, 3, SIDE, SIDE]},
    ],
    "outputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 6, 4, 4]}],
}


def output(**changes: Any) -> dict[str, Any]:
    whole = {"name": "features", "datatype": "FP32", "shape": [2, 6, 4, 4], "parameters": {"binary_data_size": 768}}
    return whole | changes


def answer(outputs: Any = None, tensor: bytes | None = None) -> tuple[bytes, dict[str, str]]:
    header = json.dumps({"outputs": [output()] if outputs is None else outputs}).encode()
    return header + (FEATURES.tobytes() if tensor is None else tensor), {
        "Inference-Header-Content-Length": str(len(header))
    }


@contextmanager
def listening(reply: Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("content-length", 0))
            asked = {name.lower(): value for name, value in self.headers.items()}
            status, headers, body = reply(self.command, self.path, asked, self.rfile.read(size))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
