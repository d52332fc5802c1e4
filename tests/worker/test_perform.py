"""One job, one transaction."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from csss.foundation.errors import Unprocessable
from csss.foundation.ids import new_id
from csss.foundation.jobs import JobRequest, JobStatus, RetryLater, WorkerHeartbeat
from csss.foundation.work import Work
from csss.worker import run_due
from csss.worker.perform import perform
from worker.counting import Site, count


class _CannotRead(Unprocessable):
    code = "cannot-read"


def test_run_due_runs_what_is_due_and_what_follows_from_it(site: Site) -> None:
    def first(work: Work, subject: UUID) -> None:
        count(work, subject)
        work.jobs.request("second", subject)

    subjects = [site.request("first"), site.request("first")]
    site.request("nobodys")
    site.request("first", run_at=site.clock.now() + timedelta(seconds=1))
    assert run_due(site.shop, {"first": first, "second": count}) == 4
    assert site.effects() == sorted(subjects * 2)
    assert run_due(site.shop, {"first": first, "second": count}) == 0
    with site.shop.work() as work:
        assert work.session.scalars(select(WorkerHeartbeat)).all() == []


def test_a_request_is_undone_with_its_transaction(site: Site) -> None:
    def ask_and_break(work: Work, subject: UUID) -> None:
        work.jobs.request("count", new_id())
        raise ValueError

    def ask_and_divide() -> None:
        with site.shop.work() as work:
            work.jobs.request("count", new_id())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_and_divide()
    site.request("ask")
    assert run_due(site.shop, {"ask": ask_and_break, "count": count}) == 1
    assert site.statuses() == [JobStatus.REQUESTED]


def test_a_second_request_under_the_same_key_runs_once(site: Site) -> None:
    subject = site.request("count")
    with site.shop.work() as work:
        work.jobs.request("count", subject)
    assert run_due(site.shop, {"count": count}) == 1
    assert site.effects() == [subject]


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        (ValueError("Doe, Jane 1970-01-01"), "ValueError"),
        (_CannotRead("The file cannot be read."), "_CannotRead cannot-read"),
    ],
)
def test_a_failure_undoes_the_handler_and_keeps_class_and_code_only(site: Site, fault: Exception, kept: str) -> None:
    def broken(work: Work, subject: UUID) -> None:
        count(work, subject)
        raise fault

    subject = site.request("broken")
    assert run_due(site.shop, {"broken": broken}) == 1
    job = site.job(subject)
    assert (job.status, job.failures, job.error, job.lease_owner) == (JobStatus.REQUESTED, 1, kept, None)
    assert site.effects() == []
    site.clock.move(timedelta(seconds=5))
    assert run_due(site.shop, {"broken": count}) == 1
    job = site.job(subject)
    assert (job.status, job.attempts, job.failures, job.error) == (JobStatus.DONE, 2, 0, None)
    assert site.effects() == [subject]


def test_a_broken_statement_is_a_failure_like_any_other(site: Site) -> None:
    def broken(work: Work, subject: UUID) -> None:
        count(work, subject)
        row = work.session.scalars(select(JobRequest)).one()
        work.session.add(JobRequest(id=new_id(), key=row.key, kind="x", subject_id=subject))
        work.session.flush()

    subject = site.request("broken")
    assert run_due(site.shop, {"broken": broken}) == 1
    assert (site.job(subject).error, site.effects()) == ("IntegrityError", [])


def test_retry_later_keeps_the_changes_and_counts_as_no_failure(site: Site) -> None:
    def postponed(work: Work, subject: UUID) -> None:
        count(work, subject)
        raise RetryLater(work.clock.now() + timedelta(minutes=1), "the server is busy")

    subject = site.request("postponed")
    for _ in range(10):
        assert run_due(site.shop, {"postponed": postponed}) == 1
        site.clock.move(timedelta(minutes=1))
    job = site.job(subject)
    assert (job.status, job.attempts, job.failures, job.run_at) == (
        JobStatus.REQUESTED,
        10,
        0,
        site.clock.now(),
    )
    assert site.effects() == [subject] * 10


def test_perform_does_not_call_the_handler_of_a_job_that_is_done(site: Site) -> None:
    owners = []

    def note_owner(work: Work, subject: UUID) -> None:
        owners.append(work.session.scalars(select(JobRequest.lease_owner)).one())

    subject = site.request("note")
    handlers = {"note": note_owner}
    assert run_due(site.shop, handlers) == 1
    perform(site.shop, handlers, job_id=site.job(subject).id, attempt=1, owner=owners[0])
    assert len(owners) == 1


def test_what_was_done_under_a_lost_claim_is_undone(site: Site) -> None:
    def overtaken(work: Work, subject: UUID) -> None:
        work.pause()
        with site.shop.work() as other:
            other.session.execute(update(JobRequest).values(attempts=2, lease_owner="other"))
        count(work, subject)

    subject = site.request("overtaken")
    assert run_due(site.shop, {"overtaken": overtaken}) == 1
    job = site.job(subject)
    assert (job.status, job.attempts, job.lease_owner) == (JobStatus.STARTED, 2, "other")
    assert site.effects() == []
