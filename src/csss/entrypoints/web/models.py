"""Pages: one model version with its card and the evidence behind it, for anybody who is signed in."""

from fastapi import APIRouter, Request, Response

from csss.accounts.permissions import Action, require
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.web.markdown import Section, divide, read_markdown
from csss.entrypoints.web.rendering import page
from csss.foundation.errors import NotFound
from csss.inference.card import read_listed
from csss.inference.shelf import Model

router = APIRouter(include_in_schema=False)

METRICS = "METRICS.md"
_PNG = b"\x89PNG\r\n\x1a\n"
_YEAR_SECONDS = 365 * 24 * 3600


@router.get("/models/{name}/{version}")
def model_card(request: Request, name: str, version: str, parts: PartsDep, actor: ActorDep) -> Response:
    """Show what a model is for, what it cannot do, and on which evidence."""
    require(actor, Action.OWN_ACCOUNT)
    model = parts.shelf.model(name, version)
    return page(
        request,
        "parts/model.html",
        card=model.card,
        evidence=evidence_of(model),
        pictures={file.name: file.sha256[:16] for file in model.card.files if file.name.endswith(".png")},
    )


@router.get("/models/{name}/{version}/{file}")
def model_picture(name: str, version: str, file: str, parts: PartsDep, actor: ActorDep) -> Response:
    """Hand out a picture that the card lists, after its hash was compared; nothing else of the folder.

    A version never changes, and the address on its page carries the hash, so that browsers may keep it.
    """
    require(actor, Action.OWN_ACCOUNT)
    model = parts.shelf.model(name, version)
    if not file.endswith(".png") or model.card.file_sha256(file) is None:
        raise NotFound("This model has no such picture.", code="no-such-picture")
    data = read_listed(model.card, model.folder, file)
    if not data.startswith(_PNG):
        raise NotFound("This model has no such picture.", code="no-such-picture")
    headers = {
        "Cache-Control": f"private, max-age={_YEAR_SECONDS}, immutable",
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        "Content-Disposition": "inline",
    }
    return Response(data, media_type="image/png", headers=headers)


def evidence_of(model: Model) -> tuple[Section, ...]:
    """Return METRICS.md by its sections; empty for a version whose card lists none."""
    if model.card.file_sha256(METRICS) is None:
        return ()
    return divide(read_markdown(read_listed(model.card, model.folder, METRICS).decode("utf-8", "replace")))
