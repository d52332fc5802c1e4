"""A whole site for tests, its people, and short ways to do what people do."""

import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import pyotp
from fastapi import FastAPI
from starlette.testclient import TestClient

from csss import patients
from csss.accounts.actor import Actor
from csss.accounts.authenticator import new_totp_secret, totp_secret
from csss.accounts.sign_in import Origin
from csss.accounts.tables import STAFF, Role, SessionKind, User
from csss.foundation.clock import SetClock
from csss.foundation.ids import new_id
from csss.foundation.settings import load_settings
from csss.imaging.sandbox import Sandbox
from csss.main import Assembly, assemble, create_app
from csss.pathway.states import State
from csss.pathway.tables import Case
from csss.patients import Patient
from csss.reports.seal import make_site_identity
from csss.worker import run_due
from mailbox_server import Mailbox
from pictures import picture_png

BASE_URL = "http://127.0.0.1:8000"
PASSWORD = "violet harbour ticket 42"
API = "/api/v1"


@dataclass
class Person:
    """Somebody of the site: their row, their token, and for staff the authenticator's secret."""

    user: User
    actor: Actor
    token: str
    totp: str | None = None
    patient: Patient | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Site:
    """A whole site in this process; its jobs run when `run_jobs` is called."""

    assembly: Assembly
    app: FastAPI
    clock: SetClock
    mailbox: Mailbox
    people: dict[str, Person] = field(default_factory=dict)

    @cached_property
    def client(self) -> TestClient:
        return TestClient(self.app, base_url=BASE_URL, follow_redirects=False)

    def run_jobs(self) -> int:
        return run_due(self.assembly.shop, self.assembly.handlers)

    def person(self, name: str, role: Role | None = None) -> Person:
        """Return a person by name, making them at first call; the name says the role: "doctor", "other doctor"."""
        if name not in self.people:
            self.people[name] = self._make(name, role or Role(name.rsplit(" ", 1)[-1]))
        return self.people[name]

    def _make(self, name: str, role: Role) -> Person:
        with self.assembly.shop.work() as work:
            user = User(
                id=new_id(),
                email=f"{name.replace(' ', '.')}@site.example",
                name=name.title(),
                role=role,
                password_hash=self.assembly.parts.desk.passwords.hash(PASSWORD),
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
            signed_in = self.assembly.parts.desk.open_session(
                work, user, origin=Origin("127.0.0.1"), kind=SessionKind.API
            )
            secret = totp_secret(work.blobs, user.totp_secret) if user.totp_secret else None
        return Person(user, signed_in.actor, signed_in.secret, secret, record)

    def in_care(self, patient: str = "patient", doctor: str = "doctor") -> None:
        """Let a doctor care for a patient."""
        record = self.person(patient).patient
        assert record is not None
        with self.assembly.shop.work() as work:
            patients.take_into_care(work, patient_id=record.id, doctor_id=self.person(doctor).user.id, reason="test")

    def get(self, who: str, path: str, **options: Any) -> Any:
        return self.client.get(API + path, headers=self.person(who).headers, **options)

    def post(
        self, who: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        return self.client.post(
            API + path, json=body, headers={**self.person(who).headers, **(headers or {})}, **options
        )

    def upload(self, who: str = "patient", *, data: bytes | None = None, name: str = "scan.png", **form: str) -> Any:
        return self.client.post(
            API + "/scans",
            files={"file": (name, picture_png() if data is None else data)},
            data=form,
            headers=self.person(who).headers,
        )

    def totp_code(self, who: str) -> str:
        secret = self.person(who).totp
        assert secret is not None
        return pyotp.TOTP(secret).at(self.clock.now())

    def case(self, case_id: str | UUID) -> Case:
        with self.assembly.shop.work() as work:
            return work.session.get_one(Case, UUID(str(case_id)))

    def state(self, case_id: str | UUID) -> State:
        return self.case(case_id).state

    def bring_to(self, state: State, *, data: bytes | None = None) -> str:
        """Take a new scan of "patient" through the API as far as ``state`` and return its id."""
        self.in_care()
        answer = self.upload(data=data)
        assert answer.status_code in (200, 202), answer.text
        scan_id: str = answer.json()["id"]
        path = f"/scans/{scan_id}"
        if state is State.PENDING_AI:
            return scan_id
        self.run_jobs()
        if state is not State.AI_ANALYZED:
            self.get("doctor", f"{path}/image")
            assert self.post("doctor", f"{path}/verify", READING).status_code == 200
        if state in (State.PHARMACIST_COMPLETED, State.APPROVED, State.REPORT_READY):
            assert self.post("pharmacist", f"{path}/complete", NOTHING_NEEDED).status_code == 200
        if state in (State.APPROVED, State.REPORT_READY):
            assert self.post("admin", f"{path}/step-up", {"method": "totp"}).status_code == 201
            answer = self.post("admin", f"{path}/approve", {"code": self.totp_code("admin")})
            assert answer.status_code == 200, answer.text
        if state is State.REPORT_READY:
            self.run_jobs()
        assert self.state(scan_id) is state
        return scan_id


READING = {
    "conclusion": "calm",
    "notes": "Both lungs are clear. Heart size within normal limits.",
    "agrees_with_ai": True,
    "acknowledgement": "The result was uncertain; I read the image on its own.",
}
NOTHING_NEEDED = {
    "items": [],
    "none_statement": "No medication is needed.",
    "allergy_check": "No known allergies; nothing prescribed.",
}


@functools.cache
def _signing_bundle() -> Path:
    """A signing identity for the whole run: making an RSA key takes longer than most tests."""
    path = Path(tempfile.mkdtemp(prefix="csss-signing-")) / "signing.p12"
    path.write_bytes(make_site_identity("Test Hospital", password=b"test", made_at=datetime(2026, 1, 1, tzinfo=UTC)))
    return path


@contextmanager
def open_site(
    database_url: str, folder: Path, clock: SetClock, sandbox: Sandbox, models: Path, mailbox: Mailbox, **settings: str
) -> Iterator[Site]:
    """Open a site on a migrated database; ``settings`` are CSSS_ variables in lower case."""
    values = {
        "environment": "demo",
        "hospital_name": "Test Hospital",
        "base_url": BASE_URL,
        "data_dir": str(folder),
        "database_url": database_url,
        "jobs_url": f"sqlite:///{folder}/jobs.db",
        "model_path": str(models),
        "argon2_profile": "cheap",
        "approval_email_code": "true",
        "signing_pkcs12": str(_signing_bundle()),
        "signing_password": "test",
        "smtp_host": "127.0.0.1",
        "smtp_port": str(mailbox.port),
        "smtp_sender": "reports@site.example",
    } | settings
    assembly = assemble(load_settings({f"CSSS_{name.upper()}": value for name, value in values.items()}), clock=clock)
    # The decoder is shared by the whole run; a site's own would take a second to start.
    assembly = dataclasses.replace(assembly, parts=dataclasses.replace(assembly.parts, decode=sandbox.decode))
    opened = Site(assembly, create_app(assembly, with_worker=False), clock, mailbox)
    try:
        yield opened
    finally:
        if "client" in vars(opened):
            opened.client.close()
        assembly.close()
