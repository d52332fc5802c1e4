"""Engine: what every engine can do, where one may live, and how many runs at once a machine has room for."""

import os
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from csss.inference.card import ModelCard

FEATURES = "features"
"""The name of the output that every network of the shelf has."""
MAX_LANES = 8
_MODELS = "/v2/models/"


class Engine(Protocol):
    """Runs one opened network; safe to call from several threads."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Feature maps A (n, K, h, w) of prepared pictures (n, channels, height, width).

        Raises InferenceRefused ``model-run-failed``, and what else the engine says of itself.
        """
        ...


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Where a model lives: the ``address`` of its server, and the bearer ``token`` that it may want.

    An address that already names a model (``.../v2/models/NAME...``) is taken as it stands; to any other the card's
    name and version are added.
    """

    address: str
    token: str | None = field(default=None, repr=False)

    def url(self, card: ModelCard) -> str:
        """The address of the very version that ``card`` describes."""
        address = self.address.rstrip("/")
        return address if _MODELS in address else f"{address}{_MODELS}{card.name}/versions/{card.version}"


def count_lanes(threads: int) -> int:
    """How many runs of ``threads`` threads each may go on at once without crowding the processors; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)  # a container or taskset may own a part of the machine only
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(processors // threads, MAX_LANES))
