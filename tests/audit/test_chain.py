"""The chain of audit events: whole, in line, refused to change, and every attack on it found."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from audit.chains import make_shop, note
from csss import audit
from csss.audit import GENESIS, ChainVerdict, Outcome, keep_checkpoint, read_checkpoint, verify_chain
from csss.foundation.clock import SetClock
from csss.foundation.errors import Conflict
from csss.foundation.work import WorkShop

SECRET = "a secret of the site, long enough"


@pytest.fixture
def shop(database_url: str, clock: SetClock) -> Iterator[WorkShop]:
    engine, shop = make_shop(database_url, clock)
    yield shop
    engine.dispose()


def verdict(shop: WorkShop, expected: tuple[int, str] | None = None) -> ChainVerdict:
    with shop.work() as work:
        return verify_chain(work.session, expected=expected)


def test_an_empty_chain_begins_at_genesis(shop: WorkShop) -> None:
    assert verdict(shop) == ChainVerdict(0, GENESIS, None, None)
    with shop.work() as work:
        assert audit.head(work.session) == (0, GENESIS)


def test_events_get_their_numbers_in_the_order_of_commits(shop: WorkShop) -> None:
    for count in (1, 3, 2):
        with shop.work() as work:
            for index in range(count):
                note(work, f"step.{index}")
    with shop.work() as work:
        rows = audit.page(work.session)
        assert [row.seq for row in rows] == [6, 5, 4, 3, 2, 1]
        assert [row.action for row in reversed(rows)] == ["step.0", "step.0", "step.1", "step.2", "step.0", "step.1"]
        assert [row.previous_hash for row in rows] == [row.hash for row in rows[1:]] + [GENESIS]
        assert audit.head(work.session) == (6, rows[0].hash)
    assert verdict(shop) == ChainVerdict(6, rows[0].hash, None, None)


def test_a_link_is_the_hash_of_all_its_columns(shop: WorkShop, clock: SetClock) -> None:
    """Written down a second time, so that no later version reads an old log as forged."""
    with shop.work() as work:
        note(work, detail={"b": 1.5, "a": ["x", None]})
        note(work, "case.denied", actor_id=None, object_type=None, object_id=None, revision=None, detail=None)
    with shop.work() as work:
        second, first = audit.page(work.session)
    at = clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
    zero7, zero9 = str(UUID(int=7)), str(UUID(int=9))
    facts: list[Any] = [1, str(first.id), at, zero7, "doctor", "case.seen", "allowed", "case", zero9, 0]
    facts += [{"a": ["x", None], "b": 1.5}, GENESIS]
    assert first.hash == hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).hexdigest()
    facts = [2, str(second.id), at, None, "doctor", "case.denied", "allowed", None, None, None, {}, first.hash]
    assert second.hash == hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).hexdigest()


def test_work_that_is_undone_leaves_no_event(shop: WorkShop) -> None:
    def refused() -> None:
        with shop.work() as work:
            note(work)
            raise Conflict("no")

    def broken() -> None:
        with shop.work() as work:
            note(work)
            work.session.flush()
            raise RuntimeError

    for attempt, error in ((refused, Conflict), (broken, RuntimeError)):
        with pytest.raises(error):
            attempt()
    assert verdict(shop).length == 0
    with shop.work() as work:
        note(work)
    assert verdict(shop).length == 1


def test_a_refusal_that_keeps_its_trace_keeps_its_event(shop: WorkShop) -> None:
    def refused() -> None:
        with shop.work() as work:
            note(work, "session.refused", outcome=Outcome.DENIED)
            raise Conflict("no", keeps=True)

    with pytest.raises(Conflict):
        refused()
    assert verdict(shop).length == 1


def test_what_was_noted_before_a_pause_stays(shop: WorkShop) -> None:
    def refused() -> None:
        with shop.work() as work:
            note(work, "first")
            work.pause()
            note(work, "second")
            raise Conflict("no")

    with pytest.raises(Conflict):
        refused()
    with shop.work() as work:
        assert [row.action for row in audit.page(work.session)] == ["first"]


def test_simultaneous_commits_stay_in_line(shop: WorkShop) -> None:
    def write(thread: int) -> None:
        for index in range(10):
            with shop.work() as work:
                note(work, f"thread.{thread}", revision=index)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(write, range(12)))
    found = verdict(shop)
    assert (found.length, found.first_bad_seq) == (120, None)
    with shop.work() as work:
        for thread in range(12):
            rows = audit.page(work.session, action=f"thread.{thread}")
            assert [row.revision for row in rows] == list(range(9, -1, -1))


CHANGES = ["UPDATE audit_event SET actor_role = 'nobody'", "DELETE FROM audit_event WHERE seq = 1"]


@pytest.mark.parametrize("statement", CHANGES)
def test_the_database_itself_refuses_changes(shop: WorkShop, statement: str) -> None:
    with shop.work() as work:
        note(work)
    before = verdict(shop)
    with pytest.raises(DBAPIError, match="append-only"), shop.work() as work:
        work.session.execute(text(statement))
    assert verdict(shop) == before


@pytest.mark.postgres
def test_postgres_refuses_to_empty_the_log(fresh_postgres_url: str, clock: SetClock) -> None:
    engine, shop = make_shop(fresh_postgres_url, clock)
    with shop.work() as work:
        note(work)
    with pytest.raises(DBAPIError, match="append-only"), shop.work() as work:
        work.session.execute(text("TRUNCATE audit_event"))
    assert verdict(shop).length == 1
    engine.dispose()


def test_seen_counts_only_this_person_object_revision_and_success(shop: WorkShop) -> None:
    with shop.work() as work:
        note(work, "image.viewed")
        note(work, "image.denied", outcome=Outcome.DENIED)
    asked: dict[str, Any] = {"actor_id": UUID(int=7), "object_id": UUID(int=9), "revision": 0}
    with shop.work() as work:
        assert audit.seen(work.session, "image.viewed", **asked) is True
        others = ({"actor_id": UUID(int=8)}, {"object_id": UUID(int=8)}, {"revision": 1})
        assert [audit.seen(work.session, "image.viewed", **(asked | other)) for other in others] == [False] * 3
        assert audit.seen(work.session, "image.denied", **asked) is False
        assert audit.seen(work.session, "scan.viewed", **asked) is False


def test_page_goes_back_by_number_and_filters_by_action(shop: WorkShop) -> None:
    with shop.work() as work:
        for action in ("a", "b", "a", "b", "a"):
            note(work, action)
    with shop.work() as work:
        assert [row.seq for row in audit.page(work.session, limit=2)] == [5, 4]
        assert [row.seq for row in audit.page(work.session, before=4, limit=2)] == [3, 2]
        assert [row.seq for row in audit.page(work.session, action="a", before=5)] == [3, 1]


def keep(shop: WorkShop, path: Path, secret: str = SECRET) -> None:
    with shop.work() as work:
        keep_checkpoint(work, path, secret)


def test_a_checkpoint_is_the_newest_link_and_only_goes_forward(shop: WorkShop, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    keep(shop, path)
    assert (path.exists(), read_checkpoint(path, SECRET)) == (False, None)
    for _ in range(2):
        with shop.work() as work:
            note(work)
        keep(shop, path)
        keep(shop, path)
    assert len(path.read_text().splitlines()) == 2
    with shop.work() as work:
        assert read_checkpoint(path, SECRET) == audit.head(work.session)
    assert verdict(shop, read_checkpoint(path, SECRET)).first_bad_seq is None


def test_a_checkpoint_that_we_did_not_write_does_not_count(shop: WorkShop, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    with shop.work() as work:
        note(work)
    keep(shop, path)
    ours = read_checkpoint(path, SECRET)
    line = json.loads(path.read_text())
    for forged in (line | {"seq": 9}, line | {"hash": "0" * 64}, line | {"mac": "x"}, {"seq": 1}, [], 7):
        with path.open("a") as file:
            file.write(json.dumps(forged) + "\nnot json\n")
    assert read_checkpoint(path, SECRET) == ours
    assert read_checkpoint(path, "the secret of another site, long enough") is None
