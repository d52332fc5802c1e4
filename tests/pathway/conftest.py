"""A site that a whole module shares."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from csss.foundation.clock import SetClock
from csss.imaging.sandbox import Sandbox
from mailbox_server import Mailbox
from pathway.versions import make_shelf
from sites import Site, open_site


@pytest.fixture(scope="module")
def shared_site(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    sandbox: Sandbox,
    tiny_models: Path,
    mail_server: Mailbox,
) -> Iterator[Site]:
    """A site of a whole module, for tests that leave it as it was or work on a case of their own."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copyfile(sqlite_template, folder / "csss.db")
    clock = SetClock(datetime(2026, 11, 2, 9, 0, tzinfo=UTC))
    with open_site(f"sqlite:///{folder}/csss.db", folder, clock, sandbox, tiny_models, mail_server) as opened:
        for name in ("patient", "doctor", "second doctor", "pharmacist", "admin"):
            opened.person(name)
        yield opened


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf with versions 1 and 2 of one model."""
    return make_shelf(tmp_path_factory.mktemp("two"))


@pytest.fixture
def versions_site(
    database_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, two_versions: Path, mailbox: Mailbox
) -> Iterator[Site]:
    with open_site(database_url, tmp_path, clock, sandbox, two_versions, mailbox) as opened:
        yield opened
