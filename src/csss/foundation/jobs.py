"""Requests for durable work, written in the caller's transaction.

This is all that the rooms know of background work; the engine that runs it (DBOS) is known to ``worker`` only.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Index, String, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from csss.foundation.clock import Clock
from csss.foundation.database import Base, Named
from csss.foundation.ids import new_id


class JobStatus(StrEnum):
    REQUESTED = "requested"  # waits for run_at, or for a worker
    STARTED = "started"  # handed to the engine
    DONE = "done"
    FAILED = "failed"  # given up; a person has to look


class JobRequest(Base):
    """One piece of durable work: what (kind, subject), when, and how it went."""

    __tablename__ = "job_request"
    __table_args__ = (Index("ix_job_request_status_run_at", "status", "run_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
    kind: Mapped[str] = mapped_column(String(40))
    subject_id: Mapped[UUID]
    status: Mapped[JobStatus] = mapped_column(Named(JobStatus), default=JobStatus.REQUESTED)
    attempts: Mapped[int] = mapped_column(default=0)
    requested_at: Mapped[datetime]
    run_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    failures: Mapped[int] = mapped_column(default=0)  # in a row; a RetryLater is none and begins anew
    lease_owner: Mapped[str | None] = mapped_column(String(80))  # the executor that runs it, while started


class WorkerHeartbeat(Base):
    """An executor that may own started jobs; it is gone when ``beats`` stands still for a lease."""

    __tablename__ = "worker_heartbeat"

    executor_id: Mapped[str] = mapped_column(String(80), primary_key=True)
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]  # for people; a clock may jump, so that the judges count beats instead
    beats: Mapped[int] = mapped_column(default=0)
    hostname: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]


class RetryLater(Exception):
    """Raised by a handler: nothing is broken for good, run this job again at ``at``.

    The handler's own transaction is committed first, so that what it recorded (an attempt, a reason) stays.
    """

    def __init__(self, at: datetime, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


class Jobs:
    """Asks for durable work inside one database session."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self.asked = False  # whether a commit of this session should wake the worker

    def request(self, kind: str, subject_id: UUID, *, key: str | None = None, run_at: datetime | None = None) -> UUID:
        """Ask that ``kind`` be done for ``subject_id``, once for each ``key`` (default ``kind:subject_id``).

        A second request under a known key changes nothing and returns the first one's id.
        """
        name = key or f"{kind}:{subject_id}"
        known: Any = self._session.scalar(select(JobRequest.id).where(JobRequest.key == name))
        if known is not None:
            return UUID(str(known))
        now = self._clock.now()
        row = JobRequest(
            id=new_id(), key=name, kind=kind, subject_id=subject_id, requested_at=now, run_at=run_at or now
        )
        self._session.add(row)
        self.asked = True
        return row.id
