"""What every shape of the API has in common: strict on the way in, frozen, and the problem document."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Something that goes out."""

    model_config = ConfigDict(frozen=True)


class Form(BaseModel):
    """Something that comes in; a field that we do not know is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Shape):
    """RFC 9457 problem details; go by ``code``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
