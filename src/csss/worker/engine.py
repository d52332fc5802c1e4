"""DBOS, and all that this house knows of it: one workflow of one step for each attempt of a job.

Attempts are started directly, not through a DBOS queue. A queue hands a workflow to any process at its next
poll; the table job_request has already chosen the process and counted its free hands when it gave the claim, so
a second choice would only add a delay and separate the lease from whoever runs the job. For the same reason
DBOS never recovers anything on its own: its executor id is new in each run.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from csss.foundation.errors import Unavailable

APPLICATION_VERSION = "csss-jobs-1"  # pinned: DBOS would derive it from source text and shun older workflows
_SWEEP_BATCH = 500

Attempt = Callable[[str, int], None]  # job id, attempt; it never raises what must not be recorded


class EngineLost(Unavailable):
    """DBOS or its database does not answer."""

    code = "job-engine-lost"


class Engine:
    """The process's one DBOS instance, and which attempts it holds."""

    def __init__(
        self,
        attempt: Attempt,
        ended: Callable[[], None],
        *,
        queue_url: str,
        executor_id: str,
        concurrency: int,
    ) -> None:
        self._attempt = attempt
        self._ended = ended  # called whenever a hand has become free
        self._queue_url = queue_url
        self._executor_id = executor_id
        self._concurrency = concurrency
        self._guard = threading.Lock()
        self._held: dict[str, float | None] = {}  # workflow id -> when it was handed over; None once it began
        self._quiet = logging.NullHandler()

    def launch(self) -> None:
        """Start DBOS, creating or migrating its database. Raises `EngineLost`."""
        # Imported here, because it takes longer than all the rest and the command line mostly does without.
        from dbos import DBOS, error

        # With a handler present DBOS adds none of its own, and its lines go the way of all the others.
        logging.getLogger("dbos").addHandler(self._quiet)
        try:
            _prepare_sqlite(self._queue_url)
            DBOS(
                config={
                    "name": "csss",
                    "system_database_url": self._queue_url,
                    "sys_db_pool_size": self._concurrency + 4,
                    "application_version": APPLICATION_VERSION,
                    "executor_id": self._executor_id,
                    "log_level": "WARNING",
                    "use_listen_notify": False,  # no workflow here waits for another
                    # A thread sleeps this long between looks at an empty list; leaving has to wait for it.
                    "notification_listener_polling_interval_sec": 0.25,
                }
            )
            self._workflow = DBOS.workflow(name="job")(self._make_workflow())
            DBOS.launch()
        except (error.DBOSException, SQLAlchemyError, sqlite3.Error, OSError) as fault:
            self.shut_down()
            raise EngineLost("The job engine could not be started.") from fault

    def shut_down(self) -> None:
        """Stop DBOS and take its registrations out of the process."""
        from dbos import DBOS

        DBOS.destroy(destroy_registry=True)
        logging.getLogger("dbos").removeHandler(self._quiet)

    def start(self, workflow_id: str, job_id: str, attempt: int) -> bool:
        """Hand one attempt over, which then runs in a thread of DBOS. Raises `EngineLost`.

        Return False if nothing will run, because DBOS knows the id from another executor: that happens when
        our database was restored from a backup that is older than DBOS's.
        """
        from dbos import DBOS, SetWorkflowID, error

        with self._guard:
            self._held[workflow_id] = time.monotonic()
        try:
            with SetWorkflowID(workflow_id):
                handle = DBOS.start_workflow(self._workflow, job_id, attempt)
            is_ours = handle.get_status().executor_id == self._executor_id
        except (error.DBOSException, SQLAlchemyError, OSError) as fault:
            self._let_go(workflow_id)
            raise EngineLost("The job engine did not take the job.") from fault
        if not is_ours:
            self._let_go(workflow_id)
        return is_ours

    def held(self) -> frozenset[str]:
        """Return the workflows that were handed over and have not ended."""
        with self._guard:
            return frozenset(self._held)

    def drop_lost(self, patience_seconds: float) -> None:
        """Let go of what was handed over that long ago and has not begun: DBOS begins at once what it takes.

        If it begins nonetheless, the fence of its claim keeps it from doing anything.
        """
        latest = time.monotonic() - patience_seconds
        with self._guard:
            self._held = {name: at for name, at in self._held.items() if at is None or at > latest}

    def sweep(self, before: datetime) -> int:
        """Delete DBOS's records from before that time, which nothing needs; return how many. Raises `EngineLost`."""
        from dbos import DBOS, error

        count = 0
        try:
            while old := DBOS.list_workflows(
                end_time=before.isoformat(), limit=_SWEEP_BATCH, load_input=False, load_output=False
            ):
                DBOS.delete_workflows([workflow.workflow_id for workflow in old])
                count += len(old)
        except (error.DBOSException, SQLAlchemyError, OSError) as fault:
            raise EngineLost("The job engine's old records could not be deleted.") from fault
        return count

    def _make_workflow(self) -> Attempt:
        from dbos import DBOS

        def job(job_id: str, attempt: int) -> None:
            workflow_id = DBOS.workflow_id or ""
            with self._guard:
                self._held[workflow_id] = None
            try:
                DBOS.run_step({"name": "perform"}, self._attempt, job_id, attempt)
            finally:
                self._let_go(workflow_id)
                self._ended()

        return job

    def _let_go(self, workflow_id: str) -> None:
        with self._guard:
            self._held.pop(workflow_id, None)


def _prepare_sqlite(queue_url: str) -> None:
    url = make_url(queue_url)
    if url.get_backend_name() == "sqlite" and url.database:
        # DBOS leaves the slow rollback journal on; the mode stays in the file.
        connection = sqlite3.connect(url.database, timeout=15)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
