"""Who is asking: a session cookie or a bearer token."""

import contextlib
import hashlib
import hmac
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from csss.accounts.actor import Actor
from csss.accounts.sign_in import Origin, SignedIn
from csss.entrypoints.http.parts import parts_of
from csss.entrypoints.http.work import WorkDep
from csss.foundation.errors import Forbidden, NotSignedIn
from csss.foundation.ids import new_secret
from csss.foundation.settings import Settings
from csss.foundation.work import Work

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"

_bearer = HTTPBearer(auto_error=False, description="Access token of POST /api/v1/auth/login, valid for 60 minutes")
_cookie = APIKeyCookie(name="__Host-csss_session", auto_error=False, description="Session of a browser (https only)")


def cookie_name(settings: Settings, what: str = "session") -> str:
    """The ``__Host-`` prefix binds a cookie to this host and to https; a demo on plain http cannot have it."""
    return f"__Host-csss_{what}" if settings.secure else f"csss_{what}"


def set_session_cookie(response: Response, settings: Settings, signed_in: SignedIn) -> None:
    """Hand a browser its session: unreadable for scripts, not sent along by other sites' forms."""
    response.set_cookie(
        cookie_name(settings),
        signed_in.secret,
        max_age=int(signed_in.lifetime.total_seconds()),
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",
    )


def clear_session_cookie(response: Response, settings: Settings) -> None:
    """Take the session back."""
    response.delete_cookie(cookie_name(settings), path="/", secure=settings.secure, httponly=True, samesite="lax")


def origin_of(request: Request) -> Origin:
    """Return the caller's address: the peer, or what a trusted proxy says about it."""
    peer = request.client.host if request.client else "unknown"
    if peer in parts_of(request).settings.trusted_proxies:
        # The last hop is the one that the trusted proxy itself saw; earlier entries are the client's own claim.
        claimed = request.headers.get("x-forwarded-for", "").rsplit(",", 1)[-1].strip()
        with contextlib.suppress(ValueError):
            peer = str(ip_address(claimed))
    return Origin(source=peer, agent=request.headers.get("user-agent", ""))


OriginDep = Annotated[Origin, Depends(origin_of)]


def optional_actor(
    request: Request,
    work: WorkDep,
    token: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
    _documented: Annotated[str | None, Security(_cookie)] = None,
) -> Actor | None:
    """Return who is signed in, or None without any credentials; raises `NotSignedIn` for invalid ones."""
    if token is not None:
        return _remember(request, work, parts_of(request).desk.by_token(work, token.credentials))
    cookie = request.cookies.get(cookie_name(parts_of(request).settings))
    if cookie is None:
        return None
    return _remember(request, work, parts_of(request).desk.by_cookie(work, cookie))


def _remember(request: Request, work: Work, actor: Actor) -> Actor:
    """Leave the actor where the error handler finds them: refusals are audited with a name.

    The transaction ends here. The route runs in another thread of a limited pool; one that waited for a thread
    while it held the database would stop those that have the threads and wait for the database.
    """
    request.state.actor = actor
    work.pause()
    return actor


def required_actor(actor: Annotated[Actor | None, Depends(optional_actor)]) -> Actor:
    """Return who is signed in; raises `NotSignedIn` for nobody."""
    if actor is None:
        raise NotSignedIn("Sign in first.")
    return actor


ActorDep = Annotated[Actor, Depends(required_actor)]
OptionalActorDep = Annotated[Actor | None, Depends(optional_actor)]


def csrf_token(request: Request) -> str:
    """Return the token that this browser's forms must carry: bound to its session, or to its visitor cookie."""
    settings = parts_of(request).settings
    bound = request.cookies.get(cookie_name(settings)) or visitor(request)
    return hmac.new(settings.secret_key.encode(), f"csrf:{bound}".encode(), hashlib.sha256).hexdigest()


def visitor(request: Request) -> str:
    """Return the value of the visitor cookie, made up now when the browser has none (a guard then sets it)."""
    known = request.cookies.get(cookie_name(parts_of(request).settings, "visitor"))
    if known is None:
        known = getattr(request.state, "new_visitor", None)
        if known is None:
            known = request.state.new_visitor = new_secret(128)
    return str(known)


def check_csrf(request: Request, given: str | None) -> None:
    """Raise `Forbidden` unless an unsafe request by cookie carries the browser's token. Bearer tokens need none.

    Any other Authorization signs nobody in here, and a browser may send it by itself: it excuses from nothing.
    """
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return
    if not given or not hmac.compare_digest(given.encode("utf-8", "replace"), csrf_token(request).encode()):
        raise Forbidden("The page is too old. Load it again and repeat what you did.", code="csrf")


def csrf_by_header(request: Request) -> None:
    """Dependency of the JSON door: unsafe requests with a session cookie carry the token in a header."""
    has_cookie = cookie_name(parts_of(request).settings) in request.cookies
    if request.method not in SAFE_METHODS and has_cookie:
        check_csrf(request, request.headers.get(CSRF_HEADER))
