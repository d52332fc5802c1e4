"""Performs one claimed job: the handler's changes and the job's new state are one transaction."""

from collections.abc import Callable, Mapping
from uuid import UUID

from csss.foundation.errors import CsssError
from csss.foundation.jobs import RetryLater
from csss.foundation.logs import log
from csss.foundation.work import Work, WorkShop
from csss.worker.claims import Claim, Superseded, fail, find_claim, finish, postpone, take_due
from csss.worker.presence import Presence, Watch

Handler = Callable[[Work, UUID], None]
"""Does the work of one kind for a subject. It may be run again after any failure, so what it does outside the
database (a mail) carries a key by which a repetition is known. On SQLite its first query takes the write lock:
slow work comes before it, or after ``work.pause()``."""

_log = log("worker")


def perform(shop: WorkShop, handlers: Mapping[str, Handler], *, job_id: UUID, attempt: int, owner: str) -> None:
    """Run one attempt of a job and settle it: done, again later, or failed. Raises only if it cannot record.

    Nothing happens when the attempt is no longer the owner's: the job is done, or somebody else's by now.
    """
    claim = find_claim(shop, job_id=job_id, attempt=attempt, owner=owner)
    if claim is None:
        return
    try:
        _run(shop, handlers[claim.kind], claim)
    except Superseded:
        _log.warning("job-was-superseded", extra=claim.log_fields)
    except Exception as fault:  # noqa: BLE001 - whatever a handler raises, the job must have an end
        _log.warning("job-raised", exc_info=True, extra=claim.log_fields)
        try:
            with shop.work() as work:
                fail(work, claim, _name_of(fault))
        except Superseded:
            _log.warning("job-was-superseded", extra=claim.log_fields)


def run_due(shop: WorkShop, handlers: Mapping[str, Handler]) -> int:
    """Run every due request of the handlers' kinds in this thread until none is due; return how many ran.

    It counts as an executor of its own, so that live workers beside it leave its running job alone.
    """
    with Presence(shop, name="inline") as presence:
        own_id = presence.executor_id
        Watch(shop, own_id=own_id).take_over()
        count = 0
        while claims := take_due(shop, owner=own_id, kinds=handlers.keys(), limit=1):
            perform(shop, handlers, job_id=claims[0].job_id, attempt=claims[0].attempt, owner=own_id)
            count += 1
        return count


def _run(shop: WorkShop, handler: Handler, claim: Claim) -> None:
    with shop.work() as work:
        try:
            handler(work, claim.subject_id)
        except RetryLater as later:
            postpone(work, claim, later.at)
        else:
            finish(work, claim)


def _name_of(fault: Exception) -> str:
    # Messages of foreign parsers and mail servers quote their input, so that only the class is kept of them.
    name = type(fault).__name__
    return f"{name} {fault.code}" if isinstance(fault, CsssError) else name
