"""Pages: registration of patients, and one-time links of staff and demo people."""

import io
from typing import Annotated

import segno
from fastapi import APIRouter, Form, Request, Response

from csss import patients
from csss.accounts import joining
from csss.accounts.authenticator import totp_secret, totp_uri
from csss.accounts.joining import Applicant
from csss.accounts.sign_in import SignedIn
from csss.accounts.tables import LinkPurpose, OneTimeLink, SessionKind, User
from csss.entrypoints.http.actor import OriginDep, set_session_cookie
from csss.entrypoints.http.parts import PartsDep, parts_of
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.desks import DESKS
from csss.entrypoints.web.forms import CSRF, keep_form, parse_date
from csss.entrypoints.web.rendering import Refusal, go, page
from csss.foundation.settings import Environment
from csss.foundation.work import Work

router = APIRouter(include_in_schema=False)


@router.get("/register")
def register_page(request: Request) -> Response:
    """Show the form with which patients register themselves."""
    return page(request, "account/register.html", sexes=joining.SEXES)


@router.post("/register", dependencies=CSRF)
def register(
    request: Request,
    work: WorkDep,
    parts: PartsDep,
    origin: OriginDep,
    email: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    birth_date: Annotated[str, Form()] = "",
    sex: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
) -> Response:
    """Take a registration; the answer is the same for a known and an unknown address."""

    def again(_: Work, refusal: Refusal) -> Response:
        return page(request, "account/register.html", sexes=joining.SEXES, refusal=refusal, status=refusal.error.status)

    keep_form(request, "register", again)
    applicant = Applicant(email=email, name=name, birth_date=parse_date(birth_date), sex=sex, password=password)
    joining.register(
        work, applicant, passwords=parts.desk.passwords, origin=origin, can_mail=parts.settings.smtp.configured
    )
    return page(request, "account/check_mail.html", email=email.strip())


@router.get("/register/confirm/{token}")
def confirm_page(request: Request, token: str) -> Response:
    """Ask for the password that belongs to the mailed link; opening the link alone does nothing."""
    return page(request, "account/confirm.html", token=token)


@router.post("/register/confirm/{token}", dependencies=CSRF)
def confirm(
    request: Request,
    token: str,
    work: WorkDep,
    parts: PartsDep,
    origin: OriginDep,
    password: Annotated[str, Form()] = "",
) -> Response:
    """Open the account that was registered, and sign in."""

    def again(_: Work, refusal: Refusal) -> Response:
        return page(request, "account/confirm.html", token=token, refusal=refusal, status=refusal.error.status)

    keep_form(request, "confirm", again)
    user, _ = patients.confirm_registration(
        work, token=token, password=password, passwords=parts.desk.passwords, origin=origin
    )
    signed_in = parts.desk.open_session(work, user, origin=origin, kind=SessionKind.BROWSER)
    return _welcome(request, signed_in)


@router.get("/link/{token}")
def link_page(request: Request, token: str, work: WorkDep) -> Response:
    """Show what a one-time link is for, without using it: mail programs open links by themselves."""
    return _link_page(request, work, joining.open_link(work, token), token)


@router.post("/link/{token}", dependencies=CSRF)
def use_link(
    request: Request,
    token: str,
    work: WorkDep,
    parts: PartsDep,
    origin: OriginDep,
    name: Annotated[str, Form()] = "",
    speciality: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
) -> Response:
    """Use a link: sign a demo person in, or finish an invitation or a reset, and sign in."""
    link = joining.open_link(work, token)

    def again(work: Work, refusal: Refusal) -> Response:
        return _link_page(request, work, joining.open_link(work, token), token, refusal)

    keep_form(request, "link", again)
    if link.purpose is LinkPurpose.SIGN_IN:
        user = joining.use_sign_in_link(work, token, is_demo=parts.settings.environment is Environment.DEMO)
    else:
        user = joining.accept_link(
            work,
            token=token,
            name=name,
            speciality=speciality.strip() or None,
            password=password,
            code=code,
            passwords=parts.desk.passwords,
        )
    return _welcome(request, parts.desk.open_session(work, user, origin=origin, kind=SessionKind.BROWSER))


def _link_page(request: Request, work: Work, link: OneTimeLink, token: str, refusal: Refusal | None = None) -> Response:
    user = work.session.get(User, link.user_id) if link.user_id else None
    secret = totp_secret(work.blobs, link.totp_secret) if link.totp_secret else None
    uri = totp_uri(secret, email=link.email, issuer=parts_of(request).settings.app_name) if secret else None
    return page(
        request,
        "account/link.html",
        link=link,
        token=token,
        person=user,
        secret=" ".join(secret[i : i + 4] for i in range(0, len(secret), 4)) if secret else None,
        picture=_picture_of(uri) if uri else None,
        refusal=refusal,
        status=refusal.error.status if refusal else 200,
    )


def _picture_of(uri: str) -> str:
    """Return the QR code of an address as SVG without style or script, for the page itself."""
    svg = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        svg, kind="svg", border=3, xmldecl=False, svgns=True, omitsize=True, dark="#000", light="#fff"
    )
    return svg.getvalue().decode()


def _welcome(request: Request, signed_in: SignedIn) -> Response:
    response = go(request, DESKS[signed_in.actor.role])
    set_session_cookie(response, parts_of(request).settings, signed_in)
    return response
