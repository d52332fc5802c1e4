"""Shapes of issued reports and their deliveries."""

from datetime import datetime
from typing import Self
from uuid import UUID

from csss.delivery.tables import Delivery, DeliveryStatus
from csss.entrypoints.api.shapes.base import Shape
from csss.reports.tables import ReportStatus


class DeliveryShape(Shape):
    id: UUID
    channel: str
    status: DeliveryStatus
    attempts: int
    queued_at: datetime
    sent_at: datetime | None
    error: str | None

    @classmethod
    def of(cls, row: Delivery) -> Self:
        return cls(
            id=row.id,
            channel=row.channel,
            status=row.status,
            attempts=row.attempts,
            queued_at=row.queued_at,
            sent_at=row.sent_at,
            error=row.error,
        )


class ReportShape(Shape):
    id: UUID
    scan_id: UUID
    version: int
    revision: int
    status: ReportStatus
    issued_at: datetime
    content_sha256: str
    archive_sha256: str
    delivered_sha256: str
    deliveries: list[DeliveryShape]


class Password(Shape):
    password: str
