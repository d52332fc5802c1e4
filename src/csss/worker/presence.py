"""Shows that an executor lives, and finds the ones that do not.

Two signs. Everywhere: a counter in worker_heartbeat that moves. An observer takes an executor for dead when it
has itself watched the counter stand still for a whole lease by its own monotonic clock; neither a clock that
jumps nor two clocks that differ can make a living one look dead. On SQLite also: a lock on a file beside the
database. The kernel drops it the moment its process ends, however it ends, and SQLite's users share one kernel;
so work goes on at once after kill -9, and there is no process id that might have been given to somebody else.
"""

import fcntl
import os
import re
import socket
import threading
import time
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from csss.foundation.ids import new_id
from csss.foundation.jobs import JobRequest, JobStatus, WorkerHeartbeat
from csss.foundation.logs import log
from csss.foundation.work import Work, WorkShop
from csss.worker.claims import Superseded, fail, started_claims

LEASE_SECONDS = 60.0
_BEATS_PER_LEASE = 6

_log = log("worker")


class Presence:
    """An executor's own sign of life, from `start` (or ``with``) to `stop`."""

    def __init__(self, shop: WorkShop, *, name: str | None = None, lease_seconds: float = LEASE_SECONDS) -> None:
        self.executor_id = _make_executor_id(name)
        self._shop = shop
        self._pause_seconds = lease_seconds / _BEATS_PER_LEASE
        with shop.work() as work:
            self._lock_path = _find_lock_path(work.session, self.executor_id)
        self._lock: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="worker-heartbeat", daemon=True)

    def start(self) -> None:
        """Be seen: first the lock, then the row, so that whoever finds the row can ask the lock."""
        if self._lock_path is not None:
            self._lock = _take_lock(self._lock_path)
        self.beat()
        self._thread.start()

    def stop(self) -> None:
        """Take leave; only when no job of this executor runs any more."""
        self._stopping.set()
        self._thread.join()
        with self._shop.work() as work:
            work.session.execute(delete(WorkerHeartbeat).where(WorkerHeartbeat.executor_id == self.executor_id))
        if self._lock_path is not None and self._lock is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)

    def __enter__(self) -> "Presence":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def beat(self) -> None:
        """Move the counter; write the row anew if somebody had buried this executor."""
        with self._shop.work() as work:
            now = work.clock.now()
            moved = work.session.execute(
                update(WorkerHeartbeat)
                .where(WorkerHeartbeat.executor_id == self.executor_id)
                .values(beats=WorkerHeartbeat.beats + 1, beat_at=now)
                .returning(WorkerHeartbeat.executor_id)
                .execution_options(synchronize_session=False)
            )
            if moved.first() is None:
                work.session.add(
                    WorkerHeartbeat(
                        executor_id=self.executor_id,
                        started_at=now,
                        beat_at=now,
                        hostname=socket.gethostname()[:255],
                        pid=os.getpid(),
                    )
                )

    def _keep_beating(self) -> None:
        while not self._stopping.wait(self._pause_seconds):
            try:
                self.beat()
            except Exception:  # noqa: BLE001 - a database that is away may come back before the lease ends
                _log.warning("heartbeat-missed", exc_info=True, extra={"executor": self.executor_id})


class Watch:
    """What one observer has seen of the other executors."""

    def __init__(self, shop: WorkShop, *, own_id: str, lease_seconds: float = LEASE_SECONDS) -> None:
        self._shop = shop
        self._own_id = own_id
        self._lease_seconds = lease_seconds
        self._seen: dict[str, tuple[int, float]] = {}  # beats, and when this observer saw them first

    def take_over(self) -> int:
        """Bury the dead and ask again for the jobs that they had started; return how many jobs.

        A job simply becomes a request again, and its next attempt another workflow. DBOS could resume the old
        workflow instead, but it has one step, whose result is either in our table or rolled back: there is
        nothing to resume, and a second way to start would need a second proof.
        """
        with self._shop.work() as work:
            rows = work.session.execute(select(WorkerHeartbeat.executor_id, WorkerHeartbeat.beats))
            beats = {executor: count for executor, count in rows}
            owners = work.session.scalars(
                select(JobRequest.lease_owner).where(JobRequest.status == JobStatus.STARTED).distinct()
            )
            known = {*beats, *(owner for owner in owners if owner)} - {self._own_id}
            self._seen = {executor: seen for executor, seen in self._seen.items() if executor in known}
            dead = [executor for executor in sorted(known) if self._is_dead(work, executor, beats.get(executor))]
            return sum(bury(work, executor, beats.get(executor)) for executor in dead)

    def _is_dead(self, work: Work, executor: str, beats: int | None) -> bool:
        if beats is None:
            return True  # it has taken leave, or was buried; the row comes before the first job
        lock = _find_lock_path(work.session, executor)
        if lock is not None and _is_free(lock):
            return True
        now = time.monotonic()
        before = self._seen.get(executor)
        if before is None or before[0] != beats:
            self._seen[executor] = (beats, now)
            return False
        return now - before[1] > self._lease_seconds


def bury(work: Work, executor: str, beats: int | None) -> int:
    """Ask again for the jobs of an executor that was seen dead at that count, unless it moved; return how many."""
    if beats is not None:
        buried = work.session.execute(
            delete(WorkerHeartbeat)
            .where(WorkerHeartbeat.executor_id == executor, WorkerHeartbeat.beats == beats)
            .returning(WorkerHeartbeat.executor_id)
            .execution_options(synchronize_session=False)
        )
        if buried.first() is None:
            return 0  # it has moved since we looked, or another observer was quicker
    claims = started_claims(work, executor)
    for claim in claims:
        try:
            fail(work, claim, "worker-died", again_at_once=True)
        except Superseded:
            continue
    lock = _find_lock_path(work.session, executor)
    if lock is not None and _is_free(lock):
        lock.unlink(missing_ok=True)
    _log.warning("dead-worker-taken-over", extra={"executor": executor, "count": len(claims)})
    return len(claims)


def _make_executor_id(name: str | None) -> str:
    # The random end makes it the name of one run: an executor that returns under an old name would be
    # taken for the owner of jobs that nobody runs any more.
    label = re.sub(r"[^A-Za-z0-9.]+", "-", name or f"{socket.gethostname()[:30]}-{os.getpid()}")
    return f"{label[:46]}-{new_id().hex}"


def _find_lock_path(session: Session, executor: str) -> Path | None:
    url = session.get_bind().engine.url
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database).with_name(f"worker-{executor}.lock")


def _take_lock(path: Path) -> int:
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _is_free(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # somebody tidied up: the counter has to tell
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)
