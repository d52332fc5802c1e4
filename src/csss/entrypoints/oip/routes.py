"""The door ``/v2``: health, descriptions and inference by the Open Inference Protocol v2, for bearers of its token."""

import hmac
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from csss import __version__
from csss.entrypoints.oip.answers import Answer, describe, infer, offer
from csss.entrypoints.oip.bodies import BodyRoom
from csss.entrypoints.oip.choosing import ByShelf, Chooser, Chosen, VersionFrom
from csss.entrypoints.oip.requests import read_request
from csss.foundation.errors import Forbidden, NotSignedIn, Unavailable
from csss.inference.shelf import Model, Shelf

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_RUNS = 16
"""Questions that are worked on at once, in threads of their own: the pages of a site never wait for programs."""


@dataclass(frozen=True, slots=True)
class Served:
    """What this door is given: the shelf, the token that callers must have, and who chooses versions (None: nobody)."""

    shelf: Shelf
    token: str | None = field(repr=False)
    chooser: Chooser | None = None

    @property
    def choices(self) -> Chooser:
        return self.chooser or ByShelf(self.shelf)


def mount(app: FastAPI, served: Served) -> None:
    """Put the door into an application; without a token everybody who reaches it may ask."""
    app.state.oip = served
    app.state.oip_room = CapacityLimiter(MAX_RUNS)
    app.state.oip_bodies = BodyRoom()
    app.include_router(health)
    app.include_router(router)


async def _served(request: Request) -> Served:
    served: Served = request.app.state.oip
    return served


ServedDep = Annotated[Served, Depends(_served)]


async def check_token(request: Request, served: ServedDep) -> None:
    """Raise `NotSignedIn` for a request without the token; nothing of its body was read yet.

    Where there is no token no browser is served: a page of anybody's, open on this machine, could ask otherwise.
    """
    if served.token is None:
        if "origin" in request.headers or "sec-fetch-site" in request.headers:
            raise Forbidden("Without a token this door is for programs, not for browsers.", code="foreign-origin")
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), served.token.encode()):
        raise NotSignedIn("Send the token of this door as Authorization: Bearer TOKEN.")


def chosen_model(request: Request, served: ServedDep) -> Chosen:
    """The model of the address; without a version the one that speaks here. Raises NotFound, Unavailable.

    In a thread: a site looks its decisions up.
    """
    name, version = request.path_params["name"], request.path_params.get("version")
    if version is None:
        return served.choices.choose(name)
    return Chosen(served.shelf.model(name, version), VersionFrom.ADDRESS)


ChosenDep = Annotated[Chosen, Depends(chosen_model)]
health = APIRouter(prefix="/v2", include_in_schema=False)
router = APIRouter(prefix="/v2", include_in_schema=False, dependencies=[Depends(check_token)])


@health.get("/health/live")
def live() -> dict[str, bool]:
    """The process is alive."""
    return {"live": True}


@router.get("/health/ready")
def ready(served: ServedDep) -> dict[str, bool]:
    """At least one model can be asked."""
    if not served.shelf.models:
        raise Unavailable("No model can be served.")
    return {"ready": True}


@router.get("")
def server() -> dict[str, Any]:
    """Who serves, and which extensions of the protocol it knows."""
    return {"name": "csss", "version": __version__, "extensions": ["binary_tensor_data"]}


@router.post("/repository/index")
def index(served: ServedDep) -> list[dict[str, str]]:
    """Everything on the shelf, and why a part of it is not served. (An extension of Triton; its body is not read.)"""
    good = [
        {"name": model.card.name, "version": model.card.version, "state": "READY", "reason": ""}
        for model in served.shelf.models
    ]
    bad = []
    for problem in served.shelf.problems:
        name, _, version = problem.folder.partition("/")
        bad.append({"name": name, "version": version, "state": "UNAVAILABLE", "reason": problem.message})
    return good + bad


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
def metadata(chosen: ChosenDep) -> dict[str, Any]:
    """Inputs and outputs of a model, and which version answers at this address."""
    return describe(chosen)


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready")
def model_ready(chosen: ChosenDep, served: ServedDep) -> dict[str, Any]:
    """The model is on the shelf and may say something about pictures here; 404, 409 or 503 otherwise."""
    served.choices.site_tau(chosen.model)
    return {"name": chosen.model.card.name, "ready": True}


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def model_infer(request: Request, chosen: ChosenDep, served: ServedDep) -> Response:
    """Ask a model. Nothing of the question or the answer is kept."""
    header_length = request.headers.get(HEADER_LENGTH)
    room: CapacityLimiter = request.app.state.oip_room
    bodies: BodyRoom = request.app.state.oip_bodies
    async with bodies.body(request) as body:
        answer = await to_thread.run_sync(_answer, chosen, body, header_length, served.choices, limiter=room)
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if answer.header_length is None:
        return Response(answer.body, media_type="application/json", headers=headers)
    headers[HEADER_LENGTH] = str(answer.header_length)
    return Response(answer.body, media_type="application/octet-stream", headers=headers)


def _answer(chosen: Chosen, body: bytes, header_length: str | None, choices: Chooser) -> Answer:
    # The body may have taken minutes to come, and the queue longer: what speaks is looked up again, before and after.
    model = _speaking(chosen, choices)
    answer = infer(model, read_request(body, header_length, offer(model.card)), choices)
    if _speaking(chosen, choices) is not model:
        message = f"{model.card.name} was decided about anew while it was asked. Ask again."
        raise Unavailable(message, code="chosen-anew", facts={"retry_after_seconds": 1})
    return answer


def _speaking(chosen: Chosen, choices: Chooser) -> Model:
    if chosen.version_from is VersionFrom.ADDRESS:
        return chosen.model
    return choices.choose(chosen.model.card.name).model
