"""Mount all JSON routers under /api/v1, and the two questions that a load balancer asks."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy import text

from csss.entrypoints.api import auth, patients, reports, scans
from csss.entrypoints.api.shapes.base import Problem
from csss.entrypoints.http.actor import csrf_by_header
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.work import WorkDep
from csss.foundation.errors import Unavailable

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        "description": what,
    }
    for status, what in (
        (400, "Bad request"),
        (401, "Not signed in"),
        (403, "Not allowed"),
        (404, "Not found, or none of your business"),
        (409, "Wrong state or stale version"),
        (413, "Too large"),
        (415, "Unsupported type"),
        (422, "Cannot be processed"),
        (429, "Too many requests"),
        (503, "Unavailable"),
    )
}

health = APIRouter(tags=["health"])


@health.get("/healthz")
def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@health.get("/readyz", responses={503: PROBLEMS[503]})
def readyz(work: WorkDep, parts: PartsDep) -> dict[str, str]:
    """The process can serve: the database answers and at least one model is on the shelf."""
    work.session.execute(text("SELECT 1"))
    if not parts.shelf.models:
        raise Unavailable("No model can be served; run csss check.")
    return {"status": "ready"}


def mount(app: FastAPI) -> None:
    """Put the JSON door into an application."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(csrf_by_header)], responses=PROBLEMS)
    for part in (auth, patients, scans, reports):
        api.include_router(part.router)
    app.include_router(api)
    app.include_router(health)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return document

    app.openapi = openapi  # type: ignore[method-assign]
