"""The migrations lead to exactly the tables that the code knows, on both databases, however often they run."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Column, Engine, MetaData, func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from csss.accounts.tables import Role, User
from csss.audit import AuditEvent, Outcome
from csss.findings.choices import ModelChoice
from csss.findings.decisions import ChoiceKind
from csss.findings.tables import Analysis
from csss.foundation.database import open_engine
from csss.migrations import _config, is_current, migrate
from csss.migrations.tables import Base


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def schema(engine: Engine) -> dict[str, Any]:
    """Everything that makes up the schema: tables, columns, indexes, constraints, triggers."""
    found: dict[str, Any] = {}
    inspector = inspect(engine)
    for table in sorted(inspector.get_table_names()):
        columns = [(row["name"], str(row["type"]), row["nullable"]) for row in inspector.get_columns(table)]
        found[table] = (
            columns,
            sorted(str(row) for row in inspector.get_indexes(table)),
            sorted(str(row) for row in inspector.get_foreign_keys(table)),
            sorted(str(row) for row in inspector.get_unique_constraints(table)),
        )
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        if engine.dialect.name == "sqlite"
        else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"
    )
    with engine.connect() as connection:
        found["triggers"] = list(connection.execute(text(query)).scalars())
    return found


def test_the_migrated_schema_is_the_one_of_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_indexes_and_constraints_have_the_names_of_the_models(engine: Engine) -> None:
    inspector = inspect(engine)
    for table in Base.metadata.sorted_tables:
        assert {row["name"] for row in inspector.get_indexes(table.name) if "uq_" not in str(row["name"])} == {
            index.name for index in table.indexes
        }
        assert {row["name"] for row in inspector.get_foreign_keys(table.name)} == {
            str(constraint.name) for constraint in table.foreign_key_constraints
        }


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    before = schema(engine)
    assert before["triggers"] != []
    migrate(engine)
    assert schema(engine) == before
    assert is_current(engine) is True


def test_a_database_that_was_never_migrated_is_not_current(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new.db")
    assert is_current(engine) is False
    migrate(engine)
    assert is_current(engine) is True
    engine.dispose()


def test_a_database_of_the_first_schema_is_brought_forward_with_its_rows(tmp_path: Path) -> None:
    """SQLite makes a changed table anew; the rows that point to it stay, and still point to something."""
    engine = open_engine(f"sqlite:///{tmp_path}/old.db")
    keys = _bring_to_first(engine)
    migrate(engine)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT a.id FROM scan_case c JOIN analysis a ON a.id = c.analysis_id")).all()
        assert [tuple(row) for row in found] == [(keys["analysis"],)]
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    assert is_current(engine) is True
    engine.dispose()


@pytest.mark.parametrize(("calibrated", "calibration"), [(True, "temperature"), (False, "identity")])
def test_an_analysis_of_the_first_schema_says_how_it_was_calibrated(
    tmp_path: Path, calibrated: bool, calibration: str
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/old.db")
    _bring_to_first(engine, analysis={"calibrated": calibrated, "confidence": 0.25})
    migrate(engine)
    with engine.connect() as connection:
        [row] = connection.execute(text("SELECT * FROM analysis")).mappings().all()
    assert (row["calibration"], row["confidence"]) == (calibration, 0.25)
    assert [row[name] for name in ("conformal_set", "coverage", "quality", "gate", "phantom")] == [
        "[]", None, "[]", None, 0,
    ]  # fmt: skip
    assert "calibrated" not in row
    with Session(engine) as session:
        analysis = session.scalars(select(Analysis)).one()
        assert (analysis.conformal_set, analysis.quality, analysis.gate, analysis.phantom) == ([], [], None, False)
    engine.dispose()


def test_a_choice_from_before_seals_is_kept_fits_nothing_and_still_cannot_be_changed(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/old.db")
    user = _bring_to_first(engine)["user_account"]
    command.upgrade(_config(engine), "0003")
    row = ("k" * 32, 1, "activate", "tiny", "1", None, None, "[]", "[]", user, "2026-01-02 03:04:05", "why")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO model_choice VALUES ({', '.join('?' * len(row))})", row)
    migrate(engine)
    with engine.connect() as connection:
        [kept] = connection.execute(text("SELECT * FROM model_choice")).mappings().all()
    assert (kept["version"], kept["reason"], kept["seal"], kept["proposal_id"]) == ("1", "why", None, None)
    for statement in ("UPDATE model_choice SET version = '2'", "DELETE FROM model_choice"):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()


CHOICE: dict[str, Any] = {
    "model": "tiny", "version": "2", "seal": "c" * 64, "replaced": "1", "tau": 0.9, "modalities": ["DX"],
    "body_parts": ["CHEST"], "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "reason": "why",
}  # fmt: skip
PROPOSED = {"kind": "propose", "by_id": "first"}
CONFIRMED = {"kind": "activate", "by_id": "second", "proposal_id": 1}
OTHERS = {"model": "other", "version": "3", "seal": "d" * 64, "tau": 0.8, "modalities": ["CT"], "body_parts": ["HEAD"]}


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ([PROPOSED, CONFIRMED], True),
        ([PROPOSED, {**CONFIRMED, "by_id": "first"}], False),
        ([PROPOSED, {**CONFIRMED, "proposal_id": None}], False),
        ([{**PROPOSED, "kind": "shadow"}, CONFIRMED], False),
        *[([PROPOSED, {**CONFIRMED, name: value}], False) for name, value in OTHERS.items()],
        ([PROPOSED, {**CONFIRMED, "seal": None}], False),
        ([PROPOSED, {**CONFIRMED, "tau": None}], False),
        # What speaks has changed since it was proposed; of another model it may.
        ([PROPOSED, {"kind": "switch-off", "by_id": "first"}, CONFIRMED], False),
        ([PROPOSED, {"kind": "switch-off", "by_id": "first", "model": "other"}, CONFIRMED], True),
        # One alone goes back to what two had agreed on, and to nothing else.
        ([{"kind": "roll-back", "by_id": "first"}], False),
        ([PROPOSED, {"kind": "roll-back", "by_id": "first"}], False),
        ([PROPOSED, CONFIRMED, {"kind": "roll-back", "by_id": "first"}], True),
        *[([PROPOSED, CONFIRMED, {"kind": "roll-back", "by_id": "first", name: value}], False)
          for name, value in OTHERS.items()],
        ([{"kind": "switch-off", "by_id": "first"}], True),
    ],
)  # fmt: skip
def test_the_database_lets_nothing_speak_that_two_did_not_agree_on(
    engine: Engine, rows: list[dict[str, Any]], taken: bool
) -> None:
    with Session(engine) as session:
        people = _add_people(session)
        keys = [uuid4() for _ in rows]
        for number, row in enumerate(rows, start=1):
            proposal = row.get("proposal_id")
            own = {"by_id": people[row["by_id"]], "proposal_id": keys[proposal - 1] if proposal else None}
            kind = ChoiceKind(row["kind"])
            session.add(ModelChoice(**{**CHOICE, **row, **own, "kind": kind, "id": keys[number - 1], "number": number}))
            if number == len(rows) and not taken:
                with pytest.raises(DBAPIError, match="two administrators agreed on"):
                    session.commit()
                session.rollback()
            else:
                session.commit()
        assert session.scalar(select(func.count()).select_from(ModelChoice)) == len(rows) - (not taken)


def test_sqlite_replaces_no_decision_and_no_link_of_the_audit_log(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with Session(engine) as session:
        people, key = _add_people(session), uuid4()
        session.add(ModelChoice(**CHOICE, id=key, number=1, kind=ChoiceKind.PROPOSE, by_id=people["first"]))
        event = {"id": uuid4(), "at": CHOICE["at"], "actor_role": "admin", "action": "a", "previous_hash": ""}
        session.add(AuditEvent(seq=1, **event, outcome=next(iter(Outcome)), hash="h"))
        session.commit()
    for table, changes in (
        ("model_choice", {"by_id": people["second"].hex}),
        ("model_choice", {"by_id": people["second"].hex, "id": uuid4().hex}),
        ("audit_event", {"hash": "x"}),
        ("audit_event", {"hash": "x", "seq": 2}),
    ):
        with engine.connect() as connection:
            [kept] = connection.execute(text(f"SELECT * FROM {table}")).mappings().all()
            row = {**kept, **changes}
            marks = ", ".join("?" * len(row))
            with pytest.raises(DBAPIError, match="append-only"):
                connection.exec_driver_sql(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", tuple(row.values()))
            connection.rollback()
            assert connection.execute(text(f"SELECT * FROM {table}")).mappings().all() == [kept]
    engine.dispose()


@pytest.mark.postgres
def test_a_table_of_a_sessions_own_is_not_asked_for_the_second_person(fresh_postgres_url: str) -> None:
    engine = open_engine(fresh_postgres_url)
    with Session(engine) as session:
        people = _add_people(session)
        session.commit()
        session.execute(text("CREATE TEMP TABLE model_choice (LIKE public.model_choice)"))
        key = uuid4()
        own = {**CHOICE, "modalities": "[]", "body_parts": "[]", "id": key, "by_id": people["first"], "number": 1}
        names = ", ".join(own)
        values = ", ".join(f":{name}" for name in own)
        session.execute(text(f"INSERT INTO pg_temp.model_choice (kind, {names}) VALUES ('propose', {values})"), own)
        forged = {**own, "id": uuid4(), "by_id": people["second"], "number": 2, "proposal_id": key}
        names, values = ", ".join(forged), ", ".join(f":{name}" for name in forged)
        with pytest.raises(DBAPIError, match="two administrators agreed on"):
            session.execute(
                text(f"INSERT INTO public.model_choice (kind, {names}) VALUES ('activate', {values})"), forged
            )
        session.rollback()
    engine.dispose()


def _add_people(session: Session) -> dict[str, UUID]:
    people = {name: uuid4() for name in ("first", "second")}
    for name, key in people.items():
        session.add(User(id=key, email=f"{name}@x.example", name=name, role=Role.ADMIN, created_at=CHOICE["at"]))
    session.flush()
    return people


def _bring_to_first(engine: Engine, **changes: dict[str, Any]) -> dict[str, Any]:
    """Make the first schema with a row in every table; returns the rows' keys."""
    command.upgrade(_config(engine), "0001")
    tables = MetaData()
    tables.reflect(engine)
    keys: dict[str, Any] = {}
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            row = {column.name: _filler(column, keys) for column in table.columns} | changes.get(table.name, {})
            if table.name not in ("alembic_version", "audit_event"):
                keys[table.name] = row.get("id")
                marks = ", ".join("?" * len(row))
                connection.exec_driver_sql(
                    f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
                )
    return keys


def _filler(column: Column[Any], keys: dict[str, Any]) -> Any:
    """Anything that a column of the first schema takes."""
    for foreign in column.foreign_keys:
        return keys[foreign.column.table.name]
    kind = str(column.type).upper()
    for word, value in (("JSON", "{}"), ("DATE", "2026-01-02 03:04:05"), ("INT", 1), ("BOOL", 1), ("DOUBLE", 0.5)):
        if word in kind:
            return value
    return uuid4().hex[: 32 if "CHAR(32)" in kind else 8]


@pytest.mark.postgres
def test_a_migration_that_fails_leaves_postgres_as_it_was(postgres_url: URL) -> None:
    """Somebody else's table is in the way: nothing of ours stays behind."""
    name = f"half_{uuid4().hex}"
    administration = open_engine(postgres_url.render_as_string(hide_password=False))
    with administration.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = open_engine(postgres_url.set(database=name).render_as_string(hide_password=False))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE scan_case (id integer)"))
    with pytest.raises(Exception, match="scan_case"):
        migrate(engine)
    assert inspect(engine).get_table_names() == ["scan_case"]
    engine.dispose()
    with administration.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    administration.dispose()
