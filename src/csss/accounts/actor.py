"""Actor: the signed-in person by whom a verb is done."""

from dataclasses import dataclass
from uuid import UUID

from csss.accounts.tables import Role, SessionKind


@dataclass(frozen=True, slots=True)
class Actor:
    """A person with a valid session; the role is the one in the user's row at this moment."""

    user_id: UUID
    role: Role
    name: str
    email: str
    session_id: UUID
    kind: SessionKind
