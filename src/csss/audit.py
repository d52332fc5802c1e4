"""The append-only, hash-chained record of who did what to what, and what was refused."""

import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, Integer, String, event, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from csss.foundation.database import Base, Named
from csss.foundation.ids import new_id
from csss.foundation.logs import log
from csss.foundation.work import Work

GENESIS = "0" * 64
CHECKPOINTS = "audit-checkpoints.jsonl"  # in the data folder, outside the database
_PENDING = "audit_pending"
_log = log("audit")
_CHAIN_LOCK = 0x43535353  # one number for the advisory lock that keeps the chain in line on PostgreSQL


class Outcome(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"


class AuditEvent(Base):
    """One link of the chain. ``revision`` is the revision of the case that the event speaks of, where there is one."""

    __tablename__ = "audit_event"

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    id: Mapped[UUID] = mapped_column(unique=True)
    at: Mapped[datetime]
    actor_id: Mapped[UUID | None] = mapped_column(index=True)
    actor_role: Mapped[str] = mapped_column(String(20))
    action: Mapped[str] = mapped_column(String(60), index=True)
    outcome: Mapped[Outcome] = mapped_column(Named(Outcome))
    object_type: Mapped[str | None] = mapped_column(String(20))
    object_id: Mapped[UUID | None] = mapped_column(index=True)
    revision: Mapped[int | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What `verify_chain` found: how many links, the last hash, and the first bad number if there is one."""

    length: int
    head: str
    first_bad_seq: int | None
    reason: str | None


def record(
    work: Work,
    action: str,
    *,
    actor_id: UUID | None,
    actor_role: str,
    object_type: str | None = None,
    object_id: UUID | None = None,
    revision: int | None = None,
    outcome: Outcome = Outcome.ALLOWED,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Note an event; it becomes a link of the chain when, and only when, this unit of work commits.

    ``detail`` holds codes, counts and hashes, never a name or a clinical text.
    """
    event_row = AuditEvent(
        id=new_id(),
        at=work.clock.now(),
        actor_id=actor_id,
        actor_role=actor_role,
        action=action,
        outcome=outcome,
        object_type=object_type,
        object_id=object_id,
        revision=revision,
        detail=dict(detail or {}),
    )
    work.session.info.setdefault(_PENDING, []).append(event_row)


@event.listens_for(Session, "before_commit")
def _link(session: Session) -> None:
    """Give the noted events their numbers and hashes, as the last thing before the commit.

    Last, because the lock that keeps the chain in line is then held shortly and is always the last one taken:
    two transactions cannot wait for each other's rows and for the chain at the same time.
    """
    pending: list[AuditEvent] = session.info.pop(_PENDING, [])
    if not pending:
        return
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})
    last = session.execute(
        select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)
    ).one_or_none()
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    for row in pending:
        seq += 1
        row.seq = seq
        row.previous_hash = previous
        row.hash = previous = link_hash(row)
        session.add(row)


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    session.info.pop(_PENDING, None)


def link_hash(row: AuditEvent) -> str:
    """Return the SHA-256 (hex) of a link: every column but ``hash``, as canonical JSON."""
    facts = [
        row.seq,
        str(row.id),
        row.at.isoformat(timespec="microseconds"),
        str(row.actor_id) if row.actor_id else None,
        row.actor_role,
        row.action,
        str(row.outcome),
        row.object_type,
        str(row.object_id) if row.object_id else None,
        row.revision,
        row.detail,
        row.previous_hash,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verify_chain(session: Session, *, expected: tuple[int, str] | None = None) -> ChainVerdict:
    """Walk the whole chain and name the first link that does not fit.

    ``expected`` is a checkpoint kept outside the database (number, hash): with it a cut tail and a chain that
    was rewritten as a whole are found too.
    """
    previous, count = GENESIS, 0
    links = _links(session)
    while True:
        try:
            row = next(links, None)
        except (ValueError, TypeError):
            return ChainVerdict(count, previous, count + 1, "a link cannot be read")
        if row is None:
            break
        count += 1
        if row.seq != count:
            return ChainVerdict(count - 1, previous, count, "a link is missing")
        if row.previous_hash != previous or row.hash != link_hash(row):
            return ChainVerdict(count - 1, previous, row.seq, "a link was changed")
        if expected and row.seq == expected[0] and row.hash != expected[1]:
            return ChainVerdict(count - 1, previous, row.seq, "the chain differs from its checkpoint")
        previous = row.hash
    if expected and count < expected[0]:
        return ChainVerdict(count, previous, count + 1, "links that a checkpoint knows are gone")
    return ChainVerdict(count, previous, None, None)


def _links(session: Session) -> Iterator[AuditEvent]:
    """All links in order; at one that is no event any more (broken JSON, no such outcome) a ValueError or TypeError."""
    query = select(AuditEvent).order_by(AuditEvent.seq).execution_options(populate_existing=True)
    last = -(2**63)
    try:
        for row in session.scalars(query.execution_options(yield_per=1000)):
            yield row
            last = row.seq
    except (ValueError, TypeError):
        # Rows come in batches, and a batch fails as a whole: one by one it fails at the very link.
        while (found := session.scalar(query.where(AuditEvent.seq > last).limit(1))) is not None:
            yield found
            last = found.seq


def head(session: Session) -> tuple[int, str]:
    """Return number and hash of the newest link, ``(0, GENESIS)`` when there is none."""
    row = session.execute(
        select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)
    ).one_or_none()
    return (row.seq, row.hash) if row else (0, GENESIS)


def seen(session: Session, action: str, *, actor_id: UUID, object_id: UUID, revision: int) -> bool:
    """Tell whether the chain has an allowed ``action`` by this person on this object in this revision."""
    return bool(
        session.scalar(
            select(func.count())
            .select_from(AuditEvent)
            .where(
                AuditEvent.action == action,
                AuditEvent.actor_id == actor_id,
                AuditEvent.object_id == object_id,
                AuditEvent.revision == revision,
                AuditEvent.outcome == Outcome.ALLOWED,
            )
        )
    )


def keep_checkpoint(work: Work, path: Path, secret: str) -> None:
    """Append number, hash and a keyed digest of the newest link to a file outside the database.

    With it `verify_chain` also sees a tail that was cut off and a chain that was rewritten from the start. A chain
    that lost the link of the last checkpoint gets no new one, which would hide that.
    """
    seq, newest = head(work.session)
    known = read_checkpoint(path, secret)
    if seq == 0 or (known is not None and known[0] >= seq):
        return
    if known is not None and work.session.scalar(select(AuditEvent.hash).where(AuditEvent.seq == known[0])) != known[1]:
        _log.error("audit-chain-differs-from-checkpoint", extra={"count": known[0]})
        return
    line = json.dumps(
        {"seq": seq, "hash": newest, "at": work.clock.now().isoformat(), "mac": _mac(seq, newest, secret)}
    )
    with path.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path, secret: str) -> tuple[int, str] | None:
    """Return the newest checkpoint that carries our keyed digest; lines that do not are passed over."""
    if not path.exists():
        return None
    for line in reversed(path.read_text().splitlines()):
        try:
            kept = json.loads(line)
            seq, newest, mac = int(kept["seq"]), str(kept["hash"]), str(kept["mac"])
        except (ValueError, KeyError, TypeError):
            continue
        if hmac.compare_digest(mac, _mac(seq, newest, secret)):
            return seq, newest
    return None


def _mac(seq: int, newest: str, secret: str) -> str:
    return hmac.new(secret.encode(), f"audit:{seq}:{newest}".encode(), hashlib.sha256).hexdigest()


def page(session: Session, *, action: str = "", before: int | None = None, limit: int = 50) -> list[AuditEvent]:
    """Return links, the newest first, optionally of one action and before one number."""
    query = select(AuditEvent).order_by(AuditEvent.seq.desc()).limit(limit)
    if action:
        query = query.where(AuditEvent.action == action)
    if before is not None:
        query = query.where(AuditEvent.seq < before)
    return list(session.scalars(query))
