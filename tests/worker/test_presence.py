"""Signs of life, and taking over from the dead."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from csss.foundation.jobs import JobRequest, JobStatus, WorkerHeartbeat
from csss.worker.claims import take_due
from csss.worker.presence import Presence, Watch, bury
from worker.counting import Site


def _watch(site: Site, lease_seconds: float = 60) -> Watch:
    return Watch(site.shop, own_id="observer", lease_seconds=lease_seconds)


@pytest.fixture
def owner(site: Site) -> Iterator[Presence]:
    """An executor that has started one job; its counter moves when told to."""
    site.request("count")
    with Presence(site.shop, lease_seconds=3600) as presence:
        take_due(site.shop, owner=presence.executor_id, kinds={"count"}, limit=1)
        yield presence


def test_a_counter_that_stands_still_for_a_lease_is_death(site: Site, owner: Presence) -> None:
    watch = _watch(site, lease_seconds=0.2)
    assert watch.take_over() == 0
    time.sleep(0.3)
    assert watch.take_over() == 1
    with site.shop.work() as work:
        job = work.session.scalars(select(JobRequest)).one()
    assert (job.status, job.attempts, job.failures, job.run_at, job.error) == (
        JobStatus.REQUESTED,
        1,
        1,
        site.clock.now(),
        "worker-died",
    )
    assert watch.take_over() == 0


def test_a_counter_that_moves_is_life(site: Site, owner: Presence) -> None:
    watch = _watch(site, lease_seconds=0.2)
    for _ in range(4):
        assert watch.take_over() == 0
        time.sleep(0.15)
        owner.beat()
    assert site.statuses() == [JobStatus.STARTED]


def test_a_clock_that_jumps_kills_nobody(site: Site, owner: Presence) -> None:
    watch = _watch(site)
    assert watch.take_over() == 0
    site.clock.move(timedelta(days=1))
    assert watch.take_over() == 0
    assert site.statuses() == [JobStatus.STARTED]


def test_who_moves_at_the_last_moment_is_not_buried(site: Site, owner: Presence) -> None:
    owner.beat()
    with site.shop.work() as work:
        assert bury(work, owner.executor_id, beats=0) == 0
    assert site.statuses() == [JobStatus.STARTED]
    with site.shop.work() as work:
        assert bury(work, owner.executor_id, beats=1) == 1
    assert site.statuses() == [JobStatus.REQUESTED]


def test_an_owner_without_a_row_is_dead(site: Site, owner: Presence) -> None:
    with site.shop.work() as work:
        work.session.execute(delete(WorkerHeartbeat))
    assert _watch(site).take_over() == 1
    assert site.statuses() == [JobStatus.REQUESTED]


def test_a_job_whose_workers_die_eight_times_is_given_up(site: Site) -> None:
    subject = site.request("count")
    for _ in range(8):
        site.clock.move(timedelta(minutes=15))
        with Presence(site.shop) as presence:
            take_due(site.shop, owner=presence.executor_id, kinds={"count"}, limit=1)
        assert _watch(site).take_over() == 1
    job = site.job(subject)
    assert (job.status, job.failures, job.error) == (JobStatus.FAILED, 8, "worker-died")


def test_who_was_buried_alive_must_show_life_before_it_takes_more(site: Site, owner: Presence) -> None:
    watch = _watch(site, lease_seconds=0)
    assert [watch.take_over(), watch.take_over()] == [0, 1]
    assert take_due(site.shop, owner=owner.executor_id, kinds={"count"}, limit=1) == []
    owner.beat()
    assert len(take_due(site.shop, owner=owner.executor_id, kinds={"count"}, limit=1)) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_a_held_lock_is_life_and_a_free_one_death(site: Site) -> None:
    site.request("count")
    watch = _watch(site)
    with Presence(site.shop) as presence:
        take_due(site.shop, owner=presence.executor_id, kinds={"count"}, limit=1)
        lock = site.folder / f"worker-{presence.executor_id}.lock"
        assert (lock.exists(), watch.take_over()) == (True, 0)
        # A fresh file under the old name is locked by nobody, as is the old one when its process has ended.
        lock.unlink()
        assert watch.take_over() == 0
        lock.touch()
        assert watch.take_over() == 1
        assert lock.exists() is False


def test_leaving_leaves_nothing(site: Site) -> None:
    before = {path.name for path in site.folder.iterdir()}
    with Presence(site.shop):
        pass
    assert {path.name for path in site.folder.iterdir()} == before
    with site.shop.work() as work:
        assert work.session.scalars(select(WorkerHeartbeat)).all() == []


def test_two_presences_of_one_name_are_two(site: Site) -> None:
    assert Presence(site.shop, name="a/b").executor_id != Presence(site.shop, name="a/b").executor_id
