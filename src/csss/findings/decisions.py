"""What one decision about a model says, and where a model stands after some of them: plain values, no database."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class ChoiceKind(StrEnum):
    PROPOSE = "propose"
    WITHDRAW = "withdraw"
    REFUSE = "refuse"
    ACTIVATE = "activate"
    ROLL_BACK = "roll-back"
    SWITCH_OFF = "switch-off"
    SHADOW = "shadow"
    STOP_SHADOW = "stop-shadow"


@dataclass(frozen=True, slots=True)
class Active:
    """A version that was made to speak, or with ``off`` to be silent; ``number`` is the decision's.

    ``tau`` is its site threshold, ``seal`` that of the card that was chosen, None from before choices were bound to
    it; ``modalities`` and ``body_parts`` are what its card accepted.
    """

    version: str
    tau: float | None
    number: int
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    seal: str | None
    off: bool = False


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that runs beside, since when, and the seal of the card that was chosen."""

    version: str
    seal: str | None
    since: datetime


@dataclass(frozen=True, slots=True)
class Proposal:
    """An activation that waits for a second administrator; ``stale`` when what speaks has changed since."""

    id: UUID
    number: int
    model: str
    version: str
    seal: str | None
    tau: float | None
    by_id: UUID
    at: datetime
    reason: str
    stale: bool = False

    def outdated(self) -> "Proposal":
        """The same after another decision about what speaks."""
        return replace(self, stale=True)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, with the part that its kind has; ``settles`` is the proposal that it answers."""

    id: UUID
    model: str
    version: str
    kind: ChoiceKind
    speaks: Active | None = None
    shadow: Shadow | None = None
    proposal: Proposal | None = None
    settles: UUID | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where one model stands: ``active`` None until somebody decides, ``before`` what a roll back leads to."""

    active: Active | None = None
    before: Active | None = None
    shadow: Shadow | None = None
    proposal: Proposal | None = None
