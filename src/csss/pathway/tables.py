"""Case (one study on its way), CaseEvent (what happened to it) and SignOff (who took which step, with which words)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from csss.foundation.database import Base, Named
from csss.pathway.states import State
from csss.reports.content import SignOffStep


class Case(Base):
    """One scan on its way. ``version`` counts every change; ``revision`` the readings; ``issued`` the reports."""

    __tablename__ = "scan_case"
    __table_args__ = (Index("ix_scan_case_state_created_at", "state", "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(20), unique=True)
    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patient.id"), index=True)
    instance_id: Mapped[UUID | None] = mapped_column(ForeignKey("instance.id"), index=True)
    held_file_id: Mapped[UUID | None] = mapped_column(ForeignKey("held_file.id"))
    analysis_id: Mapped[UUID | None] = mapped_column(ForeignKey("analysis.id"))
    doctor_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"), index=True)
    uploader_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    state: Mapped[State] = mapped_column(Named(State))
    revision: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(default=1)
    issued: Mapped[int] = mapped_column(default=0)
    ai_attempts: Mapped[int] = mapped_column(default=0)
    phantom: Mapped[bool] = mapped_column(default=False)
    reason_code: Mapped[str | None] = mapped_column(String(60))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class CaseEvent(Base):
    """One transition, as the timeline shows it; append-only."""

    __tablename__ = "case_event"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("scan_case.id"), index=True)
    at: Mapped[datetime]
    step: Mapped[str] = mapped_column(String(24))
    source: Mapped[str | None] = mapped_column(String(24))
    target: Mapped[str] = mapped_column(String(24))
    revision: Mapped[int]
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    actor_role: Mapped[str] = mapped_column(String(12))
    reason_code: Mapped[str | None] = mapped_column(String(60))
    reason: Mapped[str | None] = mapped_column(Text)


class SignOff(Base):
    """A person's signature on a case: their words, and the hash of everything they signed."""

    __tablename__ = "sign_off"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("scan_case.id"), index=True)
    revision: Mapped[int]
    step: Mapped[SignOffStep] = mapped_column(Named(SignOffStep))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    person_name: Mapped[str] = mapped_column(String(120))
    role: Mapped[str] = mapped_column(String(12))
    at: Mapped[datetime]
    content_sha256: Mapped[str] = mapped_column(String(64))
    words: Mapped[dict[str, Any]] = mapped_column(JSON)
    voided_at: Mapped[datetime | None]
