"""Which desk belongs to which role, and who is here where nobody has to be."""

import contextlib

from fastapi import Request

from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, Relation, require
from csss.accounts.tables import Role
from csss.entrypoints.http.actor import optional_actor
from csss.entrypoints.http.work import WorkDep
from csss.foundation.errors import Forbidden, NotSignedIn

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


def recognise(request: Request, work: WorkDep) -> None:
    """Dependency of pages that are open to everybody: they greet who is signed in, and mind no stale cookie."""
    with contextlib.suppress(NotSignedIn):
        optional_actor(request, work)
