"""The migrations lead to exactly the tables that the code knows, on both databases, however often they run."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Column, Engine, MetaData, func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from csss.accounts.tables import Role, User
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


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, True),
        ({"by_id": "proposer"}, False),
        ({"proposal_id": None}, False),
        ({"proposal_id": "a shadow"}, False),
        ({"model": "other"}, False),
        ({"version": "3"}, False),
        ({"seal": "d" * 64}, False),
        ({"seal": None}, False),
        ({"tau": None}, False),
        ({"tau": 0.8}, False),
        ({"kind": ChoiceKind.ROLL_BACK, "proposal_id": None, "by_id": "proposer"}, True),
    ],
)
def test_the_database_demands_a_second_person_for_an_activation(
    engine: Engine, changed: dict[str, Any], taken: bool
) -> None:
    keys = {name: uuid4() for name in ("proposer", "second", "a proposal", "a shadow")}
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    choice = {
        "model": "tiny", "version": "2", "seal": "c" * 64, "replaced": "1", "tau": 0.9, "modalities": [],
        "body_parts": [], "at": now, "reason": "why",
    }  # fmt: skip
    with Session(engine) as session:
        for name in ("proposer", "second"):
            session.add(User(id=keys[name], email=f"{name}@x.example", name=name, role=Role.ADMIN, created_at=now))
        session.flush()
        for number, (name, kind) in enumerate((("a proposal", "propose"), ("a shadow", "shadow")), start=1):
            session.add(
                ModelChoice(id=keys[name], number=number, kind=ChoiceKind(kind), by_id=keys["proposer"], **choice)
            )
        session.commit()
        row: dict[str, Any] = {
            **choice, "id": uuid4(), "number": 3, "kind": ChoiceKind.ACTIVATE, "by_id": "second",
            "proposal_id": "a proposal", **changed,
        }  # fmt: skip
        session.add(
            ModelChoice(
                **{name: keys.get(value, value) if isinstance(value, str) else value for name, value in row.items()}
            )
        )
        if taken:
            session.commit()
        else:
            with pytest.raises(DBAPIError, match="confirms what another administrator proposed"):
                session.commit()
            session.rollback()
        assert session.scalar(select(func.count()).select_from(ModelChoice)) == 2 + taken


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
