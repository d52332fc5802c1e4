"""Choose channels, send, retry, record; a report is mailed once, or a person is told that it was not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import CursorResult, select, update

from csss import audit
from csss.accounts.tables import User
from csss.delivery.channels.base import Attachment, Channel, DeliveryError, Message
from csss.delivery.tables import Delivery, DeliveryStatus
from csss.foundation.errors import Conflict
from csss.foundation.ids import new_id
from csss.foundation.jobs import JobRequest, JobStatus, RetryLater
from csss.foundation.work import Work
from csss.patients import Patient
from csss.reports.tables import Report, ReportStatus

DELIVER = "deliver"
MAX_ATTEMPTS = 8
OPEN = frozenset({DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.RETRY})
_FIRST_DELAY = timedelta(seconds=15)
_LONGEST_DELAY = timedelta(hours=1)
UNCONFIRMED = "The mail was cut off while it was handed over; whether it arrived is not known. Ask, or send it again."


class Overtaken(Conflict):
    """This worker was taken for dead, and another one is sending in its place."""

    code = "overtaken"


@dataclass(frozen=True, slots=True)
class Site:
    """What a letter says about who sends it."""

    hospital_name: str
    base_url: str

    @property
    def mail_domain(self) -> str:
        """The right-hand side of our Message-IDs (RFC 5322 section 3.6.4)."""
        return urlsplit(self.base_url).hostname or "localhost"


def queue(work: Work, report: Report, *, channel: str = "email") -> Delivery:
    """Put a report on its way to its patient; the request is part of the caller's transaction."""
    patient = work.session.get_one(Patient, report.patient_id)
    now = work.clock.now()
    row = Delivery(
        id=new_id(),
        report_id=report.id,
        recipient_id=patient.user_id,
        channel=channel,
        status=DeliveryStatus.QUEUED,
        queued_at=now,
        next_at=now,
    )
    if patient.user_id is None:
        row.status, row.next_at = DeliveryStatus.DEAD, None
        row.error = "The patient has no account and so no confirmed address; hand the report over in person."
    work.session.add(row)
    work.session.flush()
    if row.status is DeliveryStatus.QUEUED:
        work.jobs.request(DELIVER, row.id)
    return row


def deliver(work: Work, delivery_id: UUID, *, channels: Mapping[str, Channel], site: Site) -> None:
    """Make one attempt. Raises `RetryLater` when another one makes sense.

    The message is handed to the server between two commits. After a crash in that moment nobody knows whether it
    arrived: it is not sent again by itself (nothing is mailed twice), and an administrator is shown it.
    """
    row = work.session.get_one(Delivery, delivery_id)
    if row.status not in (DeliveryStatus.QUEUED, DeliveryStatus.RETRY, DeliveryStatus.SENDING):
        return
    if row.handed_over_at is not None:
        _bury(work, row, UNCONFIRMED)
        return
    report = work.session.get_one(Report, row.report_id)
    if report.status is not ReportStatus.CURRENT:
        row.status, row.next_at = DeliveryStatus.REVOKED, None
        return
    message = _letter(work, row, report, site)
    attempt = row.attempts + 1
    row.status, row.attempts, row.next_at, row.error = DeliveryStatus.SENDING, attempt, None, None
    work.pause()

    def handing_over() -> None:
        _mark_handed_over(work, row, attempt)
        work.pause()

    try:
        receipt = channels[row.channel].send(message, handing_over=handing_over)
    except DeliveryError as problem:
        row.handed_over_at = None
        if problem.outcome_unknown:
            _bury(work, row, UNCONFIRMED)
        else:
            _note_failure(work, row, problem)
        return
    row.handed_over_at = None
    row.status, row.sent_at, row.receipt = DeliveryStatus.SENT, work.clock.now(), receipt
    _record(work, row, "report.sent")


def _mark_handed_over(work: Work, row: Delivery, attempt: int) -> None:
    """Claim the hand-over: of two workers that both think they hold this delivery, one gets it."""
    result = work.session.execute(
        update(Delivery)
        .where(
            Delivery.id == row.id,
            Delivery.attempts == attempt,
            Delivery.status == DeliveryStatus.SENDING,
            Delivery.handed_over_at.is_(None),
        )
        .values(handed_over_at=work.clock.now())
    )
    assert isinstance(result, CursorResult)  # noqa: S101 - an UPDATE gives no other kind
    if result.rowcount != 1:
        raise Overtaken("Another worker has taken this delivery over.")


def _note_failure(work: Work, row: Delivery, problem: DeliveryError) -> None:
    if problem.permanent or row.attempts >= MAX_ATTEMPTS:
        _bury(work, row, problem.message)
        return
    delay = min(_FIRST_DELAY * 4 ** (row.attempts - 1), _LONGEST_DELAY)
    row.status, row.error = DeliveryStatus.RETRY, problem.message
    row.next_at = work.clock.now() + delay
    raise RetryLater(row.next_at, problem.code)


def _bury(work: Work, row: Delivery, reason: str) -> None:
    row.status, row.error, row.next_at = DeliveryStatus.DEAD, reason, None
    _record(work, row, "report.delivery_failed")


def bury_failed(work: Work) -> int:
    """Close deliveries whose job was given up, so that an administrator sees them; returns how many."""
    rows = work.session.scalars(
        select(Delivery)
        .join(JobRequest, JobRequest.subject_id == Delivery.id)
        .where(JobRequest.kind == DELIVER, JobRequest.status == JobStatus.FAILED, Delivery.status.in_(OPEN))
    ).all()
    for row in rows:
        _bury(work, row, "The server gave up after several errors of its own; see csss check.")
    return len(rows)


def _record(work: Work, row: Delivery, action: str) -> None:
    audit.record(
        work,
        action,
        actor_id=None,
        actor_role="system",
        object_type="report",
        object_id=row.report_id,
        detail={"channel": row.channel, "attempts": row.attempts},
    )


def _letter(work: Work, row: Delivery, report: Report, site: Site) -> Message:
    user = work.session.get_one(User, row.recipient_id)
    short = str(report.id)[-8:]
    return Message(
        message_id=f"<{row.id}@{site.mail_domain}>",
        to=user.email,
        subject=f"{site.hospital_name}: your report is ready",
        text=(
            f"Hello,\n\nyour report is ready and attached to this message. The file is locked.\n"
            f'To open it, sign in at {site.base_url} and choose "Show password" beside the report.\n'
            f"The password is never sent by mail, and nobody will ask you for it.\n\n"
            f"Report {short}, version {report.version}.\n\n"
            f"If you have questions, contact your doctor.\n\n{site.hospital_name}\n"
        ),
        attachments=(
            Attachment(
                filename=f"report-{short}-v{report.version}.pdf",
                media_type="application/pdf",
                data=work.blobs.get(report.delivered_blob),
            ),
        ),
    )


def of_report(work: Work, report_id: UUID) -> list[Delivery]:
    """Return the deliveries of a report, the newest first."""
    return list(
        work.session.scalars(
            select(Delivery)
            .where(Delivery.report_id == report_id)
            .order_by(Delivery.queued_at.desc(), Delivery.id.desc())
        )
    )
