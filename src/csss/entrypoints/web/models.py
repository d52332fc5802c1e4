"""Page: the card of one model version, for anybody who is signed in."""

from fastapi import APIRouter, Request, Response

from csss.accounts.permissions import Action, require
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.web.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/models/{name}/{version}")
def model_card(request: Request, name: str, version: str, parts: PartsDep, actor: ActorDep) -> Response:
    """Show what a model is for, what it cannot do, and on which evidence."""
    require(actor, Action.OWN_ACCOUNT)
    return page(request, "parts/model.html", card=parts.shelf.model(name, version).card)
