"""What forms share: the CSRF field, what was typed, coming back after a refusal, and plain values."""

from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request, Response
from starlette.datastructures import FormData

from csss.entrypoints.http.actor import CSRF_FIELD, CSRF_HEADER, check_csrf
from csss.entrypoints.web.rendering import Refusal
from csss.foundation.errors import Unprocessable
from csss.foundation.work import Work

# Shows the page of a form once more, with what was refused; runs in a unit of work of its own.
Again = Callable[[Work, Refusal], Response]


async def csrf_by_form(request: Request) -> None:
    """Dependency of every unsafe page route: the form carries the browser's token; what was typed is remembered.

    Not a ``def`` like the routes, because a form is read from the connection.
    """
    form = await request.form()
    request.state.typed = FormData([(name, value) for name, value in form.multi_items() if isinstance(value, str)])
    given = form.get(CSRF_FIELD)
    check_csrf(request, given if isinstance(given, str) else request.headers.get(CSRF_HEADER))


CSRF = [Depends(csrf_by_form)]


def keep_form(request: Request, form: str, again: Again) -> None:
    """Say how the page of this form is shown again: a refusal from here on comes back to it with everything typed."""
    request.state.form, request.state.again = form, again


def typed(request: Request) -> FormData:
    """Return the texts of the form that was sent; empty when none was."""
    kept: FormData = getattr(request.state, "typed", FormData())
    return kept


def safe_next(address: str | None) -> str:
    """Return a path on this very site to go on to, "/" for anything else."""
    if not address or not address.startswith("/") or address.startswith(("//", "/\\")) or not address.isprintable():
        return "/"
    parts = urlsplit(address)
    return address if not parts.scheme and not parts.netloc and not parts.path.startswith("/sign-") else "/"


def parse_date(text: str) -> date:
    """Return the date that was typed; raises `Unprocessable`."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise Unprocessable("Enter the date of birth as year, month and day.", code="bad-birth-date") from None


def parse_id(text: str, message: str) -> UUID:
    """Return a key from a form; raises `Unprocessable` with ``message``."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise Unprocessable(message, code="bad-choice") from None


def parse_version(text: str) -> int | None:
    """Return the version of the case that the page showed; a page without one checks nothing."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
