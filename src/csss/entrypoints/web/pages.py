"""Put the web door into an application: its routes, static files and the page that answers errors."""

from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

from csss.entrypoints.http.actor import SAFE_METHODS, clear_session_cookie
from csss.entrypoints.http.parts import parts_of
from csss.entrypoints.web import (
    account,
    admin_desk,
    audit_pages,
    doctor_desk,
    joining,
    mail,
    model_desk,
    model_steps,
    models,
    patient_desk,
    pharmacist_desk,
    reports,
    scan,
    scan_steps,
    sign_in,
    upload,
)
from csss.entrypoints.web.desks import recognise
from csss.entrypoints.web.forms import typed
from csss.entrypoints.web.rendering import FLASHES, HERE, Refusal, page, say
from csss.foundation.errors import CsssError

_SECRET_FIELDS = frozenset({"csrf_token", "password", "code"})
_WORTH_KEEPING = 20  # characters: shorter entries are typed again in a moment, and a choice has no spaces


def mount(app: FastAPI) -> None:
    """Give an application its pages."""
    for room in (
        sign_in,
        joining,
        account,
        upload,
        patient_desk,
        doctor_desk,
        pharmacist_desk,
        admin_desk,
        audit_pages,
        scan,
        scan_steps,
        reports,
        models,
        model_desk,
        model_steps,
        mail,
    ):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.state.error_page = error_page


def error_page(request: Request, error: CsssError) -> Response:
    """Return what a person sees of an error: the same form with everything kept, the sign-in, or a page of its own.

    A form is shown again in a unit of work of its own, because the one that was refused has been undone.
    """
    if 400 <= error.status < 500:
        shown = _form_again(request, error)
        if shown is not None:
            return shown
    if error.status == 401:
        return _to_sign_in(request, error)
    if "hx-request" in request.headers:
        return page(request, "parts/refusal.html", status=error.status, error=error)
    return _plain(request, error)


def _form_again(request: Request, error: CsssError) -> Response | None:
    again = getattr(request.state, "again", None)
    if again is None:
        return None
    refusal = Refusal(request.state.form, error, typed(request))
    try:
        with parts_of(request).shop.work() as work:
            response: Response = again(work, refusal)
            return response
    except CsssError:
        # The page of the form is closed to this person too: only the refusal itself is left to say.
        return None


def _to_sign_in(request: Request, error: CsssError) -> Response:
    unsafe = request.method not in SAFE_METHODS
    if unsafe and _kept_texts(request):
        return _plain(request, error)
    address = f"/sign-in?next={quote(_came_from(request), safe='/')}"
    response: Response
    if "hx-request" in request.headers:
        response = Response(status_code=401, headers={"HX-Redirect": address})
    else:
        response = RedirectResponse(address, status_code=303)
    # A cookie that no longer opens anything would be refused by every page that follows.
    clear_session_cookie(response, parts_of(request).settings)
    if error.code in FLASHES:
        say(request, response, error.code)
    return response


def _came_from(request: Request) -> str:
    if request.method == "GET" and "hx-request" not in request.headers:
        return request.url.path
    return urlsplit(request.headers.get("referer", "")).path or "/"


def _kept_texts(request: Request) -> list[str]:
    """What a person wrote into a form that nobody took: shown to them, so that it is not lost with the session."""
    return [
        value
        for name, value in typed(request).multi_items()
        if isinstance(value, str) and name not in _SECRET_FIELDS and len(value) > _WORTH_KEEPING and " " in value
    ]


def _plain(request: Request, error: CsssError) -> Response:
    if error.status == 404 and getattr(request.state, "actor", None) is None:
        # No route, so nobody has asked yet who this is.
        with parts_of(request).shop.work() as work:
            recognise(request, work)
    return page(request, "error.html", status=error.status, error=error, kept=_kept_texts(request))
