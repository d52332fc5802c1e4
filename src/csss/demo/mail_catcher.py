"""A mail server for the demo: takes every message on the loopback, keeps it as a file, sends nothing on."""

import asyncio
import email
import email.policy
import os
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import localtime
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True, slots=True)
class CaughtAttachment:
    filename: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CaughtMail:
    """One message as it was received; ``number`` counts from 1."""

    number: int
    at: datetime
    to: str
    subject: str
    text: str
    attachments: tuple[CaughtAttachment, ...]


class MailCatcher:
    """Listens on a free loopback port from `start` to `stop`; messages stay in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._controller: Controller | None = None

    def start(self) -> int:
        """Start listening and return the port."""
        self._controller = _OnFreePort(self, hostname="127.0.0.1", port=0)
        self._controller.start()
        return int(self._controller.port)

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop(no_assert=True)
            self._controller = None

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep a message; "250" is said after it is on disk."""
        number = len(self._files()) + 1
        path = self._folder / f"{number:05d}.eml"
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        recipients = ", ".join(envelope.rcpt_tos)
        with path.open("xb") as file:
            file.write(f"X-Caught-For: {recipients}\r\n".encode() + content)
            file.flush()
            os.fsync(file.fileno())
        return "250 kept"

    def messages(self) -> list[CaughtMail]:
        """Return what was caught, the newest first."""
        return [_read(path) for path in reversed(self._files())]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.eml"))


class _OnFreePort(Controller):
    """A controller that learns its port from the system when it was asked for port 0."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)  # noqa: S101 - what a started controller has
        self.port = int(self.server.sockets[0].getsockname()[1])
        super()._trigger_server()  # type: ignore[no-untyped-call]


def _read(path: Path) -> CaughtMail:
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(mail, EmailMessage)  # noqa: S101 - the policy makes it one
    body = mail.get_body(preferencelist=("plain",))
    attachments = tuple(
        CaughtAttachment(
            part.get_filename() or "attachment", part.get_content_type(), bytes(part.get_payload(decode=True) or b"")
        )
        for part in mail.iter_attachments()
    )
    return CaughtMail(
        number=int(path.stem),
        at=localtime(datetime.fromtimestamp(path.stat().st_mtime)),  # noqa: DTZ006 - localtime adds the zone
        to=str(mail.get("X-Caught-For", mail.get("To", ""))),
        subject=str(mail.get("Subject", "")),
        text=body.get_content() if body is not None else "",
        attachments=attachments,
    )
