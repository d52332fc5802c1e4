"""ENGINES: what runs a model file, by the name that a card gives."""

from collections.abc import Callable

from csss.inference.engines.base import Engine
from csss.inference.engines.onnx import open_onnx

ENGINES: dict[str, Callable[[bytes, int], Engine]] = {"onnx": open_onnx}

__all__ = ["ENGINES", "Engine"]
