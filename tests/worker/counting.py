"""Jobs whose effects can be counted, and a worker process that runs them until its standard input ends."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import Column, Integer, MetaData, Table, Uuid, create_engine, insert, select, text

from csss.foundation.blobs import BlobStore
from csss.foundation.clock import SetClock, SystemClock
from csss.foundation.database import open_engine, sessions
from csss.foundation.ids import new_id
from csss.foundation.jobs import JobRequest, JobStatus
from csss.foundation.work import Work, WorkShop
from csss.worker import Handler, Worker

# No key: an effect that happened twice must show as two rows.
effects = Table("effect", MetaData(), Column("subject_id", Uuid), Column("pid", Integer))


@dataclass(frozen=True, slots=True)
class Site:
    """One database of jobs and effects."""

    shop: WorkShop
    clock: SetClock
    folder: Path
    database_url: str
    queue_url: str

    def request(self, kind: str, *, run_at: datetime | None = None) -> UUID:
        """Ask for one job of a new subject; return the subject."""
        subject = new_id()
        with self.shop.work() as work:
            work.jobs.request(kind, subject, run_at=run_at)
        return subject

    def job(self, subject: UUID) -> JobRequest:
        with self.shop.work() as work:
            return work.session.scalars(select(JobRequest).where(JobRequest.subject_id == subject)).one()

    def statuses(self) -> list[str]:
        with self.shop.work() as work:
            return list(work.session.scalars(select(JobRequest.status).order_by(JobRequest.id)))

    def effects(self) -> list[UUID]:
        with self.shop.work() as work:
            return list(work.session.scalars(select(effects.c.subject_id).order_by(effects.c.subject_id)))

    def pids(self) -> set[int]:
        with self.shop.work() as work:
            return set(work.session.scalars(select(effects.c.pid)))

    def is_done(self) -> bool:
        return set(self.statuses()) == {JobStatus.DONE}

    @contextmanager
    def other_process(self, *, hang: bool = False, lease_seconds: float = 60) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker in another process until the block ends (or somebody kills it)."""
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        arguments = [self.database_url, self.queue_url, str(self.folder), str(lease_seconds), str(int(hang))]
        process = subprocess.Popen([sys.executable, __file__, *arguments], stdin=subprocess.PIPE, env=environment)
        try:
            wait_until(lambda: (self.folder / f"ready-{process.pid}").exists())
            yield process
        finally:
            process.communicate(timeout=30)


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for the condition, or fail."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def drop_queue_tables(site: Site) -> None:
    """Take everything of DBOS's away, while it runs or not."""
    engine = create_engine(site.queue_url)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            tables = MetaData()
            tables.reflect(connection)
            tables.drop_all(connection)
        else:
            connection.execute(text("DROP SCHEMA IF EXISTS dbos CASCADE"))
    engine.dispose()


def count(work: Work, subject: UUID) -> None:
    work.session.execute(insert(effects).values(subject_id=subject, pid=os.getpid()))


def make_slow(seconds: float) -> Handler:
    """Return a handler that is slow before its transaction begins, as the real ones are."""

    def slow(work: Work, subject: UUID) -> None:
        time.sleep(seconds)
        count(work, subject)

    return slow


def _serve(database_url: str, queue_url: str, folder: Path, lease_seconds: float, hang: bool) -> None:
    def doomed(work: Work, subject: UUID) -> None:
        count(work, subject)
        if hang:
            (folder / "in-the-middle").touch()
            time.sleep(600)

    handlers: dict[str, Handler] = {"count": count, "brief": make_slow(0.06), "doomed": doomed}
    engine = open_engine(database_url)
    shop = WorkShop(sessions(engine), BlobStore.__new__(BlobStore), SystemClock())
    with Worker(shop, handlers, queue_url=queue_url, lease_seconds=lease_seconds):
        (folder / f"ready-{os.getpid()}").touch()
        sys.stdin.read()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]), sys.argv[5] == "1")
