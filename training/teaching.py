"""Teachers: finished models whose answers a course wants beside the labels.

After Hinton, Vinyals and Dean 2015 (arXiv:1503.02531). Pupil and teachers are shown the very same varied and mixed
pictures, for many draws, as in Beyer et al. 2022 (arXiv:2106.05237).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from csss.foundation.errors import Unprocessable
from csss.inference.card import HEAD_FILE, Ingredient, InputSpec, ModelCard, load_card, read_listed
from csss.inference.engines import EngineChoice
from csss.inference.head import read_head
from csss.inference.shelf import Model
from csss.inference.tasks.classify import calibrate
from training.archive import Sample, fingerprint

_LEAST = 1e-9


class Teachers:
    """Finished model folders that state the labels of the data in the same order, and what they say together.

    ``spec`` is how the pictures of a batch were normalised. Raises CardError for a folder that is not whole, and
    Unprocessable ``teacher-unfit`` for a model of other data (it may have been fitted on what the pupil is tested
    on), other labels or another framing.
    """

    def __init__(self, folders: Sequence[Path], samples: tuple[Sample, ...], spec: InputSpec, threads: int) -> None:
        self._spec = spec
        self._teachers = tuple(_Teacher(folder, samples, spec, threads) for folder in folders)

    @property
    def names(self) -> tuple[str, ...]:
        """Name, version and the beginning of the seal of each."""
        return tuple(teacher.name for teacher in self._teachers)

    @property
    def ingredients(self) -> tuple[Ingredient, ...]:
        """Each as a part of what its pupil is made of."""
        return tuple(teacher.ingredient for teacher in self._teachers)

    def answer(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, C) of normalised pictures (n, 3, h, w): the geometric mean of all calibrated answers.

        Each teacher is shown the first plane, as large as it expects.
        """
        grey = batch[:, :1].cpu() * self._spec.std[0] + self._spec.mean[0]
        logs = [np.log(teacher.answer(grey) + _LEAST) for teacher in self._teachers]
        return functional.softmax(torch.from_numpy(np.mean(logs, axis=0)).float(), dim=1)


def _trouble(card: ModelCard, samples: tuple[Sample, ...], spec: InputSpec) -> str | None:
    if card.task != "classify" or [label.name for label in card.labels] != sorted({each.label for each in samples}):
        return "it states other labels than the data have"
    if card.training_data.fingerprint_sha256 != fingerprint(samples):
        return "it was fitted on other data or another split, so perhaps on pictures that are to test its pupil"
    if card.input.framing != spec.framing:
        return "it is shown another part of the picture"
    return None


class _Teacher:
    def __init__(self, folder: Path, samples: tuple[Sample, ...], spec: InputSpec, threads: int) -> None:
        card = load_card(folder)
        trouble = _trouble(card, samples, spec)
        if trouble:
            raise Unprocessable(f"{card.name} {card.version} cannot teach: {trouble}.", code="teacher-unfit")
        self._model = Model(card, folder, threads, EngineChoice())
        self._head = read_head(read_listed(card, folder, HEAD_FILE))
        self.name = f"{card.name} {card.version} (seal {self._model.seal[:12]})"
        self.ingredient = Ingredient(
            f"answers of {card.name} {card.version} as a teacher",
            "a model folder of this command, on pictures of the training split",
            "that of its own ingredients",
            self._model.seal,
        )

    def answer(self, grey: torch.Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Calibrated probabilities (n, C) of grey pictures (n, 1, h, w) in [0, 1]."""
        card = self._model.card
        size = (card.input.height_px, card.input.width_px)
        if tuple(grey.shape[2:]) != size:
            grey = functional.interpolate(grey, size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (card.input.mean, card.input.std))
        features = self._model.features(((grey - mean) / std).contiguous().numpy())
        pooled = features.mean(axis=(2, 3))
        return np.stack([calibrate(self._head.logits(row)[1], card.calibration) for row in pooled])
