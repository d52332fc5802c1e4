"""One unit of work: session, blobs, jobs and clock for one request or one job, committed once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session, sessionmaker

from csss.foundation.blobs import BlobStore
from csss.foundation.clock import Clock
from csss.foundation.errors import CsssError
from csss.foundation.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Work:
    """What a verb works with. It holds these four things and nothing else, ever."""

    session: Session
    blobs: BlobStore
    jobs: Jobs
    clock: Clock

    def pause(self) -> None:
        """End the transaction so far, so that something slow holds no lock; the next query begins a new one.

        For doors, between finding out who asks and doing what they ask, and for steps of the system that wait for a
        model, a printer or a mail server. What was written before the pause stays written.
        """
        self.session.commit()


@dataclass(slots=True)
class WorkShop:
    """Makes units of work; one for a process."""

    make_session: sessionmaker[Session]
    blobs: BlobStore
    clock: Clock
    wake_worker: Callable[[], None] = field(default=lambda: None)

    @contextmanager
    def work(self) -> Iterator[Work]:
        """One transaction: committed when the block ends well, undone when it raises.

        A refusal that ``keeps`` (see `CsssError`) is committed too, and raised all the same.
        """
        with self.make_session() as session:
            jobs = Jobs(session, self.clock)
            try:
                yield Work(session=session, blobs=self.blobs, jobs=jobs, clock=self.clock)
            except CsssError as refusal:
                if refusal.keeps:
                    session.commit()
                raise
            session.commit()
        if jobs.asked:
            self.wake_worker()
