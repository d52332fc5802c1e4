"""Which desk belongs to which role."""

from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, Relation, require
from csss.accounts.tables import Role
from csss.foundation.errors import Forbidden

DESKS: dict[Role, str] = {
    Role.PATIENT: "/patient",
    Role.DOCTOR: "/doctor",
    Role.PHARMACIST: "/pharmacy",
    Role.ADMIN: "/admin",
}


def require_desk(actor: Actor, relation: Relation) -> None:
    """Raise `Forbidden` unless this person's scans are listed by ``relation``, as on the desk that was asked for."""
    if require(actor, Action.LIST_SCANS) is not relation:
        raise Forbidden("This desk belongs to another role.", code="wrong-role")
