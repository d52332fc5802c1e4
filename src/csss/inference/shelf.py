"""The models on disk, found by their cards, opened once, and replayed against their golden case."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import CsssError, NotFound
from csss.imaging.volume import Volume
from csss.inference.batching import Batched
from csss.inference.card import (
    GOLDEN_FILE,
    HEAD_FILE,
    MODEL_FILE,
    UNSTATED,
    CardError,
    ModelCard,
    Replay,
    load_card,
    read_listed,
    seal_of,
)
from csss.inference.engines import Engine, EngineChoice, count_lanes
from csss.inference.engines.proof import Proof
from csss.inference.gate import UNGATED, Admission, admit, verdict_of
from csss.inference.golden import Golden, read_golden
from csss.inference.head import Head, read_head
from csss.inference.prediction import InferenceRefused, Prediction, Stage, join_stages
from csss.inference.prepare import Picture, open_picture
from csss.inference.tasks import TASKS


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

    def __init__(self, card: ModelCard, folder: Path, threads: int, engines: EngineChoice) -> None:
        self.card = card
        self.seal = seal_of(card)
        self.folder = folder
        self.gate: Model | None = None
        self._threads = threads
        self._engines = engines
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._proof = Proof() if card.name in engines.remote else None
        self._proving = threading.Lock()

    def open(self) -> None:
        """Open the network, and that of the gate, now instead of at the first prediction.

        The golden case is replayed, with the gate: another processor or engine may answer otherwise. Raises CardError.
        """
        self._open()
        if self.gate is not None:
            self.gate.open()
        self.replay_golden()

    def close(self) -> None:
        """Give the network's memory back; the next prediction opens it again."""
        with self._lock:
            self._opened = None

    def predict(self, volume: Volume) -> Prediction:
        """What the model says about ``volume``, after its gate has let the picture pass.

        Raises NotThisKind, InferenceRefused, Unprocessable, CardError.
        """
        self.prove()
        return self._predict(volume)

    def prove(self) -> None:
        """Replay the golden case where the network runs on another machine and the last proof is old or was lost.

        The server is asked anew what it has. Raises InferenceRefused, CardError (``golden-differs``).
        """
        if self.gate is not None:
            self.gate.prove()
        proof = self._proof
        if proof is None or not proof.is_due():
            return
        with self._proving:
            if not proof.is_due():
                return
            if (refused := proof.recent_refusal()) is not None:
                raise refused
            self.close()
            try:
                self._compare_golden()
            except CsssError as problem:
                proof.refuse(problem)
                raise

    def _predict(self, volume: Volume) -> Prediction:
        started = perf_counter()
        picture = open_picture(volume)
        opened = perf_counter()
        admission = self._admit(picture)
        admitted = perf_counter()
        prediction = self._run(picture, admission)
        stages = [(Stage.PREPARE, 1000.0 * (opened - started))]
        if self.card.gate is not None:
            stages.append((Stage.GATE, 1000.0 * (admitted - opened)))
        return replace(prediction, stage_ms=join_stages(tuple(stages), prediction.stage_ms))

    def features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's bare feature maps (n, K, h, w) of prepared pictures (n, channels, height, width): no statement.

        For another site that runs this network from afar and holds the head, gate and rules itself.
        Raises InferenceRefused, CardError.
        """
        self.prove()
        with self._losing_proof():
            return self._open().engine.run(batch)

    def _admit(self, picture: Picture) -> Admission:
        if self.card.gate is None:
            return UNGATED
        if self.gate is None:
            raise CardError(f"{self.card.name} is never asked without its gate.", code="gate-missing")
        return admit(verdict_of(self.gate._run(picture, UNGATED), self.gate.card), self.card.gate)

    def _run(self, picture: Picture, admission: Admission) -> Prediction:
        opened = self._open()
        with self._losing_proof():
            return TASKS[self.card.task](picture, self.card, opened.head, opened.engine, admission)

    @contextmanager
    def _losing_proof(self) -> Iterator[None]:
        """A server that fails may be another one, or have another network, when it answers again."""
        try:
            yield
        except InferenceRefused as problem:
            if self._proof is not None and problem.code.startswith("remote-"):
                self._proof.lose()
            raise

    def replay_golden(self) -> None:
        """Predict the golden case again and compare. Raises CardError ``golden-differs``.

        Probabilities and heat map may differ by what the card allows for another processor's rounding, far
        less than another model or another preprocessing does.
        """
        try:
            self._compare_golden()
        except CardError:
            raise
        except CsssError as error:
            raise CardError(f"The golden case is refused: {error.message}", code="golden-differs") from error

    def _compare_golden(self) -> None:
        golden = read_golden(self._read(GOLDEN_FILE))
        begun = self._proof.begin() if self._proof is not None else 0
        prediction = self._predict(golden.volume())
        if not _agree(golden, prediction, self.card.replay):
            message = f"{self.card.name} {self.card.version} does not give its golden result on this machine."
            raise CardError(message, code="golden-differs")
        if self._proof is not None:
            self._proof.give(begun)

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._opened = self._load()
            return self._opened

    def _load(self) -> _Opened:
        head = read_head(self._read(HEAD_FILE))
        if head.label_count != len(self.card.labels):
            raise CardError("The head of the model has another number of labels.", code="head-invalid")
        engine = self._engines.open(self.card, self._read(MODEL_FILE), self._threads)
        return _Opened(Batched(engine, lanes=count_lanes(self._threads)), head)

    def _read(self, name: str) -> bytes:
        # Checked here again: the file may have been changed since the card was loaded.
        return read_listed(self.card, self.folder, name)


class Shelf:
    """All model versions under ``root`` (``root/<name>/<version>/card.json``).

    A folder with any problem is never served; it is listed in ``problems``. ``threads`` is the number
    of processor threads that one prediction may use; ``engines`` says what runs the networks.
    """

    def __init__(self, root: Path, *, threads: int = 1, engines: EngineChoice | None = None) -> None:
        self.root = root
        models: list[Model] = []
        problems: list[ShelfProblem] = []
        for folder in sorted(path for path in root.glob("*/*") if path.is_dir() and path.name[0] != "."):
            try:
                models.append(_load_model(folder, threads, engines or EngineChoice()))
            except CardError as error:
                problems.append(_problem(folder, root, error))
        self.models = tuple(models)
        self.problems = tuple(problems) + _strangers(models, engines or EngineChoice())
        self._find_gates()

    def fitting(self, modality: str | None, body_part: str | None) -> list[Model]:
        """The newest version of each model that accepts this modality and body part (None = not stated)."""
        newest: dict[str, Model] = {}
        for model in sorted(self.models, key=_version_key):
            if may_speak(model.card) and accepts(model.card, modality, body_part):
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

    def demand(self, name: str, version: str | None = None) -> Model:
        """As `model`, for somebody who named the shelf: the refusal says what is wrong with it.

        Raises NotFound ``model-unknown``.
        """
        try:
            return self.model(name, version)
        except NotFound as missing:
            wanted = name if version is None else f"{name} {version}"
            words = [f"There is no model {wanted} that can be served in {self.root}."]
            words += [f"{problem.folder}: {problem.message}" for problem in self.problems]
            if not self.problems:
                there = ", ".join(sorted({model.card.name for model in self.models}))
                words.append(f"There are: {there}." if there else "No model folder (NAME/VERSION) is there.")
            raise NotFound(" ".join(words), code=missing.code) from missing

    def reading_names(self) -> set[str]:
        """The names of all models here but gates, also of those that are not served because something is wrong."""
        refused = {problem.folder.partition("/")[0] for problem in self.problems}
        served = {model.card.name for model in self.models}
        gates = {model.card.name for model in self.models if model.card.task == "gate"}
        return (served | refused) - gates

    def take_off_failing(self) -> tuple[ShelfProblem, ...]:
        """Replay every golden case and serve no model whose case differs here; return all problems of the shelf.

        A model whose gate falls goes with it.
        """
        self.problems = self.replay_golden()
        failed = {problem.folder for problem in self.problems}
        self.models = tuple(model for model in self.models if _place(model.folder, self.root) not in failed)
        self._find_gates()
        return self.problems

    def replay_golden(self) -> tuple[ShelfProblem, ...]:
        """Every problem of the shelf: folders that were refused, and models that fail their golden case."""
        failed = []
        for model in self.models:
            try:
                model.replay_golden()
            except CardError as error:
                failed.append(_problem(model.folder, self.root, error))
            if model.card.purpose == "comparison":
                model.close()
        return self.problems + tuple(failed)

    def _find_gates(self) -> None:
        """Give each model the very gate that its card names; one without it is not served."""
        gates = [model for model in self.models if _is_gate(model.card)]
        served: list[Model] = []
        problems: list[ShelfProblem] = []
        for model in self.models:
            try:
                model.gate = _fitting_gate(model.card, gates)
                served.append(model)
            except CardError as error:
                problems.append(_problem(model.folder, self.root, error))
        self.models = tuple(served)
        self.problems += tuple(problems)


def may_speak(card: ModelCard) -> bool:
    """Whether ``card`` is of a model that reads scans of patients: no gate, and not kept for comparison."""
    return card.task == "classify" and card.purpose == "patients"


def accepts(card: ModelCard, modality: str | None, body_part: str | None) -> bool:
    """Whether ``card`` reads pictures of this modality and body part (None or empty = not stated)."""
    return accepts_listed(card.modalities, card.body_parts, modality, body_part)


def accepts_listed(
    modalities: tuple[str, ...], body_parts: tuple[str, ...], modality: str | None, body_part: str | None
) -> bool:
    """The same of a card that is not at hand, by the lists it had."""
    return _listed(modality, modalities) and _listed(body_part, body_parts)


def _listed(value: str | None, accepted: tuple[str, ...]) -> bool:
    return (value or "").strip().upper() in accepted or (not (value or "").strip() and UNSTATED in accepted)


def _load_model(folder: Path, threads: int, engines: EngineChoice) -> Model:
    card = load_card(folder)
    if (folder.parent.name, folder.name) != (card.name, card.version):
        raise CardError("The folder is named after another model or version.", code="card-misplaced")
    return Model(card, folder, threads, engines)


def _is_gate(card: ModelCard) -> bool:
    return card.task == "gate" and card.purpose == "patients"


def _strangers(models: list[Model], engines: EngineChoice) -> tuple[ShelfProblem, ...]:
    """A model that is said to run elsewhere and is not here at all: most likely its name is mistyped."""
    message = "It is said to run on another server, but there is no such model on the shelf."
    known = {model.card.name for model in models}
    return tuple(ShelfProblem(name, "remote-unknown", message) for name in engines.remote if name not in known)


def _fitting_gate(card: ModelCard, gates: list[Model]) -> Model | None:
    need = card.gate
    if need is None:
        return None
    named_so = [gate for gate in gates if gate.card.name == need.model]
    if not named_so:
        raise CardError(f"{card.name} is never asked without the gate {need.model}.", code="gate-missing")
    gate = next((gate for gate in named_so if gate.seal == need.seal), None)
    if gate is None:
        message = f"{card.name} was measured with another {need.model} than the one that stands here."
        raise CardError(message, code="gate-mismatch")
    named = (*need.accepts, *need.phantoms, *need.turned, *need.inverted)
    unknown = [name for name in named if gate.card.label(name) is None]
    if unknown:
        raise CardError(f"The gate {need.model} does not know {', '.join(unknown)}.", code="gate-mismatch")
    return gate


def _problem(folder: Path, root: Path, error: CardError) -> ShelfProblem:
    return ShelfProblem(_place(folder, root), error.code, error.message)


def _place(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix()


def version_order(version: str) -> tuple[tuple[int, str], ...]:
    """Where a version stands among others: 2 before 10, numbers before words."""
    return tuple((int(part), "") if part.isdecimal() else (10**9, part) for part in version.split("."))


def _version_key(model: Model) -> tuple[tuple[int, str], ...]:
    return version_order(model.card.version)


def _agree(golden: Golden, prediction: Prediction, within: Replay) -> bool:
    names = tuple(name for name, _ in prediction.probabilities)
    values = np.array([value for _, value in prediction.probabilities])
    return (
        golden.label == prediction.label
        and golden.labels == names
        and _close(golden.probabilities, values, within.probability)
        and _close(golden.heat, _heat_or_empty(prediction), within.heat)
    )


def _heat_or_empty(prediction: Prediction) -> NDArray[np.float32]:
    return np.zeros((0, 0), np.float32) if prediction.heat is None else prediction.heat


def _close(wanted: NDArray[np.floating], got: NDArray[np.floating], tolerance: float) -> bool:
    return wanted.shape == got.shape and bool(np.allclose(wanted, got, rtol=0.0, atol=tolerance))
