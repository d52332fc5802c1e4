"""One unit of work, and the requests for jobs that are part of it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from csss.foundation.blobs import BlobStore
from csss.foundation.clock import SetClock
from csss.foundation.database import open_engine, sessions
from csss.foundation.errors import BadRequest, Conflict
from csss.foundation.ids import new_id
from csss.foundation.jobs import JobRequest, JobStatus
from csss.foundation.vault import Vault
from csss.foundation.work import Work, WorkShop

SUBJECT = UUID(int=5)


class Woken:
    """Counts how often the worker was woken."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def shop(database_url: str, clock: SetClock, woken: Woken) -> Iterator[WorkShop]:
    engine = open_engine(database_url)
    blobs = BlobStore("memory://", Vault({1: bytes(range(32))}))
    yield WorkShop(sessions(engine), blobs, clock, woken)
    engine.dispose()


def ask(shop: WorkShop, after: Callable[[Work], None] = lambda _: None, *, key: str | None = None) -> UUID:
    with shop.work() as work:
        job_id = work.jobs.request("analyse", SUBJECT, key=key)
        after(work)
        return job_id


def requests(shop: WorkShop) -> list[JobRequest]:
    with shop.work() as work:
        return list(work.session.scalars(select(JobRequest).order_by(JobRequest.id)))


def raising(error: Exception) -> Callable[[Work], None]:
    def after(_: Work) -> None:
        raise error

    return after


def test_a_block_that_ends_well_is_committed_and_wakes_the_worker(
    shop: WorkShop, woken: Woken, clock: SetClock
) -> None:
    job_id = ask(shop)
    [row] = requests(shop)
    assert (row.id, row.key, row.kind, row.subject_id) == (job_id, f"analyse:{SUBJECT}", "analyse", SUBJECT)
    assert (row.status, row.attempts, row.requested_at, row.run_at) == (
        JobStatus.REQUESTED,
        0,
        clock.now(),
        clock.now(),
    )
    assert woken.times == 1


@pytest.mark.parametrize("error", [Conflict("no"), BadRequest("no"), RuntimeError("broken"), KeyError()])
def test_a_block_that_raises_is_undone_and_wakes_nobody(shop: WorkShop, woken: Woken, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        ask(shop, raising(error))
    assert raised.value is error
    assert (requests(shop), woken.times) == ([], 0)


def test_a_refusal_that_keeps_is_committed_and_raised(shop: WorkShop) -> None:
    with pytest.raises(Conflict, match="no"):
        ask(shop, raising(Conflict("no", keeps=True)))
    assert len(requests(shop)) == 1


def test_what_was_written_before_a_pause_stays_written(shop: WorkShop) -> None:
    def after(work: Work) -> None:
        work.pause()
        work.jobs.request("deliver", SUBJECT)
        raise Conflict("no")

    with pytest.raises(Conflict):
        ask(shop, after)
    assert [row.kind for row in requests(shop)] == ["analyse"]


def test_a_commit_that_fails_raises_and_leaves_nothing(shop: WorkShop, woken: Woken, clock: SetClock) -> None:
    def duplicate(work: Work) -> None:
        now = clock.now()
        work.session.add(
            JobRequest(
                id=new_id(), key=f"analyse:{SUBJECT}", kind="x", subject_id=SUBJECT, requested_at=now, run_at=now
            )
        )

    with pytest.raises(IntegrityError):
        ask(shop, duplicate)
    assert (requests(shop), woken.times) == ([], 0)


def test_a_request_under_a_known_key_is_the_first_one(shop: WorkShop, woken: Woken) -> None:
    first = ask(shop)
    assert ask(shop) == first
    assert ask(shop, key="another") != first
    assert (len(requests(shop)), woken.times) == (2, 2)


def test_of_simultaneous_requests_under_one_key_one_stays(shop: WorkShop) -> None:
    def attempt(_: int) -> bool:
        try:
            ask(shop)
        except IntegrityError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert True in list(pool.map(attempt, range(8)))
    assert len(requests(shop)) == 1


def test_a_request_may_be_for_later(shop: WorkShop, clock: SetClock) -> None:
    with shop.work() as work:
        work.jobs.request("remind", SUBJECT, run_at=clock.now() + timedelta(hours=1))
    [row] = requests(shop)
    assert row.run_at - row.requested_at == timedelta(hours=1)


def test_work_that_asked_for_nothing_wakes_nobody(shop: WorkShop, woken: Woken) -> None:
    with shop.work() as work:
        work.session.execute(select(JobRequest))
    assert woken.times == 0
