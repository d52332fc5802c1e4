"""TASKS: how a picture becomes a prediction, by the kind of task that a card names."""

from collections.abc import Callable

from csss.inference.card import ModelCard
from csss.inference.engines import Engine
from csss.inference.gate import Admission
from csss.inference.head import Head
from csss.inference.prediction import Prediction
from csss.inference.prepare import Picture
from csss.inference.tasks.classify import classify
from csss.inference.tasks.findings import find

TASKS: dict[str, Callable[[Picture, ModelCard, Head, Engine, Admission], Prediction]] = {
    "classify": classify,
    "gate": classify,
    "findings": find,
}

__all__ = ["TASKS"]
