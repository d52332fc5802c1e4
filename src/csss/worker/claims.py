"""Who may run which job request: taking, finishing, postponing, failing and giving back, each by compare-and-set.

The table job_request is the truth. ``(id, attempts, lease_owner)`` of a started row is its fence: whoever was
thought dead and comes back holds an older fence, so what it did is rolled back instead of done twice.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select, update

from csss.foundation.errors import Conflict
from csss.foundation.jobs import JobRequest, JobStatus, WorkerHeartbeat
from csss.foundation.logs import log
from csss.foundation.work import Work, WorkShop

MAX_FAILURES = 8
FIRST_WAIT_SECONDS = 5
LONGEST_WAIT_SECONDS = 15 * 60

_log = log("worker")


class Superseded(Conflict):
    """The job is no longer this claim's: done already, or taken over."""

    code = "job-superseded"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one attempt of one job."""

    job_id: UUID
    kind: str
    subject_id: UUID
    attempt: int
    failures: int
    owner: str

    @property
    def workflow_id(self) -> str:
        """The idempotent name of this attempt."""
        return f"{self.job_id}:{self.attempt}"

    @property
    def log_fields(self) -> dict[str, object]:
        """What a log line may say of it."""
        return {"job_id": self.job_id, "job_kind": self.kind, "attempt": self.attempt, "executor": self.owner}


def backoff_seconds(failures: int, spread: float) -> float:
    """Return the wait after so many failures in a row: 5, 15, 45 ... 900 s, up to a fifth less by ``spread``.

    ``spread`` in [0, 1) is chance, so that jobs that failed together do not come back together.
    """
    wait: int = FIRST_WAIT_SECONDS * 3 ** (failures - 1)
    return min(wait, LONGEST_WAIT_SECONDS) * (1 - spread / 5)


def take_due(shop: WorkShop, *, owner: str, kinds: Collection[str], limit: int) -> list[Claim]:
    """Start up to ``limit`` due requests of these kinds for ``owner``; of several takers each row has one."""
    with shop.work() as work:
        due = (
            select(JobRequest)
            .where(
                JobRequest.status == JobStatus.REQUESTED,
                JobRequest.run_at <= work.clock.now(),
                JobRequest.kind.in_(kinds),
                # An owner that was declared dead while it stood still must be seen alive again first.
                exists().where(WorkerHeartbeat.executor_id == owner),
            )
            .order_by(JobRequest.run_at, JobRequest.id)
            .limit(limit)
            .with_for_update(skip_locked=True)  # SQLite has none and needs none: its transaction is the lock
        )
        rows = work.session.scalars(due).all()
        for row in rows:
            row.status = JobStatus.STARTED
            row.attempts += 1
            row.lease_owner = owner
        return [claim_of(row) for row in rows]


def claim_of(row: JobRequest) -> Claim:
    """Return the claim that a started row stands for."""
    return Claim(
        job_id=row.id,
        kind=row.kind,
        subject_id=row.subject_id,
        attempt=row.attempts,
        failures=row.failures,
        owner=row.lease_owner or "",
    )


def find_claim(shop: WorkShop, *, job_id: UUID, attempt: int, owner: str) -> Claim | None:
    """Return the claim if it still holds, None when the job is done or somebody else's."""
    with shop.work() as work:
        row = work.session.scalar(
            select(JobRequest).where(
                JobRequest.id == job_id,
                JobRequest.status == JobStatus.STARTED,
                JobRequest.attempts == attempt,
                JobRequest.lease_owner == owner,
            )
        )
        return None if row is None else claim_of(row)


def started_claims(work: Work, owner: str) -> list[Claim]:
    """Return what ``owner`` has started and not settled."""
    rows = work.session.scalars(
        select(JobRequest).where(JobRequest.status == JobStatus.STARTED, JobRequest.lease_owner == owner)
    )
    return [claim_of(row) for row in rows]


def finish(work: Work, claim: Claim) -> None:
    """Mark the job done; raises `Superseded`, so that the caller's transaction is undone, if it was lost."""
    now = work.clock.now()
    _settle(work, claim, status=JobStatus.DONE, finished_at=now, failures=0, error=None)


def postpone(work: Work, claim: Claim, at: datetime) -> None:
    """Ask for the job again at ``at``; nothing has failed. Raises `Superseded`."""
    _settle(work, claim, status=JobStatus.REQUESTED, run_at=at, failures=0, error=None)


def give_back(work: Work, claim: Claim) -> None:
    """Return a job that never began, as if it had not been taken. Raises `Superseded`."""
    _settle(work, claim, status=JobStatus.REQUESTED)


def fail(work: Work, claim: Claim, error: str, *, again_at_once: bool = False) -> JobStatus:
    """Record a failure by its class and code, never its message; return what becomes of the job.

    It is asked for again after a wait, or given up at the eighth failure in a row. ``again_at_once`` leaves
    the first wait out: when a worker died, the job itself is the least suspect. Raises `Superseded`.
    """
    now = work.clock.now()
    failures = claim.failures + 1
    if failures >= MAX_FAILURES:
        _settle(work, claim, status=JobStatus.FAILED, finished_at=now, failures=failures, error=error)
        _log.error("job-given-up", extra={**claim.log_fields, "error": error})
        return JobStatus.FAILED
    wait = 0.0 if again_at_once and failures == 1 else backoff_seconds(failures, random.random())
    run_at = now + timedelta(seconds=wait)
    _settle(work, claim, status=JobStatus.REQUESTED, run_at=run_at, failures=failures, error=error)
    _log.warning("job-will-be-retried", extra={**claim.log_fields, "error": error})
    return JobStatus.REQUESTED


def _settle(work: Work, claim: Claim, **values: Any) -> None:
    settled = work.session.execute(
        update(JobRequest)
        .where(
            JobRequest.id == claim.job_id,
            JobRequest.status == JobStatus.STARTED,
            JobRequest.attempts == claim.attempt,
            JobRequest.lease_owner == claim.owner,
        )
        .values(lease_owner=None, **values)
        .returning(JobRequest.id)
        .execution_options(synchronize_session=False)
    )
    if settled.first() is None:
        raise Superseded("This job has been finished or taken over by another worker.")
