"""Tensors of the Open Inference Protocol v2: read from JSON or binary data, written as either."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import BadRequest

Array = NDArray[Any]
MAX_SIDE = 2**31 - 1


class Datatype(StrEnum):
    """The protocol's names of the types that this door takes or gives."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


_NUMPY = {
    Datatype.BOOL: np.dtype("?"),
    Datatype.UINT8: np.dtype("u1"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as a model describes it; -1 in the shape is any size from 1 on."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def describe(self) -> dict[str, Any]:
        """The protocol's $metadata_tensor."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor of an answer; the values of BYTES are texts."""

    spec: TensorSpec
    values: Array

    def describe(self) -> dict[str, Any]:
        """Name, type and the very shape."""
        return {"name": self.spec.name, "datatype": self.spec.datatype, "shape": list(self.values.shape)}

    def to_json(self) -> list[Any]:
        """The values in row-major order."""
        flat: list[Any] = self.values.ravel().tolist()
        return flat

    def to_bytes(self) -> bytes:
        """The values as the binary extension writes them: little-endian; texts with their length in front."""
        if self.spec.datatype is not Datatype.BYTES:
            return self.values.astype(_NUMPY[self.spec.datatype]).tobytes()
        texts = [str(text).encode() for text in self.values.ravel().tolist()]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def check_shape(shape: object, spec: TensorSpec) -> tuple[int, ...]:
    """The shape as a client declares it, when it fits to ``spec``. Raises BadRequest."""
    sound = isinstance(shape, list) and all(type(side) is int and 1 <= side <= MAX_SIDE for side in shape)
    if not isinstance(shape, list) or not sound:
        raise wrong(f"the shape of {spec.name} is no list of whole numbers from 1 on")
    fits = len(shape) == len(spec.shape) and all(
        want in (-1, side) for side, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise wrong(f"the shape of {spec.name} must be {list(spec.shape)}, where -1 is any size")
    return tuple(shape)


def from_bytes(data: bytes, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """An array of this shape from its little-endian bytes. Raises BadRequest for another number of bytes."""
    kind = _NUMPY[spec.datatype]
    needed = math.prod(shape) * kind.itemsize
    if len(data) != needed:
        raise wrong(f"{spec.name} needs {needed} bytes and {len(data)} came")
    return _finite(np.frombuffer(data, kind).reshape(shape), spec)


def from_json(data: object, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """An array of this shape from a flat list, or one nested as the shape says. Raises BadRequest."""
    if not isinstance(data, list):
        raise wrong(f"the data of {spec.name} is no list")
    flat = _flatten(data, spec, shape)
    if len(flat) != math.prod(shape):
        raise wrong(f"{spec.name} needs {math.prod(shape)} values and {len(flat)} came")
    whole = spec.datatype is Datatype.UINT8
    if not set(map(type, flat)) <= ({int} if whole else {int, float}):
        raise wrong(f"the data of {spec.name} are not all {'whole ' if whole else ''}numbers")
    if whole and not (min(flat) >= 0 and max(flat) <= 255):
        raise wrong(f"the data of {spec.name} are not all from 0 to 255")
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused as that
            values = np.array(flat, np.float64).astype(_NUMPY[spec.datatype])
    except OverflowError as error:
        raise wrong(f"{spec.name} holds values that are not finite {spec.datatype} numbers") from error
    return _finite(values.reshape(shape), spec)


def _flatten(data: list[Any], spec: TensorSpec, shape: Sequence[int]) -> list[Any]:
    if not data or not isinstance(data[0], list):
        return data
    if len(data) != shape[0]:
        raise wrong(f"the data of {spec.name} are not nested as its shape says")
    for side in shape[1:]:
        if not all(isinstance(row, list) and len(row) == side for row in data):
            raise wrong(f"the data of {spec.name} are not nested as its shape says")
        data = list(chain.from_iterable(data))
    return data


def _finite(values: Array, spec: TensorSpec) -> Array:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise wrong(f"{spec.name} holds values that are not finite {spec.datatype} numbers")
    return values


def wrong(what: str) -> BadRequest:
    """The refusal of a request that does not follow the protocol or does not fit to the model."""
    return BadRequest(f"The request cannot be used: {what}.", code="invalid-inference-request")
