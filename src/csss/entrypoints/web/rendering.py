"""Turn a template and facts into a page: what every page has, escaping, flash messages, fragments."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.datastructures import FormData

from csss import __version__
from csss.accounts.actor import Actor
from csss.entrypoints.http.actor import csrf_token
from csss.entrypoints.http.parts import parts_of
from csss.entrypoints.web import present
from csss.foundation.clock import SystemClock
from csss.foundation.errors import CsssError
from csss.foundation.settings import Environment as SiteEnvironment
from csss.reports.content import age_in_years

HERE = Path(__file__).parent
THEMES = ("light", "dark")
FLASH_COOKIE, THEME_COOKIE = "csss_flash", "csss_theme"

# A flash cookie carries one of these names and no text: nobody can plant words in it, and it tells nothing.
FLASHES: dict[str, str] = {
    "signed-out": "You are signed out.",
    "session-ended": "Your session has ended. Sign in to go on.",
    "session-idle": "You were signed out because nothing happened for a while. Sign in to go on.",
    "session-closed": "That session is closed.",
    "account-open": "Your account is open. Welcome.",
    "uploaded": "The scan has arrived.",
    "uploaded-before": "This very file was sent before. This is its scan.",
    "patient-registered": "The patient is registered and in your care.",
    "record-amended": "The record is amended.",
    "verified": "Signed. The scan is with the pharmacist now.",
    "completed": "Signed. The scan waits for an administrator's approval.",
    "code-open": "Enter the code now. It counts for exactly what is on this page.",
    "approved": "Approved. The report is being made and sent.",
    "returned": "Returned. Every signature that no longer fits was set aside.",
    "returned-pharmacist": "Returned to the pharmacist. The doctor's signature stays.",
    "rejected": "The scan was rejected. The patient is told that a new one is needed.",
    "cancelled": "The scan was cancelled.",
    "ai-retried": "The AI was asked again.",
    "without-ai": "Go on without AI. The report will say so.",
    "render-retried": "The report was asked for again.",
    "sent-again": "The report is on its way once more.",
    "user-disabled": "The account is closed and its sessions have ended.",
    "link-mailed": "A link is on its way to that person by mail. It works once, for 24 hours.",
    "user-enabled": "The account is open again.",
    "model-proposed": "Proposed. Nothing changes before another administrator confirms it.",
    "proposal-withdrawn": "Withdrawn. What speaks stays as it is.",
    "proposal-refused": "Refused. What speaks stays as it is.",
    "model-switched-off": "Switched off. It reads no further scan; doctors read without AI.",
    "model-activated": "Decided. This version reads every scan from now on.",
    "model-rolled-back": "Rolled back. The earlier version reads every scan from now on.",
    "shadow-started": "The shadow reads along from the next scan on. Nobody sees what it says.",
    "shadow-stopped": "The shadow is stopped. What it said stays on its page.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a form is told when it was refused: which form, why, and everything that was typed."""

    form: str
    error: CsssError
    typed: FormData


@pass_context
def _ago(context: Context, then: datetime) -> str:
    return present.ago(then, context["now"])


@pass_context
def _age(context: Context, birth_date: date) -> str:
    years = age_in_years(birth_date, context["now"].date())
    return "" if years is None else f"{years} years, "


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ago=_ago,
        age=_age,
        exact=present.exact,
        percent=present.percent,
        size=present.size,
        examination=lambda pair: present.examination(*pair),
        role=lambda name: present.ROLE_NAMES.get(name, name),
    )
    environment.globals.update(STATES=present.STATES, label_text=present.label_text, product_version=__version__)
    return environment


_ENVIRONMENT = _environment()


def page(
    request: Request,
    template: str,
    *,
    now: datetime | None = None,
    status: int = 200,
    refusal: Refusal | None = None,
    **facts: Any,
) -> Response:
    """Return a page of its own, or a fragment: what the template makes of ``facts``.

    ``now`` is the work's clock. A pending flash message is shown by whole pages and used up then.
    """
    settings = parts_of(request).settings
    actor: Actor | None = getattr(request.state, "actor", None)
    theme = request.cookies.get(THEME_COOKIE, "")
    flash = request.cookies.get(FLASH_COOKIE)
    body = _ENVIRONMENT.get_template(template).render(
        actor=actor,
        csrf=csrf_token(request),
        hospital=settings.hospital_name,
        app_name=settings.app_name,
        phone=settings.critical_phone,
        demo=settings.environment is SiteEnvironment.DEMO,
        mail_open=getattr(request.app.state, "mail_catcher", None) is not None,
        theme=theme if theme in THEMES else "",
        flash=FLASHES.get(flash or ""),
        path=request.url.path,
        now=now or SystemClock().now(),
        refusal=refusal,
        **facts,
    )
    response = HTMLResponse(body, status_code=status)
    if flash is not None and "hx-request" not in request.headers:
        response.delete_cookie(FLASH_COOKIE, path="/", secure=settings.secure, httponly=True, samesite="lax")
    return response


def go(request: Request, address: str, *, flash: str | None = None) -> Response:
    """Return the redirect after a POST (303), with a message for the page that follows.

    A script that asked is told the address and goes there itself: it would follow a redirect out of sight.
    """
    response: Response = RedirectResponse(address, status_code=303)
    if "hx-request" in request.headers:
        response = Response(status_code=200, headers={"HX-Redirect": address})
    if flash is not None:
        say(request, response, flash)
    return response


def say(request: Request, response: Response, flash: str) -> None:
    """Let the next page show a message; ``flash`` is a name from `FLASHES`."""
    assert flash in FLASHES, flash  # noqa: S101 - a name of ours, wrong only in our own code
    response.set_cookie(
        FLASH_COOKIE,
        flash,
        max_age=60,
        path="/",
        secure=parts_of(request).settings.secure,
        httponly=True,
        samesite="lax",
    )
