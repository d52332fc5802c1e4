"""User, SignInSession, OneTimeLink, PendingRegistration, StepUp and Throttle."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from csss.foundation.database import Base, Named


class Role(StrEnum):
    PATIENT = "patient"
    DOCTOR = "doctor"
    PHARMACIST = "pharmacist"
    ADMIN = "admin"


STAFF = frozenset({Role.DOCTOR, Role.PHARMACIST, Role.ADMIN})


class User(Base):
    """A person who may sign in. ``totp_secret`` names a sealed blob, never the secret itself."""

    __tablename__ = "user_account"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    role: Mapped[Role] = mapped_column(Named(Role))
    speciality: Mapped[str | None] = mapped_column(String(80))
    password_hash: Mapped[str | None] = mapped_column(String(200))
    totp_secret: Mapped[str | None] = mapped_column(String(80))
    totp_last_step: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class SessionKind(StrEnum):
    BROWSER = "browser"
    API = "api"


class SignInSession(Base):
    """A browser session or an API token; its row decides, so it can be revoked at once."""

    __tablename__ = "sign_in_session"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"), index=True)
    kind: Mapped[SessionKind] = mapped_column(Named(SessionKind))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    source: Mapped[str] = mapped_column(String(64))
    agent: Mapped[str] = mapped_column(String(200))


class LinkPurpose(StrEnum):
    INVITE = "invite"  # a new member of staff sets name, password and authenticator
    SIGN_IN = "sign_in"  # demo people, who have no password
    RESET = "reset"  # a known person sets a new password


class OneTimeLink(Base):
    """A link that works once and for a limited time; only its digest is kept."""

    __tablename__ = "one_time_link"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    purpose: Mapped[LinkPurpose] = mapped_column(Named(LinkPurpose))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str] = mapped_column(String(254))
    role: Mapped[Role] = mapped_column(Named(Role))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    totp_secret: Mapped[str | None] = mapped_column(String(80))
    token_blob: Mapped[str | None] = mapped_column(String(80))  # only for a link that is mailed
    invited_by: Mapped[UUID | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class PendingRegistration(Base):
    """What a patient typed, until the owner of the address confirms it with the same password."""

    __tablename__ = "pending_registration"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    token_blob: Mapped[str] = mapped_column(String(80))
    email: Mapped[str] = mapped_column(String(254), index=True)
    name: Mapped[str] = mapped_column(String(120))
    birth_date: Mapped[date]
    sex: Mapped[str] = mapped_column(String(10))
    password_hash: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class StepUpMethod(StrEnum):
    TOTP = "totp"
    EMAIL = "email"


class StepUp(Base):
    """A one-time challenge bound to (person, action, case, revision, content); a new one voids the old."""

    __tablename__ = "step_up"
    __table_args__ = (Index("ix_step_up_user_id_subject_id", "user_id", "subject_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    action: Mapped[str] = mapped_column(String(40))
    subject_id: Mapped[UUID]
    revision: Mapped[int]
    content_sha256: Mapped[str] = mapped_column(String(64))
    method: Mapped[StepUpMethod] = mapped_column(Named(StepUpMethod))
    salt: Mapped[str | None] = mapped_column(String(64))
    code_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(default=0)
    used_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]


class Throttle(Base):
    """Failures in a row for one (account, source), and when the next try is allowed."""

    __tablename__ = "throttle"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int]
    last_failure_at: Mapped[datetime]
    blocked_until: Mapped[datetime | None]
