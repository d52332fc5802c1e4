"""A database of jobs whose effects can be counted, on both kinds of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from csss.foundation.blobs import BlobStore
from csss.foundation.clock import SetClock
from csss.foundation.database import open_engine, sessions
from csss.foundation.work import WorkShop
from worker.counting import Site, effects


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    effects.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine: Engine, database_url: str, clock: SetClock, tmp_path: Path) -> Site:
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
