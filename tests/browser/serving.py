"""A whole site on air for a browser: a real server with its worker, and people who are signed in."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from uuid import UUID

import pyotp
import uvicorn

from csss import patients
from csss.accounts.authenticator import new_totp_secret, totp_secret
from csss.accounts.sign_in import Origin
from csss.accounts.tables import STAFF, Role, SessionKind, User
from csss.demo.mail_catcher import MailCatcher
from csss.foundation.ids import new_id
from csss.foundation.settings import load_settings
from csss.main import Assembly, assemble, create_app
from csss.patients import Patient
from sites import PASSWORD, _signing_bundle


@dataclass
class Person:
    """Somebody of the site: the row, a browser session, and for staff the authenticator's secret."""

    user: User
    cookie: str
    totp: str | None
    patient: Patient | None

    @property
    def code(self) -> str:
        assert self.totp is not None
        return pyotp.TOTP(self.totp).now()


@dataclass
class Web:
    """A running site."""

    url: str
    assembly: Assembly
    catcher: MailCatcher
    people: dict[str, Person] = field(default_factory=dict)

    def person(self, name: str) -> Person:
        """Return a person, made at first call; the last word of the name is the role."""
        if name not in self.people:
            self.people[name] = self._make(name, Role(name.rsplit(" ", 1)[-1]))
        return self.people[name]

    def _make(self, name: str, role: Role) -> Person:
        parts = self.assembly.parts
        with parts.shop.work() as work:
            user = User(
                id=new_id(),
                email=f"{name.replace(' ', '.')}@web.example",
                name=name.title(),
                role=role,
                password_hash=parts.desk.passwords.hash(PASSWORD),
                totp_secret=new_totp_secret(work.blobs) if role in STAFF else None,
                totp_last_step=0,
                created_at=work.clock.now(),
            )
            work.session.add(user)
            work.session.flush()
            record = None
            if role is Role.PATIENT:
                record = patients.add_record(
                    work, name=user.name, birth_date=date(1980, 5, 17), sex="female", user_id=user.id
                )
            secret = totp_secret(work.blobs, user.totp_secret) if user.totp_secret else None
            cookie = parts.desk.open_session(work, user, origin=Origin("test"), kind=SessionKind.BROWSER).secret
        return Person(user, cookie, secret, record)

    def in_care(self, patient: str, doctor: str) -> UUID:
        """Let a doctor care for a patient and return the patient's key."""
        record = self.person(patient).patient
        assert record is not None
        with self.assembly.shop.work() as work:
            patients.take_into_care(work, patient_id=record.id, doctor_id=self.person(doctor).user.id, reason="test")
        return record.id


@contextmanager
def serve(folder: Path, models: Path) -> Iterator[Web]:
    """Serve a site whose database is ``folder/csss.db``, over a socket of the loopback."""
    catcher = MailCatcher(folder / "mail")
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    values = {
        "environment": "demo",
        "hospital_name": "Test Hospital",
        "base_url": url,
        "data_dir": str(folder),
        "model_path": str(models),
        "argon2_profile": "cheap",
        "approval_email_code": "true",
        "signing_pkcs12": str(_signing_bundle()),
        "signing_password": "test",
        "smtp_host": "127.0.0.1",
        "smtp_port": str(catcher.start()),
        "smtp_starttls": "false",
        "smtp_sender": "reports@web.example",
    }
    assembly = assemble(load_settings({f"CSSS_{name.upper()}": value for name, value in values.items()}))
    app = create_app(assembly)
    app.state.mail_catcher = catcher
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, server_header=False, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Web(url, assembly, catcher)
    finally:
        server.should_exit = True
        thread.join(30)
        assembly.close()
        catcher.stop()
        listener.close()
