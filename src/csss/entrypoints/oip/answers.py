"""What the models of the shelf offer by the Open Inference Protocol v2, and their answers to one request."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csss.entrypoints.oip.choosing import Chooser, Chosen
from csss.entrypoints.oip.requests import MAX_BATCH, Asked, Choice
from csss.entrypoints.oip.tensors import Array, Datatype, Tensor, TensorSpec
from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits, check_not_blank
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import CardError, ModelCard, Risk
from csss.inference.prediction import InferenceRefused, Prediction, raise_threshold
from csss.inference.shelf import Model

PICTURES, PREPARED = "pictures", "prepared"
REFUSED = "Refused"
NO_DISTANCE = -1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture: a prediction, or the code of the refusal."""

    prediction: Prediction | None
    refusal: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Body of an answer; ``header_length`` is the size of its JSON part where binary data follow."""

    body: bytes
    header_length: int | None


def offer(card: ModelCard) -> Mapping[str, Choice]:
    """The two inputs of which a request has one, by name.

    ``pictures`` are read as at any other door: gate, thresholds and limits apply. ``prepared`` runs the bare network
    for another site's engine. That input has one name for every model: exporters call a network's own input
    "pictures" too.
    """
    size = card.input
    prepared = TensorSpec(PREPARED, Datatype.FP32, (-1, size.channels, size.height_px, size.width_px))
    features = TensorSpec("features", Datatype.FP32, (-1, -1, -1, -1))
    outputs = tuple(TensorSpec(name, kind, shape(card)) for name, kind, shape, _ in _columns(card))
    return {
        PICTURES: Choice(TensorSpec(PICTURES, Datatype.UINT8, (-1, -1, -1)), outputs),
        PREPARED: Choice(prepared, (features,)),
    }


def describe(chosen: Chosen) -> dict[str, Any]:
    """The protocol's $metadata_model_response; of the inputs a request has exactly one."""
    model, choices = chosen.model, offer(chosen.model.card).values()
    return {
        "name": model.card.name,
        "versions": [model.card.version],
        "platform": f"csss_{model.card.task}",
        "inputs": [choice.input.describe() for choice in choices],
        "outputs": [spec.describe() for choice in choices for spec in choice.outputs],
        "parameters": {
            "max_batch": MAX_BATCH,
            "purpose": model.card.purpose,
            "version_from": chosen.version_from,
        },
    }


def infer(model: Model, asked: Asked, chooser: Chooser) -> Answer:
    """Run the request. A threshold matters to a statement about ``pictures`` only, and may forbid it.

    Raises CardError when the model cannot be opened, InferenceRefused for ``prepared``, what `Chooser.site_tau` raises.
    """
    specs = {spec.name: spec for spec in offer(model.card)[asked.input.name].outputs}
    if asked.input.name == PREPARED:
        values: Mapping[str, Array] = {"features": _features(model, asked.values)}
    else:
        site_tau = chooser.site_tau(model)
        outcomes = [read_picture(model, picture, site_tau) for picture in asked.values]
        values = {name: column(model.card, outcomes) for name, _, _, column in _columns(model.card)}
    return _write(model, asked, {name: Tensor(spec, values[name]) for name, spec in specs.items()})


def read_picture(model: Model, grey: NDArray[np.uint8], site_tau: float | None) -> Outcome:
    """What the model says about one grey picture uint8 (rows, columns), larger = brighter, as on the screen.

    Raises CardError only: a picture that is refused has an outcome too. ``site_tau`` can raise the threshold.
    """
    try:
        Limits().check_pixels(FileKind.PNG, rows=grey.shape[0], columns=grey.shape[1])
        check_not_blank(float(grey.min()), float(grey.max()))
        prediction = model.predict(Volume(pixels=grey[np.newaxis], kind=FileKind.PNG))
    except CardError:
        raise
    except CsssError as refusal:
        return Outcome(None, refusal.code)
    if site_tau is not None and site_tau > prediction.tau:
        prediction = raise_threshold(prediction, site_tau, floor=Risk(model.card.risk.floor_when_uncertain))
    return Outcome(prediction, "")


def _features(model: Model, prepared: Array) -> Array:
    features = model.features(prepared)
    if not np.isfinite(features).all():
        raise InferenceRefused("The model's answer is not a number.", code="model-output-not-finite")
    return features


def _write(model: Model, asked: Asked, tensors: Mapping[str, Tensor]) -> Answer:
    outputs: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for wish in asked.wishes:
        tensor = tensors[wish.name]
        if wish.binary:
            parts.append(tensor.to_bytes())
            outputs.append(tensor.describe() | {"parameters": {"binary_data_size": len(parts[-1])}})
        else:
            outputs.append(tensor.describe() | {"data": tensor.to_json()})
    content: dict[str, Any] = {"model_name": model.card.name, "model_version": model.card.version, "outputs": outputs}
    if asked.id is not None:
        content["id"] = asked.id
    header = json.dumps(content, allow_nan=False).encode()  # ASCII: an id may hold half of a surrogate pair
    return Answer(header + b"".join(parts), len(header) if parts else None)


def _reason(outcome: Outcome) -> str:
    return ",".join(outcome.prediction.uncertain_reasons) if outcome.prediction else outcome.refusal


def _probabilities(card: ModelCard, outcomes: list[Outcome]) -> Array:
    """Shares (n, C); zeros, which are no shares of anything, for a refused picture."""
    none = [0.0] * len(card.labels)
    rows = [[share for _, share in o.prediction.probabilities] if o.prediction else none for o in outcomes]
    return np.array(rows, np.float64)


def _texts(pick: Callable[[Outcome], str]) -> Callable[[ModelCard, list[Outcome]], Array]:
    return lambda _, outcomes: np.array([pick(outcome) for outcome in outcomes], np.object_)


def _flags(pick: Callable[[ModelCard, Outcome], bool]) -> Callable[[ModelCard, list[Outcome]], Array]:
    return lambda card, outcomes: np.array([pick(card, outcome) for outcome in outcomes], np.bool_)


def _numbers(pick: Callable[[ModelCard, Outcome], float]) -> Callable[[ModelCard, list[Outcome]], Array]:
    return lambda card, outcomes: np.array([pick(card, outcome) for outcome in outcomes], np.float64)


def _each(_: ModelCard) -> tuple[int, ...]:
    return (-1,)


_Column = tuple[str, Datatype, Callable[[ModelCard], tuple[int, ...]], Callable[[ModelCard, list[Outcome]], Array]]
_COLUMNS: tuple[_Column, ...] = (
    ("probabilities", Datatype.FP64, lambda card: (-1, len(card.labels)), _probabilities),
    (
        "labels",
        Datatype.BYTES,
        lambda card: (len(card.labels),),
        lambda card, _: np.array([label.name for label in card.labels], np.object_),
    ),
    ("label", Datatype.BYTES, _each, _texts(lambda o: o.prediction.label if o.prediction else REFUSED)),
    ("top_label", Datatype.BYTES, _each, _texts(lambda o: o.prediction.top_label if o.prediction else "")),
    ("uncertain", Datatype.BOOL, _each, _flags(lambda _, o: o.prediction is None or o.prediction.uncertain)),
    ("reason", Datatype.BYTES, _each, _texts(_reason)),
    (
        "distance",
        Datatype.FP64,
        _each,
        _numbers(lambda _, o: o.prediction.ood_distance if o.prediction else NO_DISTANCE),
    ),
    ("tau", Datatype.FP64, _each, _numbers(lambda card, o: o.prediction.tau if o.prediction else card.threshold.tau)),
    (
        "phantom",
        Datatype.BOOL,
        _each,
        _flags(lambda card, o: card.phantom_trained or (o.prediction is not None and o.prediction.phantom)),
    ),
)
"""The outputs for pictures, each with its type, its shape, and how it is filled for all pictures of a request."""
_OF_FINDINGS: tuple[_Column, ...] = (
    ("findings", Datatype.BYTES, _each, _texts(lambda o: "|".join(o.prediction.findings) if o.prediction else "")),
    (
        "thresholds",
        Datatype.FP64,
        lambda card: (len(card.labels),),
        lambda card, _: np.array(card.findings.present_from if card.findings else (), np.float64),
    ),
)
"""What a model of several findings has beside them: all labels over their own thresholds, joined, and those."""


def _columns(card: ModelCard) -> tuple[_Column, ...]:
    return _COLUMNS + (_OF_FINDINGS if card.findings else ())
