"""The models on disk, found by their cards, opened once, and replayed against their golden case."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import CsssError, NotFound
from csss.imaging.volume import Volume
from csss.inference.card import (
    GOLDEN_FILE,
    HEAD_FILE,
    MODEL_FILE,
    UNSTATED,
    CardError,
    ModelCard,
    load_card,
    read_listed,
)
from csss.inference.engines import ENGINES, Engine
from csss.inference.golden import Golden, read_golden
from csss.inference.head import Head, read_head
from csss.inference.prediction import Prediction
from csss.inference.tasks import TASKS

PROBABILITY_TOLERANCE = 1e-4
"""Runtimes round differently on other processors; measured differences stay under a tenth of this."""
HEAT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ShelfProblem:
    """Why a folder of the shelf is not served: for ``csss check``."""

    folder: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Opened:
    engine: Engine
    head: Head


class Model:
    """One checked version of a model; its network is opened at the first prediction, once for all threads."""

    def __init__(self, card: ModelCard, folder: Path, threads: int) -> None:
        self.card = card
        self.folder = folder
        self._threads = threads
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    def open(self) -> None:
        """Open the network now instead of at the first prediction. Raises CardError."""
        self._open()

    def predict(self, volume: Volume) -> Prediction:
        """What the model says about ``volume``. Raises InferenceRefused, Unprocessable, CardError."""
        opened = self._open()
        return TASKS[self.card.task](volume, self.card, opened.head, opened.engine)

    def replay_golden(self) -> None:
        """Predict the golden case again and compare. Raises CardError ``golden-differs``.

        Probabilities may differ by 1e-4 and the heat map by 1e-3: what another processor's rounding
        can do, and far less than another model or another preprocessing does.
        """
        golden = read_golden(self._read(GOLDEN_FILE))
        try:
            prediction = self.predict(golden.volume())
        except CardError:
            raise
        except CsssError as error:
            raise CardError(f"The golden case is refused: {error.message}", code="golden-differs") from error
        if not _agree(golden, prediction):
            message = f"{self.card.name} {self.card.version} does not give its golden result on this machine."
            raise CardError(message, code="golden-differs")

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._opened = self._load()
            return self._opened

    def _load(self) -> _Opened:
        head = read_head(self._read(HEAD_FILE))
        if head.label_count != len(self.card.labels):
            raise CardError("The head of the model has another number of labels.", code="head-invalid")
        return _Opened(ENGINES[self.card.engine](self._read(MODEL_FILE), self._threads), head)

    def _read(self, name: str) -> bytes:
        # Checked here again: the file may have been changed since the card was loaded.
        return read_listed(self.card, self.folder, name)


class Shelf:
    """All model versions under ``root`` (``root/<name>/<version>/card.json``).

    A folder with any problem is never served; it is listed in ``problems``. ``threads`` is the number
    of processor threads that one prediction may use.
    """

    def __init__(self, root: Path, *, threads: int = 1) -> None:
        self.root = root
        models: list[Model] = []
        problems: list[ShelfProblem] = []
        for folder in sorted(path for path in root.glob("*/*") if path.is_dir() and path.name[0] != "."):
            try:
                models.append(_load_model(folder, threads))
            except CardError as error:
                problems.append(_problem(folder, root, error))
        self.models = tuple(models)
        self.problems = tuple(problems)

    def fitting(self, modality: str | None, body_part: str | None) -> list[Model]:
        """The newest version of each model that accepts this modality and body part (None = not stated)."""
        newest: dict[str, Model] = {}
        for model in sorted(self.models, key=_version_key):
            if accepts(model.card, modality, body_part):
                newest[model.card.name] = model
        return [newest[name] for name in sorted(newest)]

    def model(self, name: str, version: str | None = None) -> Model:
        """The model called ``name``, its newest version unless one is given.

        Raises NotFound ``model-unknown``.
        """
        found = [model for model in self.models if model.card.name == name]
        if version is not None:
            found = [model for model in found if model.card.version == version]
        if not found:
            raise NotFound(f"There is no model {name} on the shelf.", code="model-unknown")
        return max(found, key=_version_key)

    def take_off_failing(self) -> tuple[ShelfProblem, ...]:
        """Replay every golden case and serve no model whose case differs here; return all problems of the shelf."""
        self.problems = self.replay_golden()
        failed = {problem.folder for problem in self.problems}
        self.models = tuple(
            model for model in self.models if model.folder.relative_to(self.root).as_posix() not in failed
        )
        return self.problems

    def replay_golden(self) -> tuple[ShelfProblem, ...]:
        """Every problem of the shelf: folders that were refused, and models that fail their golden case."""
        failed = []
        for model in self.models:
            try:
                model.replay_golden()
            except CardError as error:
                failed.append(_problem(model.folder, self.root, error))
        return self.problems + tuple(failed)


def accepts(card: ModelCard, modality: str | None, body_part: str | None) -> bool:
    """Whether ``card`` reads pictures of this modality and body part (None or empty = not stated)."""
    return _listed(modality, card.modalities) and _listed(body_part, card.body_parts)


def _listed(value: str | None, accepted: tuple[str, ...]) -> bool:
    return (value or "").strip().upper() in accepted or (not (value or "").strip() and UNSTATED in accepted)


def _load_model(folder: Path, threads: int) -> Model:
    card = load_card(folder)
    if (folder.parent.name, folder.name) != (card.name, card.version):
        raise CardError("The folder is named after another model or version.", code="card-misplaced")
    return Model(card, folder, threads)


def _problem(folder: Path, root: Path, error: CardError) -> ShelfProblem:
    return ShelfProblem(folder.relative_to(root).as_posix(), error.code, error.message)


def _version_key(model: Model) -> tuple[tuple[int, str], ...]:
    """Versions in order: 2 before 10, numbers before words."""
    parts = model.card.version.split(".")
    return tuple((int(part), "") if part.isdecimal() else (10**9, part) for part in parts)


def _agree(golden: Golden, prediction: Prediction) -> bool:
    names = tuple(name for name, _ in prediction.probabilities)
    values = np.array([value for _, value in prediction.probabilities])
    return (
        golden.label == prediction.label
        and golden.labels == names
        and _close(golden.probabilities, values, PROBABILITY_TOLERANCE)
        and _close(golden.heat, _heat_or_empty(prediction), HEAT_TOLERANCE)
    )


def _heat_or_empty(prediction: Prediction) -> NDArray[np.float32]:
    return np.zeros((0, 0), np.float32) if prediction.heat is None else prediction.heat


def _close(wanted: NDArray[np.floating], got: NDArray[np.floating], tolerance: float) -> bool:
    return wanted.shape == got.shape and bool(np.allclose(wanted, got, rtol=0.0, atol=tolerance))
