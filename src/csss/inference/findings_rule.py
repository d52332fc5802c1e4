"""FindingsRule: the limits of a model whose labels do not exclude each other, one pair for each label."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from csss.inference.card_data import STRICT

NO_FINDING = "No Finding"
"""What is stated when every label is clearly absent; never a label of its own."""

_Limit = Annotated[float, Field(gt=0.0, lt=1.0)]
_Share = Annotated[float, Field(ge=0.0, lt=1.0)]


@dataclass(frozen=True, slots=True, config=STRICT)
class FindingsRule:
    """A finding is present when its probability reaches ``present_from``, clearly absent when below ``absent_below``.

    One number for each label of the card, bound to its weights by the card's threshold. In between a label is
    neither; 0 in ``absent_below`` means that the label is never ruled out.
    """

    present_from: tuple[_Limit, ...]
    absent_below: tuple[_Share, ...]
    derivation: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.present_from) != len(self.absent_below):
            raise ValueError("the two limits have different numbers of labels")
        if any(absent > present for present, absent in zip(self.present_from, self.absent_below, strict=True)):
            raise ValueError("a label cannot be present and clearly absent")
        return self
