"""Somebody with the database in hand, who drops the triggers first: whatever they do to the chain is found."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from audit.chains import make_shop, note
from csss import audit
from csss.audit import GENESIS, AuditEvent, ChainVerdict, keep_checkpoint, read_checkpoint, verify_chain
from csss.foundation.blobs import BlobStore
from csss.foundation.clock import SetClock
from csss.foundation.database import sessions
from csss.foundation.vault import Vault
from csss.foundation.work import Work, WorkShop

SECRET = "a secret of the site, long enough"
ROWS = 30


@dataclass
class Opened:
    """A chain of ROWS links without its triggers, and the checkpoint that was kept of it."""

    engine: Engine
    checkpoint: tuple[int, str]

    def verdict_after(self, attack: Callable[[Connection], object], *, checkpoint: bool = True) -> ChainVerdict:
        """What `verify_chain` says after an attack; the attack is undone."""
        with self.engine.connect() as connection, Session(connection) as session:
            attack(connection)
            found = verify_chain(session, expected=self.checkpoint if checkpoint else None)
            connection.rollback()
        return found


@pytest.fixture(scope="module")
def chain(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    path = tmp_path_factory.mktemp("chain") / "csss.db"
    path.write_bytes(sqlite_template.read_bytes())
    clock = SetClock(datetime(2026, 11, 2, 9, 0, tzinfo=UTC))
    engine, shop = make_shop(f"sqlite:///{path}", clock)
    for index in range(ROWS):
        clock.move(timedelta(seconds=1))
        with shop.work() as work:
            note(work, f"step.{index % 4}", revision=index % 3, detail={"count": index})
    with engine.begin() as connection:
        for action in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER audit_event_no_{action}"))
    with shop.work() as work:
        newest = audit.head(work.session)
    yield Opened(engine, newest)
    engine.dispose()


def run(statement: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(text(statement))


def swap(one: int, other: int) -> Callable[[Connection], object]:
    def attack(connection: Connection) -> None:
        for source, target in ((one, -1), (other, one), (-1, other)):
            connection.execute(text(f"UPDATE audit_event SET seq = {target} WHERE seq = {source}"))

    return attack


def renumber(connection: Connection, start: int, by: int) -> None:
    """Move all numbers from ``start`` on, out of the way and back, because each must stay unique."""
    connection.execute(text(f"UPDATE audit_event SET seq = -seq WHERE seq >= {start}"))
    connection.execute(text(f"UPDATE audit_event SET seq = {by} - seq WHERE seq < 0"))


def insert(at: int) -> Callable[[Connection], object]:
    """Put a copy of the link ``at`` before it, under a new id, with a hash that fits its predecessor."""

    def attack(connection: Connection) -> None:
        renumber(connection, at, 1)
        columns = "at, actor_id, actor_role, action, outcome, object_type, object_id, revision, detail, previous_hash"
        connection.execute(
            text(
                f"INSERT INTO audit_event (seq, id, {columns}, hash) "
                f"SELECT {at}, '{UUID(int=at).hex}', {columns}, '' FROM audit_event WHERE seq = {at + 1}"
            )
        )
        rehash(connection, at, at)

    return attack


def rehash(connection: Connection, first: int, last: int) -> None:
    """Give links hashes that fit, as somebody who knows the rule would."""
    with Session(connection) as session:
        previous = GENESIS if first == 1 else session.get_one(AuditEvent, first - 1).hash
        for seq in range(first, last + 1):
            row = session.get_one(AuditEvent, seq)
            row.previous_hash = previous
            row.hash = previous = audit.link_hash(row)
        session.flush()
        session.expunge_all()


def take_out_and_close(seq: int) -> Callable[[Connection], object]:
    def attack(connection: Connection) -> None:
        connection.execute(text(f"DELETE FROM audit_event WHERE seq = {seq}"))
        renumber(connection, seq + 1, -1)

    return attack


def rewrite(first: int) -> Callable[[Connection], object]:
    def attack(connection: Connection) -> None:
        connection.execute(text(f"UPDATE audit_event SET action = 'nothing.happened' WHERE seq = {first}"))
        rehash(connection, first, ROWS)

    return attack


def cut(length: int) -> Callable[[Connection], object]:
    return run(f"DELETE FROM audit_event WHERE seq > {length}")


def test_the_untouched_chain_holds(chain: Opened) -> None:
    assert chain.verdict_after(lambda _: None) == ChainVerdict(ROWS, chain.checkpoint[1], None, None)


@pytest.mark.parametrize(
    ("attack", "first_bad_seq", "reason"),
    [
        (run("UPDATE audit_event SET actor_role = 'admin' WHERE seq = 7"), 7, "a link was changed"),
        (run("UPDATE audit_event SET hash = previous_hash WHERE seq = 30"), 30, "a link was changed"),
        (run("DELETE FROM audit_event WHERE seq = 1"), 1, "a link is missing"),
        (run("DELETE FROM audit_event WHERE seq = 12"), 12, "a link is missing"),
        (take_out_and_close(12), 12, "a link was changed"),
        (insert(5), 6, "a link was changed"),
        (swap(3, 20), 3, "a link was changed"),
        (run("UPDATE audit_event SET detail = '{not json' WHERE seq = 9"), 9, "a link cannot be read"),
        (run("UPDATE audit_event SET outcome = 'maybe' WHERE seq = 9"), 9, "a link cannot be read"),
        (run("UPDATE audit_event SET at = 'yesterday' WHERE seq = 9"), 9, "a link cannot be read"),
        (run("UPDATE audit_event SET id = 'x' WHERE seq = 30"), 30, "a link cannot be read"),
    ],
)
def test_tampering_is_found_where_it_begins(
    chain: Opened, attack: Callable[[Connection], object], first_bad_seq: int, reason: str
) -> None:
    found = chain.verdict_after(attack, checkpoint=False)
    assert (found.first_bad_seq, found.reason) == (first_bad_seq, reason)
    assert found.length == first_bad_seq - 1


@pytest.mark.parametrize(
    ("attack", "first_bad_seq", "reason"),
    [
        (cut(ROWS - 1), ROWS, "links that a checkpoint knows are gone"),
        (cut(0), 1, "links that a checkpoint knows are gone"),
        (rewrite(1), ROWS, "the chain differs from its checkpoint"),
        (rewrite(ROWS), ROWS, "the chain differs from its checkpoint"),
    ],
)
def test_a_cut_tail_and_a_whole_rewrite_are_found_with_the_checkpoint_alone(
    chain: Opened, attack: Callable[[Connection], object], first_bad_seq: int, reason: str
) -> None:
    assert chain.verdict_after(attack, checkpoint=False).first_bad_seq is None
    found = chain.verdict_after(attack)
    assert (found.first_bad_seq, found.reason) == (first_bad_seq, reason)


def _edit(chance: random.Random) -> Callable[[Connection], object]:
    column, value = chance.choice(
        [
            ("actor_role", "'forged'"),
            ("actor_role", "''"),
            ("action", "action || '.'"),
            ("outcome", "'denied'"),
            ("outcome", "NULL"),
            ("actor_id", "NULL"),
            ("object_type", "NULL"),
            ("object_type", "''"),
            ("object_id", f"'{UUID(int=chance.getrandbits(120)).hex}'"),
            ("revision", "revision + 1"),
            ("revision", "NULL"),
            ("detail", "'{}'"),
            ("detail", "'null'"),
            ("detail", "replace(detail, 'count', 'sum')"),
            ("detail", "substr(detail, 2)"),
            ("detail", "5"),
            ("at", "5"),
            ("at", "replace(at, '2026', '2025')"),
            ("id", f"'{UUID(int=chance.getrandbits(120)).hex}'"),
            ("previous_hash", "hash"),
            ("previous_hash", "upper('a' || substr(previous_hash, 2))"),
            ("hash", "replace(hash, substr(hash, 1, 1), 'g')"),
        ]
    )
    # OR IGNORE: a NOT NULL column stays as it is, and then there is nothing to find.
    return run(f"UPDATE audit_event SET {column} = {value} WHERE seq = {chance.randint(1, ROWS)}")


def _attack(chance: random.Random) -> Callable[[Connection], object]:
    place, other = chance.sample(range(1, ROWS + 1), 2)
    return chance.choice(
        [
            _edit(chance),
            run(f"DELETE FROM audit_event WHERE seq = {place}"),
            take_out_and_close(place),
            insert(place),
            swap(place, other),
            cut(place - 1),
            rewrite(place),
        ]
    )


def test_five_hundred_random_attacks_are_all_found(chain: Opened) -> None:
    chance, missed, tried = random.Random(20261102), [], 0
    while tried < 500:
        attack = _attack(chance)
        try:
            found = chain.verdict_after(attack)
        except DBAPIError:
            continue  # a constraint of the table refused the attack itself
        tried += 1
        if found.first_bad_seq is None:
            missed.append(tried)
    assert missed == []


def test_a_rewritten_chain_gets_no_new_checkpoint(chain: Opened, tmp_path: Path, clock: SetClock) -> None:
    """Otherwise the next routine checkpoint would bless the rewrite, and nobody would ever find it."""
    path = tmp_path / "checkpoints"
    shop = WorkShop(sessions(chain.engine), BlobStore("memory://", Vault({1: bytes(range(32))})), clock)
    with shop.work() as work:
        keep_checkpoint(work, path, SECRET)
    known = path.read_text()
    with chain.engine.connect() as connection:
        rewrite(4)(connection)
        with Session(connection) as session:
            work = Work(session, shop.blobs, None, clock)  # type: ignore[arg-type]
            newest = AuditEvent(
                **{c.key: getattr(session.get_one(AuditEvent, ROWS), c.key) for c in AuditEvent.__table__.columns}
            )
            newest.seq, newest.id, newest.previous_hash = ROWS + 1, UUID(int=1), newest.hash
            newest.hash = audit.link_hash(newest)
            session.add(newest)
            session.flush()
            keep_checkpoint(work, path, SECRET)
            found = verify_chain(session, expected=read_checkpoint(path, SECRET))
            session.expunge_all()
        connection.rollback()
    assert path.read_text() == known
    assert (found.first_bad_seq, found.reason) == (ROWS, "the chain differs from its checkpoint")
