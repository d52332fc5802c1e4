"""Study, Series, Instance and HeldFile."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from csss.foundation.database import Base


class Study(Base):
    """One examination of one patient (DICOM PS3.3 A.1.2.1); a single PNG is a study of one instance."""

    __tablename__ = "study"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patient.id"), index=True)
    uid: Mapped[str] = mapped_column(String(64), index=True)
    modality: Mapped[str] = mapped_column(String(16))
    body_part: Mapped[str] = mapped_column(String(32))
    study_date: Mapped[date | None]
    accession_number: Mapped[str | None] = mapped_column(String(64))
    institution: Mapped[str | None] = mapped_column(String(120))
    received_at: Mapped[datetime]


class Series(Base):
    """Instances of one acquisition."""

    __tablename__ = "series"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    study_id: Mapped[UUID] = mapped_column(ForeignKey("study.id"), index=True)
    uid: Mapped[str] = mapped_column(String(64))
    device: Mapped[str | None] = mapped_column(String(130))
    laterality: Mapped[str | None] = mapped_column(String(16))
    view_position: Mapped[str | None] = mapped_column(String(16))
    study: Mapped[Study] = relationship()


class Instance(Base):
    """One received file: the untouched original, its pixels in canonical form, and a preview, each a sealed blob."""

    __tablename__ = "instance"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    series_id: Mapped[UUID] = mapped_column(ForeignKey("series.id"), index=True)
    uid: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(8))
    size_bytes: Mapped[int]
    rows: Mapped[int]
    columns: Mapped[int]
    burned_in: Mapped[bool | None]
    transfer_syntax: Mapped[str | None] = mapped_column(String(64))
    file_sha256: Mapped[str] = mapped_column(String(64), index=True)
    pixel_sha256: Mapped[str] = mapped_column(String(64), index=True)
    original_blob: Mapped[str] = mapped_column(String(80))
    canonical_blob: Mapped[str] = mapped_column(String(80))
    preview_blob: Mapped[str] = mapped_column(String(80))
    series: Mapped[Series] = relationship()


class HeldFile(Base):
    """A file that was not taken in, kept sealed with the reason; nothing reads its pixels."""

    __tablename__ = "held_file"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patient.id"), index=True)
    uploader_id: Mapped[UUID | None]
    received_at: Mapped[datetime]
    size_bytes: Mapped[int]
    file_sha256: Mapped[str] = mapped_column(String(64), index=True)
    blob: Mapped[str] = mapped_column(String(80))
    reason_code: Mapped[str] = mapped_column(String(60))
    reason: Mapped[str] = mapped_column(String(300))
