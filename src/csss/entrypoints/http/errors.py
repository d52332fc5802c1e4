"""Errors become problem documents (RFC 9457) for programs and pages for people; refusals are audited."""

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from csss import audit
from csss.entrypoints.http.parts import parts_of
from csss.foundation.errors import CsssError, NotFound, Unavailable, Unprocessable
from csss.foundation.logs import log

_logger = log("http")
PROBLEM_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    501: "Not built yet",
    413: "Too large",
    415: "Unsupported type",
    422: "Cannot be processed",
    429: "Too many requests",
    500: "Server error",
    503: "Unavailable",
}


def add_error_handlers(app: FastAPI) -> None:
    """Give an application the one way in which errors are answered."""

    async def own(request: Request, error: Exception) -> Response:
        assert isinstance(error, CsssError)  # noqa: S101 - registered for this type only
        return await answer(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
        fields = [
            {"field": ".".join(str(part) for part in item["loc"][1:]), "problem": item["msg"]}
            for item in error.errors()
        ]
        refusal = Unprocessable(
            "The request is not complete or not well formed.", code="invalid-request", facts={"fields": fields}
        )
        return await answer(request, refusal)

    async def protocol(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
        if isinstance(error.__cause__, CsssError):  # a guard refused the body while the framework was reading it
            return await answer(request, error.__cause__)
        refusal: CsssError = NotFound("There is nothing at this address.")
        if error.status_code != 404:
            refusal = _Protocol(_TITLES.get(error.status_code, "Refused") + ".", status=error.status_code)
        return await answer(request, refusal, headers=dict(error.headers or {}))

    async def database(request: Request, error: Exception) -> Response:
        _logger.error("database", exc_info=error, extra={"request_id": _request_id(request)})
        return await answer(request, _database_refusal(error))

    app.add_exception_handler(CsssError, own)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, protocol)
    app.add_exception_handler(SQLAlchemyError, database)


def _database_refusal(error: Exception) -> CsssError:
    if isinstance(error, DataError):
        # PostgreSQL cannot keep every text: NUL, for one.
        return Unprocessable("Something in this request cannot be stored.", code="cannot-be-stored")
    text = "The database did not take this. Nothing was changed; try again in a moment."
    # IntegrityError: somebody did the same at the same moment, and what was checked is not so any more.
    return Unavailable(text) if isinstance(error, OperationalError | IntegrityError) else CsssError(text)


async def answer_fault(request: Request, error: Exception) -> Response:
    """Return the answer to an exception that nobody foresaw: the log has its story, the caller its number."""
    _logger.error("unexpected", exc_info=error, extra={"request_id": _request_id(request)})
    return await answer(request, CsssError("Something went wrong on the server. Nothing was changed."))


class _Protocol(CsssError):
    """A refusal by the HTTP layer itself, such as a method that a route does not have."""

    code = "protocol"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]


async def answer(request: Request, error: CsssError, *, headers: dict[str, str] | None = None) -> Response:
    """Return the answer to a refusal: a page where a person asked for one, a problem document otherwise."""
    if error.status < 500:
        await run_in_threadpool(_note_denial, request, error)
    headers = dict(headers or {})
    if "retry_after_seconds" in error.facts:
        headers["Retry-After"] = str(error.facts["retry_after_seconds"])
    by_protocol = f"{request.url.path}/".startswith("/v2/")
    if error.status == 401 and (by_protocol or request.url.path.startswith("/api/")):
        headers["WWW-Authenticate"] = "Bearer"
    if by_protocol:  # the Open Inference Protocol has its own form of an error
        return JSONResponse({"error": error.message}, status_code=error.status, headers=headers)
    if not request.url.path.startswith("/api/") and _wants_page(request):
        page = getattr(request.app.state, "error_page", None)
        if page is not None:
            response: Response = await run_in_threadpool(page, request, error)
            response.headers.update(headers)
            return response
    return JSONResponse(problem(request, error), status_code=error.status, headers=headers, media_type=PROBLEM_TYPE)


def problem(request: Request, error: CsssError) -> dict[str, Any]:
    """Return the problem document of an error; ``code`` is the stable name that programs go by."""
    return {
        "type": f"urn:csss:problem:{error.code}",
        "title": _TITLES.get(error.status, "Refused"),
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "request_id": _request_id(request),
        **error.facts,
    }


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def route_of(request: Request) -> str:
    """Return the path of the route that was asked for, with its placeholders; empty where no route fits.

    A router that is mounted under a prefix knows its own part only; what is missing in front is in the address.
    """
    own: str = getattr(request.scope.get("route"), "path", "")
    asked = request.url.path.split("/")
    return "/".join(asked[: len(asked) - own.count("/")]) + own if own else ""


def _note_denial(request: Request, error: CsssError) -> None:
    """Put a refusal into the audit log, in a unit of work of its own: the request's was undone."""
    actor = getattr(request.state, "actor", None)
    route = route_of(request)
    if not route or (actor is None and request.method in ("GET", "HEAD")):
        return  # a stranger's mistyped address is not an event of ours
    try:
        with parts_of(request).shop.work() as work:
            audit.record(
                work,
                "request.denied",
                actor_id=actor.user_id if actor else None,
                actor_role=actor.role if actor else "none",
                outcome=audit.Outcome.DENIED,
                detail={
                    "route": route,
                    "method": request.method,
                    "status": error.status,
                    "code": error.code,
                },
            )
    except SQLAlchemyError as failure:
        _logger.log(logging.ERROR, "denial not audited", exc_info=failure)
