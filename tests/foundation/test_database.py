"""Engine and column types, the same on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path

import pytest
from sqlalchemy import Engine, String, event, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from csss.foundation.database import Base, Named, UtcDateTime, lock_name, open_engine, sessions


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class _Own(DeclarativeBase):
    type_annotation_map = Base.type_annotation_map


class Parent(_Own):
    __tablename__ = "parent_of_test"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    colour: Mapped[Colour | None] = mapped_column(Named(Colour))
    name: Mapped[str | None] = mapped_column(String(10))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    _Own.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_sqlite_keeps_a_commit_through_a_power_cut_and_trusts_no_schema(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "busy_timeout": 15000,
    }
    engine.dispose()


@pytest.mark.parametrize("offset_hours", [0, 2, -11])
def test_moments_come_back_the_same_and_in_utc(engine: Engine, offset_hours: int) -> None:
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=offset_hours)))
    with sessions(engine)() as session:
        session.add(Parent(id=1, at=moment))
        session.commit()
    with sessions(engine)() as session:
        at = session.get_one(Parent, 1).at
        assert at == moment
        assert at is not None
        assert at.tzinfo is UTC


def test_moments_keep_their_order_in_queries(engine: Engine) -> None:
    early = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=10)))
    late = datetime(2026, 1, 1, 3, tzinfo=UTC)
    with sessions(engine)() as session:
        session.add_all([Parent(id=1, at=late), Parent(id=2, at=early)])
        session.flush()
        assert [row.id for row in session.query(Parent).order_by(Parent.at)] == [2, 1]
        assert [row.id for row in session.query(Parent).filter(Parent.at < late)] == [2]


def test_a_naive_moment_is_refused(engine: Engine) -> None:
    with sessions(engine)() as session:
        session.add(Parent(id=1, at=datetime(2026, 1, 1)))  # noqa: DTZ001 - that is the point
        with pytest.raises(StatementError, match="naive"):
            session.flush()


def test_a_named_value_comes_back_as_its_member_and_nothing_else_does(engine: Engine) -> None:
    with sessions(engine)() as session:
        session.add_all([Parent(id=1, colour=Colour.RED), Parent(id=2, colour=None)])
        session.commit()
    with sessions(engine)() as session:
        assert [row.colour for row in session.query(Parent).order_by(Parent.id)] == [Colour.RED, None]
        session.execute(text("UPDATE parent_of_test SET colour = 'green' WHERE id = 2"))
        session.expire_all()
        with pytest.raises(ValueError, match="green"):
            session.get_one(Parent, 2)
        session.rollback()
        session.add(Parent(id=3, colour="green"))
        with pytest.raises(StatementError, match="green"):
            session.flush()


def test_foreign_keys_are_enforced(engine: Engine) -> None:
    statement = text(
        "INSERT INTO series (id, study_id, uid) VALUES "
        "('00000000000000000000000000000001', '00000000000000000000000000000002', '1')"
    )
    with pytest.raises(IntegrityError), sessions(engine)() as session:
        session.execute(statement)


def test_objects_stay_readable_after_a_commit(engine: Engine) -> None:
    with sessions(engine)() as session:
        row = Parent(id=1, name="kept")
        session.add(row)
        session.commit()
    assert row.name == "kept"


def test_a_sqlite_writer_waits_for_the_one_before_from_its_first_query_on(tmp_path: Path) -> None:
    """BEGIN IMMEDIATE: two that read first and write later cannot meet in a dead end."""
    first, second = (open_engine(f"sqlite:///{tmp_path}/a.db") for _ in range(2))
    event.listen(second, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=50"))
    with first.connect() as holder:
        holder.execute(text("SELECT 1"))
        assert _answers(second) is False
    assert _answers(second) is True
    for engine in (first, second):
        engine.dispose()


def _answers(engine: Engine) -> bool:
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT 1")).scalar() == 1
    except OperationalError:
        return False


def test_a_named_lock_is_held_to_the_end_of_its_transaction(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        with sessions(engine)() as session:
            lock_name(session, "anything")
            assert session.execute(text("SELECT 1")).scalar() == 1
        return
    with sessions(engine)() as holder:
        lock_name(holder, "one")
        assert _tries(engine, "one") is False
        assert _tries(engine, "other") is True
    assert _tries(engine, "one") is True


def _tries(engine: Engine, name: str) -> bool:
    with sessions(engine)() as session:
        session.execute(text("SET LOCAL lock_timeout = '100ms'"))
        return _locks(session, name)


def _locks(session: Session, name: str) -> bool:
    try:
        lock_name(session, name)
    except OperationalError:
        return False
    return True
