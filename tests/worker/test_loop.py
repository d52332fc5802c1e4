"""The worker on real DBOS, alone and beside other processes."""

import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from dbos import DBOS
from sqlalchemy import select, update

from csss.foundation.jobs import JobRequest, JobStatus, WorkerHeartbeat
from csss.foundation.work import Work
from csss.worker import Handler, Worker, WorkerAlreadyRunning
from worker.counting import Site, count, drop_queue_tables, make_slow, wait_until


def _worker(site: Site, *, lease_seconds: float = 60, poll_seconds: float = 1, **handlers: Handler) -> Worker:
    return Worker(
        site.shop,
        {"count": count, **handlers},
        queue_url=site.queue_url,
        lease_seconds=lease_seconds,
        poll_seconds=poll_seconds,
    )


def test_a_job_runs_once_under_an_idempotent_workflow_id(site: Site) -> None:
    subject = site.request("count")
    with _worker(site):
        wait_until(site.is_done)
        wait_until(lambda: [row.status for row in DBOS.list_workflows()] == ["SUCCESS"])
        names = [row.workflow_id for row in DBOS.list_workflows()]
    assert site.effects() == [subject]
    assert names == [f"{site.job(subject).id}:1"]


def test_a_commit_wakes_the_worker_and_a_handler_can_ask_for_more(site: Site) -> None:
    def first(work: Work, subject: UUID) -> None:
        count(work, subject)
        work.jobs.request("count", subject)

    subjects = []
    with _worker(site, poll_seconds=600, first=first):
        for _ in range(4):
            time.sleep(0.2)  # the dispatcher is asleep by now, so that nothing but the commit can wake it
            subjects.append(site.request("first"))
            wait_until(lambda: site.statuses() == [JobStatus.DONE] * 2 * len(subjects))
    assert site.effects() == sorted(subjects * 2)


def test_starting_and_stopping_twice_leaves_the_process_clean(site: Site) -> None:
    threads, files = set(threading.enumerate()), {path.name for path in site.folder.iterdir()}
    worker = _worker(site)
    for _ in range(2):
        site.request("count")
        with worker:
            with pytest.raises(WorkerAlreadyRunning):
                _worker(site).start()
            wait_until(site.is_done)
    wait_until(lambda: set(threading.enumerate()) <= threads)
    with site.shop.work() as work:
        assert work.session.scalars(select(WorkerHeartbeat)).all() == []
    assert len(site.effects()) == 2
    assert {path.name for path in site.folder.iterdir() if path.suffix == ".lock"} == set()
    assert files <= {path.name for path in site.folder.iterdir()}


def test_a_worker_that_could_not_start_can_be_followed_by_one_that_can(site: Site) -> None:
    subject = site.request("count")
    broken = Worker(site.shop, {"count": count}, queue_url=f"sqlite:///{site.folder}")
    with pytest.raises(Exception, match="could not be started"):
        broken.start()
    with _worker(site):
        wait_until(site.is_done)
    assert site.effects() == [subject]


def test_a_failing_job_is_retried_and_then_given_up(site: Site) -> None:
    secret = "Doe, Jane 1970-01-01"

    def broken(work: Work, subject: UUID) -> None:
        count(work, subject)
        raise ValueError(secret)

    subject = site.request("broken")
    with _worker(site, broken=broken) as worker:
        for failures in range(1, 9):
            wait_until(lambda failures=failures: site.job(subject).failures == failures)
            site.clock.move(timedelta(minutes=15))
            worker.wake()
    job = site.job(subject)
    assert (job.status, job.attempts, job.error) == (JobStatus.FAILED, 8, "ValueError")
    assert site.effects() == []
    assert [path.name for path in site.folder.iterdir() if secret.encode() in path.read_bytes()] == []


def test_stop_waits_for_a_running_job(site: Site) -> None:
    begun = threading.Event()

    def slow(work: Work, subject: UUID) -> None:
        begun.set()
        make_slow(0.5)(work, subject)

    subject = site.request("slow")
    with _worker(site, slow=slow):
        assert begun.wait(30)
    assert (site.effects(), site.is_done()) == ([subject], True)


def test_a_job_that_outlives_stop_is_not_taken_over(site: Site) -> None:
    begun, end = threading.Event(), threading.Event()

    def stubborn(work: Work, subject: UUID) -> None:
        begun.set()
        assert end.wait(30)
        count(work, subject)

    subject = site.request("stubborn")
    worker = _worker(site, lease_seconds=1, stubborn=stubborn)
    worker.start()
    assert begun.wait(30)
    worker.stop(grace_seconds=0)
    with _worker(site, lease_seconds=1, stubborn=count):
        wait_until(lambda: _beats(site) > 12)  # the two of them, for longer than a lease
        assert (site.effects(), site.job(subject).attempts) == ([], 1)
        end.set()
        wait_until(site.is_done)
    worker._presence.stop()
    assert site.effects() == [subject]


def test_dbos_may_lose_its_database_between_two_runs(site: Site) -> None:
    subjects = [site.request("count")]
    with _worker(site):
        wait_until(site.is_done)
    subjects.append(site.request("count"))
    with site.shop.work() as work:  # as a worker leaves it that dies when the engine has not begun
        work.session.execute(
            update(JobRequest)
            .where(JobRequest.subject_id == subjects[1])
            .values(status=JobStatus.STARTED, attempts=1, lease_owner="dead")
        )
    subjects.append(site.request("count"))
    _delete_queue_database(site)
    with _worker(site):
        wait_until(site.is_done)
    assert site.effects() == sorted(subjects)


def test_dbos_may_lose_its_tables_while_it_runs(site: Site) -> None:
    with _worker(site):
        subjects = [site.request("count")]
        wait_until(site.is_done)
        drop_queue_tables(site)
        subjects += [site.request("count") for _ in range(5)]
        wait_until(site.is_done)
    assert site.effects() == sorted(subjects)


def test_a_workflow_that_dbos_knew_already_is_run_under_the_next_id(site: Site) -> None:
    subject = site.request("count")
    with _worker(site):
        wait_until(site.is_done)
    with site.shop.work() as work:  # our database comes back from a backup, DBOS's does not
        work.session.execute(update(JobRequest).values(status=JobStatus.REQUESTED, attempts=0))
    with _worker(site):
        wait_until(site.is_done)
    job = site.job(subject)
    assert (site.effects(), job.attempts, job.failures) == ([subject, subject], 2, 0)


@pytest.mark.parametrize(
    ("lease_seconds", "database_url"),
    [(60, "sqlite"), pytest.param(2, "postgres", marks=pytest.mark.postgres)],
    indirect=["database_url"],
)
def test_what_a_killed_process_began_is_done_once_by_another(site: Site, lease_seconds: float) -> None:
    with site.other_process(hang=True, lease_seconds=lease_seconds) as process:
        _use_system_time(site)
        subject = site.request("doomed")
        wait_until((site.folder / "in-the-middle").exists)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (site.effects(), site.job(subject).status) == ([], JobStatus.STARTED)
    with site.other_process(lease_seconds=lease_seconds) as heir:
        # On SQLite long before the lease is over, because the lock of the dead is free.
        wait_until(site.is_done, seconds=30)
    job = site.job(subject)
    assert (site.effects(), site.pids(), job.attempts, job.failures) == ([subject], {heir.pid}, 2, 0)


def test_two_processes_share_fifty_jobs(site: Site) -> None:
    _use_system_time(site)
    with site.other_process() as one, site.other_process() as two:
        subjects = [site.request("brief") for _ in range(50)]
        wait_until(site.is_done)
    assert site.effects() == sorted(subjects)
    assert site.pids() == {one.pid, two.pid}


def test_a_living_job_that_is_longer_than_the_lease_is_left_alone(site: Site) -> None:
    _use_system_time(site)
    with _worker(site, lease_seconds=1, brief=make_slow(2.5)):
        subject = site.request("brief")
        wait_until(lambda: site.job(subject).status == JobStatus.STARTED)
        with site.other_process(lease_seconds=1):
            wait_until(site.is_done)
    assert (site.effects(), site.job(subject).attempts) == ([subject], 1)


def _use_system_time(site: Site) -> None:
    # Other processes have the system's clock, to which the request must not lie in the future.
    assert site.clock.now().year == 2026
    site.clock.move(timedelta(days=-365))


def _beats(site: Site) -> int:
    with site.shop.work() as work:
        return sum(work.session.scalars(select(WorkerHeartbeat.beats)))


def _delete_queue_database(site: Site) -> None:
    if site.queue_url.startswith("sqlite"):
        for path in Path(site.folder).glob("jobs.sqlite*"):
            path.unlink()
    else:
        drop_queue_tables(site)
