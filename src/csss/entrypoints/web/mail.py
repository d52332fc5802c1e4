"""Pages: what the demo's mail catcher caught; closed everywhere else."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fastapi import APIRouter, Depends, Request, Response

from csss.entrypoints.web.desks import recognise
from csss.entrypoints.web.rendering import page
from csss.foundation.errors import NotFound

router = APIRouter(include_in_schema=False, dependencies=[Depends(recognise)])


class Attachment(Protocol):
    """A file that came with a message."""

    @property
    def filename(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def data(self) -> bytes: ...


class Mail(Protocol):
    """One caught message."""

    @property
    def number(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def to(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def attachments(self) -> tuple[Attachment, ...]: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a message's text: words, or an address of this site that can be followed."""

    text: str
    is_link: bool


@router.get("/mail")
def inbox(request: Request) -> Response:
    """Show every message, the newest first."""
    return page(request, "mail/inbox.html", messages=_messages(request))


@router.get("/mail/{number}")
def message(request: Request, number: int) -> Response:
    """Show one message."""
    mail = _find(request, number)
    return page(request, "mail/message.html", mail=mail, pieces=_pieces(mail.text, str(request.base_url)))


@router.get("/mail/{number}/{index}")
def attachment(request: Request, number: int, index: int) -> Response:
    """Hand out an attachment as a download; it is never shown as a page of ours."""
    attachments = _find(request, number).attachments
    if not 0 <= index < len(attachments):
        raise NotFound("The message has no such attachment.")
    found = attachments[index]
    name = "".join(c for c in found.filename if c.isascii() and (c.isalnum() or c in "._-")) or "attachment"
    return Response(
        found.data,
        media_type=found.media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _messages(request: Request) -> list[Mail]:
    catcher = getattr(request.app.state, "mail_catcher", None)
    if catcher is None:
        raise NotFound("There is nothing at this address.")
    return list(catcher.messages())


def _find(request: Request, number: int) -> Mail:
    found = next((mail for mail in _messages(request) if mail.number == number), None)
    if found is None:
        raise NotFound("There is no such message.")
    return found


def _pieces(text: str, base_url: str) -> list[Piece]:
    """Split a text so that addresses of this site can be followed, and no others."""
    parts = re.split(rf"({re.escape(base_url)}[!-~]+)", text)
    return [Piece(part, part.startswith(base_url)) for part in parts if part]
