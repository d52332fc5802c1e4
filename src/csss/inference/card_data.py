"""What a card says of the data that a model was made from, and the types that every part of a card is checked by."""

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, str_min_length=1)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True, config=STRICT)
class SourceFigures:
    """Test figures of one source of images; ``balanced_accuracy`` is over the labels it holds."""

    source: str
    images: Annotated[int, Field(ge=0)]
    accuracy: Share
    balanced_accuracy: Share


@dataclass(frozen=True, slots=True, config=STRICT)
class TrainingData:
    """What the weights were fitted on, and how they did on the part that was kept away."""

    fingerprint_sha256: Sha256
    description: str
    train_images: Annotated[int, Field(ge=0)]
    validation_images: Annotated[int, Field(ge=0)]
    test_images: Annotated[int, Field(ge=0)]
    test_accuracy: Share
    test_balanced_accuracy: Share
    test_macro_f1: Share
    test_ece: Share
    sources: tuple[SourceFigures, ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class Ingredient:
    """One thing that went into the model, where it came from and under which terms."""

    name: str
    origin: str
    licence: str
    sha256: Sha256 | None
