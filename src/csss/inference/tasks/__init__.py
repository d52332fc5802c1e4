"""TASKS: how a picture becomes a prediction, by the kind of task that a card names."""

from collections.abc import Callable

from csss.imaging.volume import Volume
from csss.inference.card import ModelCard
from csss.inference.engines import Engine
from csss.inference.head import Head
from csss.inference.prediction import Prediction
from csss.inference.tasks.classify import classify

TASKS: dict[str, Callable[[Volume, ModelCard, Head, Engine], Prediction]] = {"classify": classify}

__all__ = ["TASKS"]
