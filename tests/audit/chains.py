"""A workshop with nothing but a database, and events to put into its chain."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from csss import audit
from csss.foundation.blobs import BlobStore
from csss.foundation.clock import SetClock
from csss.foundation.database import open_engine, sessions
from csss.foundation.vault import Vault
from csss.foundation.work import Work, WorkShop


def make_shop(url: str, clock: SetClock) -> tuple[Engine, WorkShop]:
    engine = open_engine(url)
    return engine, WorkShop(sessions(engine), BlobStore("memory://", Vault({1: bytes(range(32))})), clock)


def note(work: Work, action: str = "case.seen", **changes: Any) -> None:
    facts = {"actor_id": UUID(int=7), "actor_role": "doctor", "object_type": "case", "object_id": UUID(int=9)}
    audit.record(work, action, **(facts | {"revision": 0, "detail": {"count": 1}} | changes))
