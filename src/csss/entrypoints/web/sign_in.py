"""Pages: the way in, the way out, and to which desk."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from csss.accounts import sign_in as accounts
from csss.accounts.tables import SessionKind
from csss.entrypoints.http.actor import ActorDep, OptionalActorDep, OriginDep, clear_session_cookie, set_session_cookie
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.desks import DESKS
from csss.entrypoints.web.forms import CSRF, keep_form, safe_next
from csss.entrypoints.web.rendering import Refusal, go, page
from csss.foundation.work import Work

router = APIRouter(include_in_schema=False)


@router.get("/")
def start(request: Request, actor: OptionalActorDep) -> Response:
    """Lead everybody to their desk, strangers to the sign-in."""
    return go(request, DESKS[actor.role] if actor else "/sign-in")


@router.get("/sign-in")
def sign_in_page(request: Request, next: str = "/") -> Response:
    """Show the sign-in form."""
    return page(request, "account/sign_in.html", next=safe_next(next))


@router.post("/sign-in", dependencies=CSRF)
def sign_in(
    request: Request,
    work: WorkDep,
    parts: PartsDep,
    origin: OriginDep,
    email: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Open a session and go to where the person wanted to, else to their desk."""
    address = safe_next(next)

    def again(_: Work, refusal: Refusal) -> Response:
        return page(request, "account/sign_in.html", next=address, refusal=refusal, status=refusal.error.status)

    keep_form(request, "sign-in", again)
    signed_in = parts.desk.sign_in(
        work, email=email, password=password, code=code.strip() or None, origin=origin, kind=SessionKind.BROWSER
    )
    response = go(request, address if address != "/" else DESKS[signed_in.actor.role])
    set_session_cookie(response, parts.settings, signed_in)
    return response


@router.post("/sign-out", dependencies=CSRF)
def sign_out(request: Request, work: WorkDep, parts: PartsDep, actor: ActorDep) -> Response:
    """End this session."""
    accounts.sign_out(work, actor)
    response = go(request, "/sign-in", flash="signed-out")
    clear_session_cookie(response, parts.settings)
    return response
