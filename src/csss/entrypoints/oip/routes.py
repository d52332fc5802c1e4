"""The door ``/v2``: health, descriptions and inference by the Open Inference Protocol v2, for bearers of its token."""

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from csss import __version__
from csss.entrypoints.oip.answers import Answer, describe, infer, offer
from csss.entrypoints.oip.requests import BODY_BYTES, MIB, read_request
from csss.entrypoints.oip.tensors import wrong
from csss.foundation.errors import Forbidden, NotSignedIn, TooLarge, Unavailable
from csss.foundation.thresholds import Thresholds, threshold_of
from csss.inference.shelf import Model, Shelf

HEADER_LENGTH = "Inference-Header-Content-Length"
PATIENCE_SECONDS = 30.0
MAX_RUNS = 16
"""Questions that are worked on at once, in threads of their own: the pages of a site never wait for programs."""


@dataclass(frozen=True, slots=True)
class Served:
    """What this door is given: the shelf, the token that callers must have, and the site's own thresholds."""

    shelf: Shelf
    token: str | None = field(repr=False)
    thresholds: Thresholds = ()


def mount(app: FastAPI, served: Served) -> None:
    """Put the door into an application; without a token everybody who reaches it may ask."""
    app.state.oip = served
    app.state.oip_room = CapacityLimiter(MAX_RUNS)
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


async def asked_model(request: Request, served: ServedDep) -> Model:
    """The model of the address, its newest version unless the address names one. Raises NotFound."""
    return served.shelf.model(request.path_params["name"], request.path_params.get("version"))


ModelDep = Annotated[Model, Depends(asked_model)]
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
def metadata(model: ModelDep) -> dict[str, Any]:
    """Inputs and outputs of a model."""
    return describe(model)


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready")
def model_ready(model: ModelDep) -> dict[str, Any]:
    """The model is on the shelf; 404 otherwise."""
    return {"name": model.card.name, "ready": True}


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def model_infer(request: Request, model: ModelDep, served: ServedDep) -> Response:
    """Ask a model. Nothing of the question or the answer is kept."""
    tau = threshold_of(served.thresholds, model.card.name, model.card.version)
    body = await read_body(request)
    header_length = request.headers.get(HEADER_LENGTH)
    room: CapacityLimiter = request.app.state.oip_room
    answer = await to_thread.run_sync(_answer, model, body, header_length, tau, limiter=room)
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if answer.header_length is None:
        return Response(answer.body, media_type="application/json", headers=headers)
    headers[HEADER_LENGTH] = str(answer.header_length)
    return Response(answer.body, media_type="application/octet-stream", headers=headers)


def _answer(model: Model, body: bytes, header_length: str | None, tau: float | None) -> Answer:
    return infer(model, read_request(body, header_length, offer(model.card)), tau)


async def read_body(request: Request) -> bytes:
    """The body, bounded while it comes in. Raises TooLarge, BadRequest."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise wrong("compressed bodies are not accepted")
    body = bytearray()
    stream = request.stream()
    try:
        while part := await asyncio.wait_for(anext(stream, b""), PATIENCE_SECONDS):
            body += part
            if len(body) > BODY_BYTES:
                raise TooLarge(f"The request is larger than the {BODY_BYTES // MIB} MB that are accepted.")
    except (TimeoutError, ClientDisconnect) as error:
        raise wrong("its body did not arrive whole") from error
    return bytes(body)
