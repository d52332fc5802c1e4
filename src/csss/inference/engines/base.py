"""Engine: what every engine can do."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """Runs one opened network; safe to call from several threads."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Feature maps A (n, K, h, w) of prepared pictures (n, 3, height, width).

        Raises InferenceRefused ``model-run-failed``.
        """
        ...
