"""Taking and settling claims."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from csss.foundation.jobs import JobStatus
from csss.worker.claims import (
    Claim,
    Superseded,
    backoff_seconds,
    fail,
    find_claim,
    finish,
    give_back,
    postpone,
    take_due,
)
from csss.worker.presence import Presence
from worker.counting import Site


def _take(site: Site, owner: str, limit: int = 10) -> list[Claim]:
    return take_due(site.shop, owner=owner, kinds={"count"}, limit=limit)


@pytest.mark.parametrize(
    ("failures", "spread", "seconds"),
    [
        (1, 0, 5),
        (2, 0, 15),
        (3, 0, 45),
        (4, 0, 135),
        (5, 0, 405),
        (6, 0, 900),
        (7, 0, 900),
        (1, 0.5, 4.5),
        (7, 0.5, 810),
    ],
)
def test_backoff_grows_threefold_up_to_its_cap(failures: int, spread: float, seconds: float) -> None:
    assert backoff_seconds(failures, spread) == pytest.approx(seconds)


def test_take_due_gives_each_request_once_and_in_order(site: Site) -> None:
    subjects = [site.request("count") for _ in range(3)]
    with Presence(site.shop) as one, Presence(site.shop) as two:
        first, second = _take(site, one.executor_id, limit=2), _take(site, two.executor_id)
        assert [claim.subject_id for claim in first] == subjects[:2]
        assert [claim.subject_id for claim in second] == subjects[2:]
        assert _take(site, one.executor_id) == []
    assert [(claim.attempt, claim.failures) for claim in first + second] == [(1, 0)] * 3


def test_take_due_gives_each_request_once_to_takers_in_a_race(site: Site) -> None:
    subjects = [site.request("count") for _ in range(40)]
    start = threading.Barrier(4)

    def take_all() -> list[UUID]:
        taken = []
        with Presence(site.shop) as one:
            start.wait(30)
            while claims := _take(site, one.executor_id, limit=3):
                taken += [claim.subject_id for claim in claims]
        return taken

    with ThreadPoolExecutor(4) as pool:
        takers = [pool.submit(take_all) for _ in range(4)]
        taken = [subject for taker in takers for subject in taker.result()]
    assert sorted(taken) == subjects


def test_take_due_leaves_other_kinds_and_what_is_not_due(site: Site) -> None:
    site.request("other")
    later = site.request("count", run_at=site.clock.now() + timedelta(seconds=1))
    with Presence(site.shop) as one:
        assert _take(site, one.executor_id) == []
        site.clock.move(timedelta(seconds=1))
        assert [claim.subject_id for claim in _take(site, one.executor_id)] == [later]


def test_take_due_gives_nothing_to_an_owner_without_sign_of_life(site: Site) -> None:
    site.request("count")
    assert _take(site, "nobody") == []


def test_settling_needs_the_newest_claim(site: Site) -> None:
    subject = site.request("count")
    with Presence(site.shop) as one, Presence(site.shop) as two:
        old = _take(site, one.executor_id)[0]
        with site.shop.work() as work:
            give_back(work, old)
        new = _take(site, two.executor_id)[0]
        with site.shop.work() as work:
            for settle in (
                lambda: finish(work, old),
                lambda: postpone(work, old, site.clock.now()),
                lambda: fail(work, old, "x"),
                lambda: give_back(work, old),
            ):
                with pytest.raises(Superseded):
                    settle()
        assert site.job(subject).status == JobStatus.STARTED
        assert find_claim(site.shop, job_id=old.job_id, attempt=1, owner=one.executor_id) is None
        assert find_claim(site.shop, job_id=old.job_id, attempt=2, owner=two.executor_id) == new
        with site.shop.work() as work:
            finish(work, new)
    job = site.job(subject)
    assert (job.status, job.lease_owner, job.finished_at) == (JobStatus.DONE, None, site.clock.now())


def test_a_job_is_given_up_at_its_eighth_failure_in_a_row(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    subject = site.request("count")
    waits = []
    with Presence(site.shop) as one, caplog.at_level(logging.ERROR, logger="csss"):
        for _ in range(8):
            claim = _take(site, one.executor_id)[0]
            with site.shop.work() as work:
                fail(work, claim, "ValueError")
            wait = site.job(subject).run_at - site.clock.now()
            waits.append(wait.total_seconds())
            site.clock.move(max(wait, timedelta()))
    job = site.job(subject)
    assert (job.status, job.attempts, job.failures, job.error) == (JobStatus.FAILED, 8, 8, "ValueError")
    longest = [5, 15, 45, 135, 405, 900, 900]
    assert [0.8 * most < wait <= most for wait, most in zip(waits, longest, strict=False)] == [True] * 7
    assert [(record.message, record.levelname) for record in caplog.records] == [("job-given-up", "ERROR")]
