"""The worker of a process: takes due jobs while it has free hands, and cares for those that were left behind."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from csss.foundation.errors import Conflict
from csss.foundation.logs import log
from csss.foundation.work import Work, WorkShop
from csss.worker.claims import Claim, Superseded, fail, give_back, started_claims, take_due
from csss.worker.engine import Engine, EngineLost
from csss.worker.perform import Handler, perform
from csss.worker.presence import LEASE_SECONDS, Presence, Watch

_AFTER_ERROR_SECONDS = 1.0
_RECONCILE_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0
_SWEEP_SECONDS = 3600.0
_KEEP_RECORDS = timedelta(days=1)

Tend = Callable[[Work], None]

_log = log("worker")
_only_one = threading.Lock()  # DBOS is one for a process


class WorkerAlreadyRunning(Conflict):
    code = "worker-already-running"


class Worker:
    """Runs job requests with ``handlers`` on DBOS, from `start` (or ``with``) to `stop`; one for a process.

    ``queue_url`` is DBOS's own database: a file beside ours for SQLite, so that its writes do not wait for
    ours, or the same PostgreSQL server (schema dbos). It may be lost: the truth is the table job_request.
    ``executor_id`` is a label for logs; a part that is unique for each run is added. ``concurrency`` jobs run
    at once. A worker that gives no sign of life for ``lease_seconds`` loses its jobs to another. Commits in
    this process wake it; every ``poll_seconds`` it looks for what other processes asked for and what fell due.
    Kinds without a handler are left to workers that have one. ``tend`` is called every few seconds with a unit
    of work of its own, for what the rooms want looked after.
    """

    def __init__(
        self,
        shop: WorkShop,
        handlers: Mapping[str, Handler],
        *,
        queue_url: str,
        executor_id: str | None = None,
        concurrency: int = 2,
        lease_seconds: float = LEASE_SECONDS,
        poll_seconds: float = 1.0,
        tend: Tend | None = None,
    ) -> None:
        self._shop = shop
        self._tend = tend
        self._handlers = dict(handlers)
        self._queue_url = queue_url
        self._label = executor_id
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._woken = threading.Event()

    def start(self) -> None:
        """Start DBOS and the dispatching thread, and be woken by the shop's commits from now on.

        Raises `WorkerAlreadyRunning` for a second worker in one process, `EngineLost` if DBOS does not start.
        """
        if not _only_one.acquire(blocking=False):
            raise WorkerAlreadyRunning("A worker is already running in this process.")
        try:
            self._enter()
        except BaseException:
            _only_one.release()
            raise
        self._watch = Watch(self._shop, own_id=self._own_id, lease_seconds=self._lease_seconds)
        self._engine_is_lost = False
        self._next_reconcile = self._next_sweep = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_dispatching, name="worker-dispatch", daemon=True)
        self._shop.wake_worker = self.wake  # before the first look, or a commit in between waits for the next
        self._thread.start()

    def stop(self, grace_seconds: float = 20.0) -> None:
        """Take no more jobs, let the running ones end, and leave the process as it was before `start`.

        A job that is not done after the grace runs on in its thread, and this executor goes on giving signs
        of life for it, until the process ends; then another worker takes it over.
        """
        self._shop.wake_worker = _do_nothing
        self._stopping.set()
        self.wake()
        self._thread.join()
        until = time.monotonic() + grace_seconds
        while self._engine.held() and time.monotonic() < until:
            self._woken.wait(0.1)
            self._woken.clear()
        try:
            self._leave()
        finally:
            _only_one.release()

    def wake(self) -> None:
        """Have the dispatcher look now; cheap, and may be called from any thread."""
        self._woken.set()

    def __enter__(self) -> "Worker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _own_id(self) -> str:
        return self._presence.executor_id

    def _enter(self) -> None:
        self._presence = Presence(self._shop, name=self._label, lease_seconds=self._lease_seconds)
        self._engine = Engine(
            self._attempt,
            self.wake,
            queue_url=self._queue_url,
            executor_id=self._own_id,
            concurrency=self._concurrency,
        )
        self._engine.launch()
        try:
            self._presence.start()
        except BaseException:
            self._engine.shut_down()
            raise

    def _leave(self) -> None:
        is_idle = not self._engine.held()
        self._engine.shut_down()
        if is_idle:
            self._presence.stop()
        else:
            _log.warning("worker-left-running-jobs", extra={"executor": self._own_id})

    def _attempt(self, job_id: str, attempt: int) -> None:
        perform(self._shop, self._handlers, job_id=UUID(job_id), attempt=attempt, owner=self._own_id)

    def _keep_dispatching(self) -> None:
        while not self._stopping.is_set():
            try:
                self._take_turn()
            except Exception:  # noqa: BLE001 - a database that is away comes back; without this thread nothing runs
                _log.warning("dispatch-failed", exc_info=True, extra={"executor": self._own_id})
                self._stopping.wait(_AFTER_ERROR_SECONDS)
            self._woken.wait(self._poll_seconds)
            self._woken.clear()

    def _take_turn(self) -> None:
        now = time.monotonic()
        if now >= self._next_reconcile:
            self._next_reconcile = now + min(_RECONCILE_SECONDS, self._lease_seconds / 4)
            self._reconcile()
        if self._engine_is_lost:
            self._renew_engine()
        free = self._concurrency - len(self._engine.held())
        if free <= 0 or self._engine_is_lost:
            return
        for claim in take_due(self._shop, owner=self._own_id, kinds=self._handlers.keys(), limit=free):
            self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        try:
            if self._engine.start(claim.workflow_id, str(claim.job_id), claim.attempt):
                return
            self.wake()  # the next look takes it again, under the next id
        except EngineLost:
            _log.error("job-engine-lost", exc_info=True, extra=claim.log_fields)
            self._engine_is_lost = True
        with self._shop.work() as work, suppress(Superseded):
            give_back(work, claim)

    def _renew_engine(self) -> None:
        # Running jobs need nothing more of DBOS than their thread, but leave it only when they have ended.
        if self._engine.held():
            return
        self._engine.shut_down()
        self._engine.launch()
        self._engine_is_lost = False

    def _reconcile(self) -> None:
        self._watch.take_over()
        self._engine.drop_lost(_PATIENCE_SECONDS)
        self._ask_again_for_lost_jobs()
        if self._tend is not None:
            with self._shop.work() as work:
                self._tend(work)
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self._engine.sweep(self._shop.clock.now() - _KEEP_RECORDS)

    def _ask_again_for_lost_jobs(self) -> None:
        """Ask again for what this executor has started, but DBOS does not run (any more)."""
        with self._shop.work() as work:
            for claim in started_claims(work, self._own_id):
                if claim.workflow_id not in self._engine.held():
                    with suppress(Superseded):  # it ended well between the two looks
                        fail(work, claim, "job-engine-lost", again_at_once=True)


def _do_nothing() -> None:
    return None
