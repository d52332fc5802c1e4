"""DBOS behind its wall."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dbos import DBOS

from csss.worker.engine import Engine, EngineLost
from worker.counting import Site, drop_queue_tables, wait_until


class _Ran:
    """An engine, and the attempts that it has run."""

    def __init__(self, queue_url: str, executor_id: str = "executor") -> None:
        self.attempts: list[tuple[str, int]] = []
        self.engine = Engine(
            lambda job_id, attempt: self.attempts.append((job_id, attempt)),
            lambda: None,
            queue_url=queue_url,
            executor_id=executor_id,
            concurrency=2,
        )

    def has_rested(self) -> bool:
        return not self.engine.held()


@pytest.fixture
def ran(site: Site) -> Iterator[_Ran]:
    ran = _Ran(site.queue_url)
    ran.engine.launch()
    yield ran
    ran.engine.shut_down()


def test_an_attempt_runs_once_for_each_workflow_id(ran: _Ran) -> None:
    assert ran.engine.start("a:1", "a", 1) is True
    wait_until(ran.has_rested)
    assert ran.engine.start("a:2", "a", 2) is True
    wait_until(ran.has_rested)
    assert ran.attempts == [("a", 1), ("a", 2)]
    assert [workflow.workflow_id for workflow in DBOS.list_workflows()] == ["a:1", "a:2"]


def test_an_attempt_of_another_executor_is_not_begun(site: Site) -> None:
    for executor, is_begun in [("one", True), ("two", False)]:
        ran = _Ran(site.queue_url, executor)
        ran.engine.launch()
        assert ran.engine.start("a:1", "a", 1) is is_begun
        wait_until(ran.has_rested)
        ran.engine.shut_down()
        assert ran.attempts == [("a", 1)] * is_begun


def test_what_dbos_never_begins_is_dropped(ran: _Ran) -> None:
    assert ran.engine.start("a:1", "a", 1) is True
    wait_until(ran.has_rested)
    ran.engine.start("a:1", "a", 1)  # it knows the id and does not run it again
    ran.engine.drop_lost(patience_seconds=60)
    assert ran.engine.held() == {"a:1"}
    ran.engine.drop_lost(patience_seconds=0)
    assert (ran.engine.held(), ran.attempts) == (frozenset(), [("a", 1)])


def test_sweep_deletes_what_is_older(ran: _Ran) -> None:
    ran.engine.start("a:1", "a", 1)
    wait_until(lambda: [row.status for row in DBOS.list_workflows()] == ["SUCCESS"])
    now = datetime.now(UTC)
    assert ran.engine.sweep(now - timedelta(days=1)) == 0
    assert ran.engine.sweep(now + timedelta(days=1)) == 1
    assert DBOS.list_workflows() == []


def test_shut_down_leaves_the_process_clean_and_launch_works_again(site: Site) -> None:
    threads = set(threading.enumerate())
    for round_number in (1, 2):
        ran = _Ran(site.queue_url)
        ran.engine.launch()
        ran.engine.start(f"a:{round_number}", "a", round_number)
        wait_until(ran.has_rested)
        ran.engine.shut_down()
        assert ran.attempts == [("a", round_number)]
    wait_until(lambda: set(threading.enumerate()) <= threads)
    assert logging.getLogger("dbos").handlers == []


def test_a_lost_database_is_told_as_such(ran: _Ran, site: Site) -> None:
    drop_queue_tables(site)
    with pytest.raises(EngineLost):
        ran.engine.start("a:1", "a", 1)
    assert ran.engine.held() == frozenset()


def test_an_unusable_database_is_told_as_such(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("no-database")
    with pytest.raises(EngineLost):
        _Ran(f"sqlite:///{folder}").engine.launch()
    assert logging.getLogger("dbos").handlers == []
