"""ModelCard: a model described as data, checked in full before anything of it is used."""

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from csss.foundation.errors import CsssError
from csss.inference.card_data import STRICT, Sha256, Share
from csss.inference.card_data import Ingredient as Ingredient
from csss.inference.card_data import SourceFigures as SourceFigures
from csss.inference.card_data import TrainingData as TrainingData
from csss.inference.findings_rule import NO_FINDING, FindingsRule

CARD_FILE = "card.json"
MODEL_FILE = "model.onnx"
HEAD_FILE = "head.npz"
GOLDEN_FILE = "golden.npz"
UNSTATED = "unstated"
UNCERTAIN = "Uncertain"

_NAME = r"^[a-z0-9][a-z0-9-]{0,59}$"
_VERSION = r"^[0-9A-Za-z][0-9A-Za-z.]{0,29}$"
_FILE = r"^[0-9A-Za-z_][0-9A-Za-z_.-]{0,63}$"

Framing = Literal["whole", "lungs"]


class CardError(CsssError):
    """A model folder that must not be served; ``code`` says what is wrong with it."""

    status = 500
    code = "card-invalid"


class Risk(StrEnum):
    """How soon a person should look: an order of attention, not a degree of illness."""

    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """0 for low, 1 for moderate, 2 for high."""
        return tuple(Risk).index(self)


@dataclass(frozen=True, slots=True, config=STRICT)
class InputSpec:
    """What the network eats: float32 (n, channels, height_px, width_px), ``(grey / 255 - mean) / std``.

    ``mean`` and ``std`` have a number per channel: one for "grey"; three for "grey-repeated-3", where the same grey
    stands in for red, green and blue.

    With the framing "lungs" it is shown the part around the estimated lung fields, else the whole picture.
    """

    width_px: Annotated[int, Field(ge=32, le=1024)]
    height_px: Annotated[int, Field(ge=32, le=1024)]
    colour: Literal["grey", "grey-repeated-3"]
    framing: Framing
    interpolation: Literal["bilinear"]
    mean: tuple[float, ...]
    std: Annotated[tuple[float, ...], Field(description="above zero")]

    @property
    def channels(self) -> int:
        """How many planes the network is shown."""
        return 1 if self.colour == "grey" else 3


@dataclass(frozen=True, slots=True, config=STRICT)
class Coding:
    """A concept of a published terminology."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True, config=STRICT)
class Label:
    """One class of the model: its name in the data, the words for people, its code and its risk."""

    name: Annotated[str, Field(max_length=60)]
    display: str
    coding: Coding | None
    risk: Risk


@dataclass(frozen=True, slots=True, config=STRICT)
class Threshold:
    """The rule ``max p >= tau``, bound to the very weights it was derived for."""

    tau: Annotated[float, Field(ge=0.5, lt=1.0)]
    derivation: str
    for_model_version: str
    for_model_sha256: Sha256
    for_head_sha256: Sha256


@dataclass(frozen=True, slots=True, config=STRICT)
class Calibration:
    """How logits become probabilities: ``softmax(logits * scale / temperature + bias)``.

    ``scale`` and ``bias`` hold one number per label for the method "vector" (vector scaling of Guo et
    al. 2017, arXiv:1706.04599) and are empty otherwise. For the task "findings" each label has a sigmoid of its
    own in place of the softmax.
    """

    method: Literal["temperature", "vector", "identity"]
    temperature: Annotated[float, Field(gt=0.0, le=100.0)]
    scale: tuple[Annotated[float, Field(gt=0.0, le=100.0)], ...]
    bias: tuple[Annotated[float, Field(ge=-100.0, le=100.0)], ...]
    fitted_on: str

    @property
    def words(self) -> str:
        """The same as a sentence for people."""
        if self.method == "identity":
            return f"None: {self.fitted_on}."
        own = " with a scale and a bias for each label" if self.method == "vector" else ""
        return f"Temperature {self.temperature:.3g}{own}, fitted on {self.fitted_on}."


@dataclass(frozen=True, slots=True, config=STRICT)
class Conformal:
    """A label is in a picture's set when its probability reaches ``at_least`` (one number per label).

    Fitted per class on the validation split, so that the true label of each class is in the set with at least the
    stated coverage (Mondrian; Vovk 2012, arXiv:1209.2673). ``two_are_uncertain``: a set of two makes it "Uncertain".
    """

    coverage: Annotated[float, Field(gt=0.5, lt=1.0)]
    at_least: tuple[Share, ...]
    fitted_on: str
    two_are_uncertain: bool


@dataclass(frozen=True, slots=True, config=STRICT)
class GateNeed:
    """The gate that a picture must pass before this model reads it, in the words of that gate's labels.

    Pictures of ``accepts`` are read; ``phantoms`` are read and say so in every result; ``turned`` and ``inverted``
    are read but always "Uncertain"; anything else is refused. ``seal`` is that of the gate it was measured with.
    """

    model: Annotated[str, Field(pattern=_NAME)]
    seal: Sha256
    accepts: Annotated[tuple[str, ...], Field(min_length=1)]
    phantoms: tuple[str, ...]
    turned: tuple[str, ...]
    inverted: tuple[str, ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class OutOfDistribution:
    """Feature-space distance above which a picture is unlike anything the model was fitted on."""

    method: Literal["pca-mahalanobis"]
    limit: Annotated[float, Field(gt=0.0)]
    operating_point: str


@dataclass(frozen=True, slots=True, config=STRICT)
class RiskRule:
    """The risk is the highest of the labels with ``p >= plausible_from``, never below the floor when unsure."""

    plausible_from: Annotated[float, Field(gt=0.0, le=0.5)]
    floor_when_uncertain: Literal[Risk.MODERATE, Risk.HIGH]
    rule: str


@dataclass(frozen=True, slots=True, config=STRICT)
class Explanation:
    """Whether this model's heat maps may be shown, and on which evidence.

    ``against`` is the label that names no finding: maps show what speaks for a finding rather than for it, of the
    likeliest finding where it is the likeliest label itself.
    """

    method: Literal["grad-cam-closed-form"]
    shown: bool
    evidence: str
    against: str | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class Replay:
    """How far the golden case may differ on another machine: each probability, and each cell of the heat map.

    Floating point rounds differently by a millionth; 8-bit networks may differ by a step of their scale.
    """

    probability: Annotated[float, Field(gt=0.0, le=0.05)]
    heat: Annotated[float, Field(gt=0.0, le=0.2)]


FLOAT_REPLAY = Replay(1e-4, 1e-3)
INT8_REPLAY = Replay(0.03, 0.2)
"""Measured: the shipped network in OpenVINO instead of ONNX Runtime differs by 0.004 and 0.087 on its golden case."""


@dataclass(frozen=True, slots=True, config=STRICT)
class FileHash:
    name: Annotated[str, Field(pattern=_FILE)]
    sha256: Sha256


@dataclass(frozen=True, slots=True, config=STRICT)
class ModelCard:
    """Everything that serving, the screen and the report need to know about one version of a model."""

    name: Annotated[str, Field(pattern=_NAME)]
    version: Annotated[str, Field(pattern=_VERSION)]
    task: Literal["classify", "gate", "findings"]
    purpose: Literal["patients", "comparison"]
    engine: Literal["onnx"]
    modalities: Annotated[tuple[str, ...], Field(min_length=1)]
    body_parts: Annotated[tuple[str, ...], Field(min_length=1)]
    input: InputSpec
    labels: Annotated[tuple[Label, ...], Field(min_length=2)]
    threshold: Threshold
    calibration: Calibration
    ood: OutOfDistribution
    conformal: Conformal | None
    gate: GateNeed | None
    quality: Literal["chest"] | None
    risk: RiskRule
    explanation: Explanation
    intended_use: str
    limits: Annotated[tuple[str, ...], Field(min_length=1)]
    training_data: TrainingData
    ingredients: Annotated[tuple[Ingredient, ...], Field(min_length=1)]
    phantom_trained: bool
    replay: Replay
    files: tuple[FileHash, ...]
    findings: FindingsRule | None = None

    def label(self, name: str) -> Label | None:
        """The label called ``name``, or None (for "Uncertain")."""
        return next((label for label in self.labels if label.name == name), None)

    def index_of(self, name: str | None) -> int | None:
        """The place of the label called ``name`` among the labels, or None."""
        return next((index for index, label in enumerate(self.labels) if label.name == name), None)

    def file_sha256(self, name: str) -> str | None:
        """The recorded hash of a file of the folder, or None when the card does not list it."""
        return next((file.sha256 for file in self.files if file.name == name), None)


_ADAPTER = TypeAdapter(ModelCard)


def encode_card(card: ModelCard) -> bytes:
    """The one spelling of a card: content as indented JSON, then its seal; no signature, a writer can seal anew."""
    return _spell({**_content(card), "seal": seal_of(card)})


def seal_of(card: ModelCard) -> str:
    """The sha256 of a card's content, and by the hashes in it of every file and of its gate."""
    return _digest(_spell(_content(card)))


def write_card(card: ModelCard, folder: Path) -> None:
    """Write ``card.json`` into ``folder`` in the form that `load_card` accepts."""
    (folder / CARD_FILE).write_bytes(encode_card(card))


def load_card(folder: Path) -> ModelCard:
    """The card of ``folder``, after its form, its seal, its threshold and every file's hash were checked.

    Raises CardError: ``card-missing``, ``card-unreadable``, ``card-invalid``, ``card-altered``,
    ``label-duplicate``, ``findings-for-comparison-only``, ``threshold-stale``, ``file-unlisted``,
    ``file-missing``, ``file-altered``.
    """
    data = _read(folder / CARD_FILE)
    card = _parse(data)
    if encode_card(card) != data:
        raise CardError(f"The card of {card.name} was changed after it was sealed.", code="card-altered")
    _check_labels(card)
    _check_lengths(card)
    _check_findings(card)
    _check_files(card, folder)
    _check_threshold(card)
    return card


def read_listed(card: ModelCard, folder: Path, name: str) -> bytes:
    """The bytes of a file that the card lists. Raises CardError ``file-missing``, ``file-altered``."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise CardError(f"{name} is missing or cannot be read.", code="file-missing") from error
    if _digest(data) != card.file_sha256(name):
        raise CardError(f"{name} is not the file that the card describes.", code="file-altered")
    return data


def _read(path: Path) -> bytes:
    if not path.exists():
        raise CardError(f"{path.parent.name} holds no {path.name}.", code="card-missing")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CardError(f"{path.name} cannot be read.", code="card-unreadable") from error


def _parse(data: bytes) -> ModelCard:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CardError("The card is not valid JSON.", code="card-unreadable") from error
    if not isinstance(content, dict) or not isinstance(content.pop("seal", None), str):
        raise CardError("The card carries no seal.", code="card-invalid")
    try:
        return _ADAPTER.validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CardError(f"The card is wrong at {place}: {first['msg']}.", code="card-invalid") from error


def _check_labels(card: ModelCard) -> None:
    names = [label.name for label in card.labels]
    if len(set(names)) != len(names) or UNCERTAIN in names:
        raise CardError("The labels of the card are not distinct.", code="label-duplicate")
    if not len(card.input.mean) == len(card.input.std) == card.input.channels:
        message = "The card is wrong at input: mean and std have one number for each channel."
        raise CardError(message, code="card-invalid")
    if min(card.input.std) <= 0.0:
        raise CardError("The card is wrong at input.std: not above zero.", code="card-invalid")
    if card.explanation.against not in (None, *names) or (card.explanation.against and card.task != "classify"):
        message = "The card is wrong at explanation.against: no label of its own that excludes the others."
        raise CardError(message, code="card-invalid")


def _check_lengths(card: ModelCard) -> None:
    calibration, labels = card.calibration, len(card.labels)
    wanted = labels if calibration.method == "vector" else 0
    if len(calibration.scale) != wanted or len(calibration.bias) != wanted:
        raise CardError("The card is wrong at calibration: another number of labels.", code="card-invalid")
    if card.conformal is not None and len(card.conformal.at_least) != labels:
        raise CardError("The card is wrong at conformal: another number of labels.", code="card-invalid")
    if card.gate is not None and card.task == "gate":
        raise CardError("The card is wrong at gate: a gate stands behind no other.", code="card-invalid")


def _check_findings(card: ModelCard) -> None:
    rule = card.findings
    if (rule is None) is (card.task == "findings") or (rule and card.label(NO_FINDING)):
        raise CardError("The card is wrong at findings: it does not fit task and labels.", code="card-invalid")
    if rule and len(rule.present_from) != len(card.labels):
        raise CardError("The card is wrong at findings: another number of labels.", code="card-invalid")
    if rule and card.purpose != "comparison":
        message = "A model of several findings is for comparison only: none reads for patients yet."
        raise CardError(message, code="findings-for-comparison-only")


def _check_files(card: ModelCard, folder: Path) -> None:
    for needed in (MODEL_FILE, HEAD_FILE, GOLDEN_FILE):
        if card.file_sha256(needed) is None:
            raise CardError(f"The card does not list {needed}.", code="file-unlisted")
    for file in card.files:
        read_listed(card, folder, file.name)


def _check_threshold(card: ModelCard) -> None:
    threshold = card.threshold
    bound_to = (threshold.for_model_version, threshold.for_model_sha256, threshold.for_head_sha256)
    if bound_to != (card.version, card.file_sha256(MODEL_FILE), card.file_sha256(HEAD_FILE)):
        raise CardError("The threshold was derived for other weights; derive it again.", code="threshold-stale")


def _content(card: ModelCard) -> dict[str, object]:
    # What a card does not need it does not spell out, so that a new field leaves the seals of other cards as they are.
    # The default of such a field may never change its meaning: old seals would silently mean something else.
    content: dict[str, object] = json.loads(_ADAPTER.dump_json(card, exclude_defaults=True))
    return content


def _spell(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
