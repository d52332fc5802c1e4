"""The door ``/v2`` as an application of its own, without site, people or database: ``csss infer``."""

from ipaddress import ip_address
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from csss import __version__
from csss.entrypoints.oip.choosing import ByShelf
from csss.entrypoints.oip.routes import Served, mount
from csss.foundation.errors import CsssError, Forbidden, Unavailable
from csss.foundation.logs import log
from csss.foundation.settings import ModelSettings
from csss.foundation.thresholds import demand_models
from csss.inference.engines import EngineChoice
from csss.inference.packaged import packaged_models
from csss.inference.shelf import Shelf

_logger = log("oip")
MAX_CALLERS = 64
"""More connections than this are answered 503."""


def check_reach(host: str, token: str | None) -> None:
    """Raise Forbidden when a door without a token would be open to other machines than this one."""
    if token is None and not _is_loopback(host):
        message = (
            f"Without a token the models are served to this machine only, not at {host}. Set CSSS_INFERENCE_TOKEN "
            "(at least 32 characters), or leave --host at 127.0.0.1."
        )
        raise Forbidden(message, code="token-needed")


def create_app(served: Served) -> FastAPI:
    """The application; it answers errors as the protocol says: ``{"error": "..."}``."""
    app = FastAPI(title="CSSS inference", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    mount(app, served)
    for kind in (CsssError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _refuse)
    return app


def serve_models(settings: ModelSettings, *, models: Path | None, host: str, port: int) -> None:
    """Serve the shelf ``models`` (else the site's, else the package's own) until the process is told to stop.

    Raises Forbidden ``token-needed``, Unavailable when no model replays its golden case here, ThresholdUnknown when
    the site set a threshold for a model that is not served.
    """
    token = settings.inference.token
    check_reach(host, token)
    choice = EngineChoice.of(settings.inference.engine, settings.remote.addresses(), settings.remote.tokens_by_name())
    shelf = Shelf(models or settings.model_path or packaged_models(), engines=choice)
    for problem in shelf.take_off_failing():
        _logger.error("model refused", extra={"model": problem.folder, "code": problem.code})
    if not shelf.models:
        reasons = "; ".join(f"{problem.folder}: {problem.message}" for problem in shelf.problems)
        raise Unavailable(f"No model of {shelf.root} can be served. {reasons}".rstrip())
    demand_models(settings.thresholds(), shelf.reading_names())
    app = create_app(Served(shelf, token, ByShelf(shelf, settings.thresholds())))
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CALLERS,
    )


async def _refuse(_: Request, error: Exception) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    status, message = 500, "Something went wrong on the server."
    if isinstance(error, CsssError):
        status, message = error.status, error.message
        if "retry_after_seconds" in error.facts:
            headers["Retry-After"] = str(error.facts["retry_after_seconds"])
    elif isinstance(error, HTTPException):
        status, message = error.status_code, "There is nothing at this address, or not by this method."
    elif isinstance(error, RequestValidationError):
        status, message = 400, "The request is not well formed."
    else:
        _logger.error("unexpected", exc_info=error)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
