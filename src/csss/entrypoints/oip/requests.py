"""An inference request of the Open Inference Protocol v2, from bytes to a checked tensor."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from csss.entrypoints.oip.tensors import Array, TensorSpec, check_shape, from_bytes, from_json, wrong
from csss.foundation.errors import TooLarge, Unavailable

MIB = 1024 * 1024
BODY_BYTES = 64 * MIB
JSON_BYTES = 8 * MIB
HEADER_BYTES = 64 * 1024
LARGE_JSON_BYTES = MIB // 4
LARGE_AT_ONCE = 2
LANE_SECONDS = 2
"""So long does a large one wait for its turn, in a thread that others could have."""
MAX_BATCH = 16
_LONGEST_ID = 256
_LARGE = threading.BoundedSemaphore(LARGE_AT_ONCE)
"""JSON can take thirty times its size while it is read: only so many large ones are read at once."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An output that is asked for, and whether as binary data."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A request that fits to the model: the one input that was chosen, and what is wanted of its outputs."""

    id: str | None
    input: TensorSpec
    values: Array
    wishes: tuple[Wish, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """An input that a model takes, and the outputs that follow from it."""

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]


def read_request(body: bytes, header_length: str | None, choices: Mapping[str, Choice]) -> Asked:
    """The request in ``body``; ``header_length`` is the value of Inference-Header-Content-Length, if it came.

    Raises BadRequest ``invalid-inference-request`` for anything that is not exactly in order, TooLarge, and Unavailable
    ``door-full`` where other large requests are being read.
    """
    header, binary = _split(body, header_length)
    with _lane(len(header)):
        return _read(header, binary, choices)


@contextmanager
def _lane(size_bytes: int) -> Iterator[None]:
    if size_bytes <= LARGE_JSON_BYTES:
        yield
        return
    if not _LARGE.acquire(timeout=LANE_SECONDS):
        raise Unavailable(
            "Too many large requests are being read just now. Send this one again, or its tensor as binary data.",
            code="door-full",
            facts={"retry_after_seconds": LANE_SECONDS},
        )
    try:
        yield
    finally:
        _LARGE.release()


def _read(header: bytes, binary: bytes, choices: Mapping[str, Choice]) -> Asked:
    content = _parse(header)
    _check_members(content, {"id", "parameters", "inputs", "outputs"}, "the request")
    identifier = content.get("id")
    if identifier is not None and (not isinstance(identifier, str) or len(identifier) > _LONGEST_ID):
        raise wrong(f"its id is no text of at most {_LONGEST_ID} characters")
    choice, values = _read_input(content.get("inputs"), binary, choices)
    parameters = _parameters(content, {"binary_data_output"}, "the request")
    default = _flag(parameters, "binary_data_output")
    wishes = _read_wishes(content.get("outputs"), choice, default)
    return Asked(identifier, choice.input, values, wishes)


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    header, binary = body, b""
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= len(str(BODY_BYTES))):
            raise wrong("Inference-Header-Content-Length is no number")
        length = int(header_length)
        if not 0 < length <= len(body):
            raise wrong("Inference-Header-Content-Length is not within the body")
        header, binary = body[:length], body[length:]
    if len(header) > (HEADER_BYTES if binary else JSON_BYTES):
        raise TooLarge("The JSON part of the request is too large; send the tensor as binary data.")
    return header, binary


def _parse(header: bytes) -> dict[str, Any]:
    try:
        content = json.loads(header, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise wrong("it is not valid JSON") from error
    if not isinstance(content, dict):
        raise wrong("it is no JSON object")
    return content


def _read_input(listed: object, binary: bytes, choices: Mapping[str, Choice]) -> tuple[Choice, Array]:
    names = " or ".join(choices)
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        raise wrong(f"it must have exactly one input: {names}")
    given = listed[0]
    _check_members(given, {"name", "shape", "datatype", "parameters", "data"}, "the input")
    name = given.get("name")
    choice = choices.get(name) if isinstance(name, str) else None
    if choice is None:
        raise wrong(f"the model has no such input; it takes {names}")
    spec = choice.input
    if given.get("datatype") != spec.datatype:
        raise wrong(f"{spec.name} is of the type {spec.datatype}")
    shape = check_shape(given.get("shape"), spec)
    if shape[0] > MAX_BATCH:
        raise wrong(f"there are more than {MAX_BATCH} pictures in it")
    size = _parameters(given, {"binary_data_size"}, spec.name).get("binary_data_size")
    if size is None:
        if "data" not in given or binary:
            raise wrong(f"{spec.name} must have either data or binary_data_size, and nothing may follow data")
        return choice, from_json(given["data"], spec, shape)
    if type(size) is not int or "data" in given or size != len(binary):
        raise wrong(f"{spec.name} says another binary_data_size than came, or has data as well")
    return choice, from_bytes(binary, spec, shape)


def _read_wishes(listed: object, choice: Choice, default: bool) -> tuple[Wish, ...]:
    known = [spec.name for spec in choice.outputs]
    if listed is None or listed == []:
        return tuple(Wish(name, default) for name in known)
    if not isinstance(listed, list) or len(listed) > len(known):
        raise wrong("outputs is no list of different outputs")
    wishes: list[Wish] = []
    for given in listed:
        if not isinstance(given, dict):
            raise wrong("outputs is no list of different outputs")
        _check_members(given, {"name", "parameters"}, "an output")
        name = given.get("name")
        if name not in known:
            raise wrong(f"{choice.input.name} gives {', '.join(known)}, and no other output")
        if name in [wish.name for wish in wishes]:
            raise wrong("outputs is no list of different outputs")
        parameters = _parameters(given, {"binary_data"}, str(name))
        wishes.append(Wish(str(name), _flag(parameters, "binary_data") if "binary_data" in parameters else default))
    return tuple(wishes)


def _parameters(given: dict[str, Any], known: set[str], where: str) -> dict[str, Any]:
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise wrong(f"the parameters of {where} are no object")
    # A parameter that is passed over without a word would be taken for obeyed.
    if not set(parameters) <= known:
        raise wrong(f"the only parameter of {where} is {', '.join(known)}")
    return parameters


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise wrong(f"{name} is neither true nor false")
    return value


def _check_members(given: dict[str, Any], known: set[str], where: str) -> None:
    if not set(given) <= known:
        raise wrong(f"{where} has members that are not {', '.join(sorted(known))}")


def _refuse_constant(_: str) -> float:
    raise ValueError
