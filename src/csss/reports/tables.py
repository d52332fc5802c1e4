"""Report: one issued version, its sealed files and what it said."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from csss.foundation.database import Base, Named


class ReportStatus(StrEnum):
    CURRENT = "current"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"


class Report(Base):
    """One version of a case's report, kept for ever: the archived copy, the delivered copy and its password."""

    __tablename__ = "report"
    __table_args__ = (UniqueConstraint("case_id", "version"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    case_id: Mapped[UUID] = mapped_column(index=True)
    patient_id: Mapped[UUID] = mapped_column(index=True)
    version: Mapped[int]
    revision: Mapped[int]
    status: Mapped[ReportStatus] = mapped_column(Named(ReportStatus))
    content_sha256: Mapped[str] = mapped_column(String(64))
    issued_at: Mapped[datetime]
    archive_blob: Mapped[str] = mapped_column(String(80))
    archive_sha256: Mapped[str] = mapped_column(String(64))
    delivered_blob: Mapped[str] = mapped_column(String(80))
    delivered_sha256: Mapped[str] = mapped_column(String(64))
    password_blob: Mapped[str] = mapped_column(String(80))
