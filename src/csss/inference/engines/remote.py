"""Let another server of the Open Inference Protocol v2 run the network: Triton, KServe, OpenVINO, or another CSSS.

What is needed of the protocol is one request, so it is spoken with httpx, which is installed anyway; the client of
Triton would bring gevent and a second HTTP stack into every hospital's installation.
"""

import json
import math
import ssl
from time import monotonic
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from csss.inference.card import CardError, InputSpec, ModelCard
from csss.inference.engines.base import FEATURES, RemoteModel
from csss.inference.prediction import InferenceRefused

HEADER_LENGTH = "Inference-Header-Content-Length"
CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 20.0
HEADER_BYTES = 64 * 1024
FEATURE_BYTES = 16 * 1024 * 1024
"""The largest feature maps of one picture that are taken: 4096 channels of 32 x 32, input 1024 x 1024."""


class RemoteEngine:
    """A network elsewhere. Nothing of an answer is used before its form, its sizes and its numbers were checked.

    Every run opens a connection of its own: one kept open could be closed by the server just as a picture is sent,
    and nobody could tell whether to send it again.
    """

    def __init__(self, where: RemoteModel, card: ModelCard) -> None:
        self._url = where.url(card)
        headers = {"Accept-Encoding": "identity"}
        if where.token:
            headers["Authorization"] = f"Bearer {where.token}"
        # No redirects and no proxies of the environment: pictures go to the named server or nowhere.
        self._client = httpx.Client(
            headers=headers,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
            timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._version: object = None
        self._input_name = _find_input(self._ask("GET", self._url, None, {}, HEADER_BYTES)[1], card.input)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        tensor = np.ascontiguousarray(batch, "<f4").tobytes()
        asked = {
            "inputs": [
                {
                    "name": self._input_name,
                    "shape": list(batch.shape),
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [{"name": FEATURES, "parameters": {"binary_data": True}}],
        }
        header = json.dumps(asked).encode()
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
        limit = HEADER_BYTES + len(batch) * FEATURE_BYTES
        answered, body = self._ask("POST", f"{self._url}/infer", header + tensor, headers, limit)
        features = read_features(body, answered.get(HEADER_LENGTH, ""), len(batch))
        self._check_version(_parse(body[: int(answered[HEADER_LENGTH])]).get("model_version"))
        return features

    def _check_version(self, version: object) -> None:
        """Raises InferenceRefused when the server says of this answer that another version gave it than before."""
        known = self._version = version if self._version is None else self._version
        if version != known:
            message = "The server of the model answers with another version than before; it is to be proved again."
            raise InferenceRefused(message, code="remote-changed")

    def _ask(
        self, method: str, url: str, content: bytes | None, headers: dict[str, str], limit: int
    ) -> tuple[httpx.Headers, bytes]:
        """Headers and body of an answer 200 of at most ``limit`` bytes. Raises InferenceRefused for any other."""
        until = monotonic() + TOTAL_SECONDS
        body = bytearray()
        try:
            with self._client.stream(method, url, content=content, headers=headers) as response:
                if response.status_code != 200:
                    message = f"The server of the model refused ({response.status_code})."
                    raise InferenceRefused(message, code="remote-refused")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise _invalid("is compressed")
                for part in response.iter_raw():
                    body += part
                    if len(body) > limit:
                        raise _invalid("is too large")
                    if monotonic() > until:
                        raise InferenceRefused("The server of the model is too slow.", code="remote-unreachable")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InferenceRefused("The server of the model does not answer.", code="remote-unreachable") from error
        return response.headers, bytes(body)


def open_remote(where: RemoteModel, card: ModelCard) -> RemoteEngine:
    """The engine for the model of ``card`` on another server, after that server was asked what it has.

    That it has the same weights is only shown by the golden case, which is replayed at the start and from time to time.
    Raises CardError: ``remote-unreachable``, ``remote-refused``, ``remote-answer-invalid``, ``remote-mismatch``.
    """
    try:
        return RemoteEngine(where, card)
    except InferenceRefused as error:
        raise CardError(error.message, code=error.code) from error


def read_features(body: bytes, header_length: str, pictures: int) -> NDArray[np.float32]:
    """The tensor "features" (n, K, h, w) of a binary answer about ``pictures`` pictures.

    Raises InferenceRefused ``remote-answer-invalid`` for anything but one finite FP32 tensor of exactly that size.
    """
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= len(str(HEADER_BYTES))):
        raise _invalid("does not follow the protocol's binary form")
    header, tensor = body[: int(header_length)], body[int(header_length) :]
    outputs = _parse(header).get("outputs")
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        raise _invalid("holds other outputs than the one that was asked for")
    shape = outputs[0].get("shape")
    if (outputs[0].get("name"), outputs[0].get("datatype")) != (FEATURES, "FP32"):
        raise _invalid("holds no feature maps")
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(side) is int and side > 0 for side in shape):
        raise _invalid("has another shape")
    if shape[0] != pictures or 4 * math.prod(shape) != len(tensor):
        raise _invalid("has another size")
    features = np.frombuffer(tensor, "<f4").reshape(shape).astype(np.float32)
    if not np.isfinite(features).all():
        raise _invalid("holds values that are no numbers")
    return features


def _find_input(metadata: bytes, spec: InputSpec) -> str:
    """The name of the input that takes prepared pictures, from the server's description of the model."""
    described = _parse(metadata)
    wanted = (spec.channels, spec.height_px, spec.width_px)
    names: list[str] = [tensor["name"] for tensor in _tensors(described, "inputs") if _takes(tensor["shape"], wanted)]
    has_features = FEATURES in [tensor["name"] for tensor in _tensors(described, "outputs")]
    if len(names) != 1 or not has_features:
        message = "The server's model does not map one prepared picture to features."
        raise InferenceRefused(message, code="remote-mismatch")
    return names[0]


def _tensors(described: dict[str, Any], side: str) -> list[dict[str, Any]]:
    """The float tensors with a name and a shape that a description lists."""
    listed = described.get(side)
    return [
        tensor
        for tensor in (listed if isinstance(listed, list) else [])
        if isinstance(tensor, dict)
        and tensor.get("datatype") == "FP32"
        and isinstance(tensor.get("name"), str)
        and isinstance(tensor.get("shape"), list)
    ]


def _takes(shape: list[Any], wanted: tuple[int, ...]) -> bool:
    return len(shape) == 4 and all(side in (-1, want) for side, want in zip(shape[1:], wanted, strict=True))


def _parse(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("is not valid JSON") from error
    if not isinstance(content, dict):
        raise _invalid("is not valid JSON")
    return content


def _invalid(what: str) -> InferenceRefused:
    return InferenceRefused(f"The answer of the model's server {what}.", code="remote-answer-invalid")
