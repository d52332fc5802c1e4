"""One signing key for all sites of these tests, and a site that a whole module shares."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from csss.foundation.clock import SetClock
from csss.imaging.sandbox import Sandbox
from csss.reports.seal import make_site_identity
from mailbox_server import Mailbox
from sites import Site, open_site

MADE_AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def site_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signing identity: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("site") / "keys"
    folder.mkdir()
    (folder / "signing.p12").write_bytes(make_site_identity("Test Hospital", password=b"word", made_at=MADE_AT))
    (folder / "signing.password").write_bytes(b"word")
    return folder


@pytest.fixture(autouse=True)
def with_site_key(site_key: Path, tmp_path: Path) -> None:
    shutil.copytree(site_key, tmp_path / "keys")


@pytest.fixture(scope="module")
def shared_site(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    site_key: Path,
    sandbox: Sandbox,
    tiny_models: Path,
    mail_server: Mailbox,
) -> Iterator[Site]:
    """A site of a whole module, for tests that leave it as it was or work on a case of their own."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copyfile(sqlite_template, folder / "csss.db")
    shutil.copytree(site_key, folder / "keys")
    clock = SetClock(datetime(2026, 11, 2, 9, 0, tzinfo=UTC))
    with open_site(f"sqlite:///{folder}/csss.db", folder, clock, sandbox, tiny_models, mail_server) as opened:
        for name in ("patient", "doctor", "second doctor", "pharmacist", "admin"):
            opened.person(name)
        yield opened
