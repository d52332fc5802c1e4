"""Delivery: one report version on its way to one recipient by one channel."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from csss.foundation.database import Base, Named


class DeliveryStatus(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    RETRY = "retry"  # will be tried again at next_at
    SENT = "sent"
    DEAD = "dead"  # given up, or its outcome is unknown; an administrator sees it
    REVOKED = "revoked"


class Delivery(Base):
    """A delivery and its receipt. Its failure never changes the state of the report."""

    __tablename__ = "delivery"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    report_id: Mapped[UUID] = mapped_column(ForeignKey("report.id"), index=True)
    recipient_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    channel: Mapped[str] = mapped_column(String(12))
    status: Mapped[DeliveryStatus] = mapped_column(Named(DeliveryStatus), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    queued_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    # Set just before the server gets the message and cleared by its answer: what we cannot know after a crash.
    handed_over_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    receipt: Mapped[str | None] = mapped_column(String(120))
    error: Mapped[str | None] = mapped_column(String(200))
