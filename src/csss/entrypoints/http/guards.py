"""Guards before and around every request: origin, size, security headers, request id, log line."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from csss.entrypoints.http.actor import SAFE_METHODS, cookie_name
from csss.entrypoints.http.errors import answer, answer_fault, route_of
from csss.entrypoints.http.parts import parts_of
from csss.foundation.errors import CsssError, Forbidden, TooLarge, UnsupportedType
from csss.foundation.ids import new_id
from csss.foundation.logs import log

_logger = log("http")
FORM_OVERHEAD_BYTES = 64 * 1024
JSON_BYTES = 1024 * 1024
UPLOADS = frozenset({"/api/v1/scans", "/patient/upload", "/doctor/upload"})
BODY_PATIENCE_SECONDS = 30.0
_LONGEST_SIZE = 18  # digits; more is no size of anything
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; manifest-src 'self'"
)


def add_guards(app: FastAPI) -> None:
    """Put every guard around the application."""
    app.add_middleware(BodyLimit)
    app.middleware("http")(_guard)
    app.add_exception_handler(Exception, _fault)


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    request.state.request_id = str(new_id())
    begun = time.perf_counter()
    refusal = _origin_refusal(request)
    response = await answer(request, refusal) if refusal else await call_next(request)
    _add_headers(request, response)
    _logger.info(
        "request",
        extra={
            "request_id": request.state.request_id,
            "method": request.method,
            "route": route_of(request) or "unmatched",
            "status": response.status_code,
            "milliseconds": round((time.perf_counter() - begun) * 1000, 1),
        },
    )
    return response


async def _fault(request: Request, error: Exception) -> Response:
    """Answer what nobody foresaw; such an answer passes by `_guard`, so it gets its headers here."""
    response = await answer_fault(request, error)
    _add_headers(request, response)
    return response


def _origin_refusal(request: Request) -> Forbidden | None:
    """An unsafe request that a browser sends from a page of another site is refused, whatever it carries."""
    if request.method in SAFE_METHODS:
        return None
    origins = parts_of(request).settings.origins
    claimed = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if claimed is not None:
        fits = claimed in origins
    elif site is not None:
        fits = site in ("same-origin", "none")
    else:
        referer = request.headers.get("referer")
        fits = referer is None or _origin_of(referer) in origins
    return (
        None if fits else Forbidden("This request came from another site and was not accepted.", code="foreign-origin")
    )


def _origin_of(address: str) -> str | None:
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}"


def _add_headers(request: Request, response: Response) -> None:
    settings = parts_of(request).settings
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CSP)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    headers["X-Request-Id"] = request.state.request_id
    if not request.url.path.startswith("/static/"):
        headers.setdefault("Cache-Control", "no-store")
    if settings.secure:
        headers["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
    fresh = getattr(request.state, "new_visitor", None)
    if fresh is not None:
        response.set_cookie(
            cookie_name(settings, "visitor"), fresh, path="/", secure=settings.secure, httponly=True, samesite="lax"
        )


class Stalled(CsssError):
    """The body of a request stopped coming."""

    status = 408
    code = "request-stalled"


class BodyLimit:
    """Refuses a body over its limit while it is still coming in; nothing of it is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        limit = _limit(request)
        if request.headers.get("content-encoding"):
            refusal = UnsupportedType("Compressed request bodies are not accepted.", code="encoded-body")
            await (await answer(request, refusal))(scope, receive, send)
            return
        if _declared_bytes(request) > limit:
            await (await answer(request, _too_large(limit)))(scope, receive, send)
            return
        seen, complete = 0, False

        async def counted() -> Message:
            nonlocal seen, complete
            if complete:  # from here on the application listens for a disconnect, as long as it likes
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), BODY_PATIENCE_SECONDS)
            except TimeoutError:
                raise Stalled("The rest of the request did not arrive. Nothing was kept; try again.") from None
            if message["type"] == "http.request":
                complete = not message.get("more_body", False)
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise _too_large(limit)
            return message

        await self._app(scope, counted, send)


def _declared_bytes(request: Request) -> float:
    """Return the size that the request declares; 0 for none that can be read, because the body is counted anyway."""
    declared = request.headers.get("content-length", "")
    if not (declared.isascii() and declared.isdigit()):
        return 0
    return float("inf") if len(declared) > _LONGEST_SIZE else int(declared)


def _limit(request: Request) -> int:
    """Only a signed-in person's upload may be large; that the credentials are good is found out by the route."""
    has_credentials = "authorization" in request.headers or cookie_name(parts_of(request).settings) in request.cookies
    if request.url.path in UPLOADS and has_credentials:
        return parts_of(request).limits.dicom_bytes + FORM_OVERHEAD_BYTES
    if _is_tensor(request) and has_credentials:
        return parts_of(request).limits.dicom_bytes
    return JSON_BYTES


def _is_tensor(request: Request) -> bool:
    """Whether a request goes to the inference door, which reads no body without its token and has its own limit."""
    return request.url.path.startswith("/v2/models/") and request.url.path.endswith("/infer")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request is larger than the {limit // (1024 * 1024)} MB that are accepted. Nothing was kept.")
