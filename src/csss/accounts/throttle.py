"""Slow down guessing by (account, source); an outsider can never lock the owner out."""

import hashlib
import math
from datetime import timedelta

from sqlalchemy import delete, func, select

from csss.accounts.tables import Throttle
from csss.foundation.errors import TooManyRequests
from csss.foundation.work import Work

FREE_TRIES = 5
LONGEST_DELAY = timedelta(minutes=15)
# A pause this long forgives: the failures of last week do not slow a person down today.
FORGIVEN_AFTER = timedelta(hours=24)


def throttle_key(account: str, source: str) -> str:
    """Return the key of one account tried from one source; both are hashed, so that the table names nobody."""
    return hashlib.sha256(f"{account.strip().lower()}\x00{source}".encode()).hexdigest()


def check(work: Work, key: str) -> None:
    """Raise `TooManyRequests` while this account and source have to wait. Other sources are not touched.

    Until the transaction ends everybody else with this account and source stands in line: guesses that are sent
    together are counted one by one.
    """
    if work.session.get_bind().dialect.name == "postgresql":
        work.session.execute(select(func.pg_advisory_xact_lock(int(key[:15], 16))))
    row = work.session.get(Throttle, key)
    if row is None or row.blocked_until is None:
        return
    wait = (row.blocked_until - work.clock.now()).total_seconds()
    if wait > 0:
        seconds = math.ceil(wait)
        raise TooManyRequests(
            f"Too many failed attempts from here. Try again in {seconds} seconds.",
            code="throttled",
            facts={"retry_after_seconds": seconds},
        )


def count_failure(work: Work, key: str) -> None:
    """Count one failure: five are free, then the delay doubles from one second to a quarter of an hour."""
    now = work.clock.now()
    row = work.session.get(Throttle, key)
    if row is None:
        row = Throttle(key=key, failures=0, last_failure_at=now, blocked_until=None)
        work.session.add(row)
    elif now - row.last_failure_at > FORGIVEN_AFTER:
        row.failures = 0
    row.failures += 1
    row.last_failure_at = now
    if row.failures >= FREE_TRIES:
        row.blocked_until = now + min(timedelta(seconds=2 ** min(row.failures - FREE_TRIES, 20)), LONGEST_DELAY)


def take_back(work: Work, key: str) -> None:
    """Undo one counted failure: the try was neither right nor wrong."""
    row = work.session.get(Throttle, key)
    if row is not None:
        row.failures = max(0, row.failures - 1)
        if row.failures < FREE_TRIES:
            row.blocked_until = None


def purge(work: Work) -> None:
    """Remove what is forgiven anyway."""
    work.session.execute(delete(Throttle).where(Throttle.last_failure_at < work.clock.now() - FORGIVEN_AFTER))


def forgive(work: Work, key: str) -> None:
    """Forget the failures of an account and source after a success."""
    row = work.session.get(Throttle, key)
    if row is not None:
        work.session.delete(row)
