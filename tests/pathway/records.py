"""What the database holds, read back whole, so that a test can say "nothing changed"; and pictures."""

from itertools import count
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import select

from csss.audit import AuditEvent
from csss.migrations.tables import Base
from csss.pathway.tables import Case, CaseEvent, SignOff
from csss.patients import Patient
from csss.studies.tables import HeldFile
from pictures import encode, picture_png
from sites import Site

# What a refused request may leave: its line in the audit log, and the moment its session was last seen.
_LEFT_BY_REFUSALS = frozenset({"audit_event", "sign_in_session"})


def everything(site: Site) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for what a refusal may leave."""
    with site.assembly.engine.connect() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in Base.metadata.sorted_tables
            if table.name not in _LEFT_BY_REFUSALS
        }


def audited(site: Site, *, after: int = 0) -> list[AuditEvent]:
    """The links of the audit chain behind a number, in order."""
    with site.assembly.shop.work() as work:
        return list(work.session.scalars(select(AuditEvent).where(AuditEvent.seq > after).order_by(AuditEvent.seq)))


def last_audited(site: Site) -> int:
    events = audited(site)
    return events[-1].seq if events else 0


def timeline(site: Site, case_id: str) -> list[tuple[str, str, int]]:
    """(step, target, revision) of every line of a case's timeline, in order."""
    with site.assembly.shop.work() as work:
        rows = work.session.scalars(select(CaseEvent).where(CaseEvent.case_id == UUID(case_id)).order_by(CaseEvent.id))
        return [(row.step, row.target, row.revision) for row in rows]


def signatures(site: Site, case_id: str) -> list[tuple[str, int, bool]]:
    """(step, revision, stands) of every sign-off of a case, in order."""
    with site.assembly.shop.work() as work:
        rows = work.session.scalars(select(SignOff).where(SignOff.case_id == UUID(case_id)).order_by(SignOff.id))
        return [(row.step, row.revision, row.voided_at is None) for row in rows]


def all_of(site: Site, table: Any) -> list[Any]:
    """Every row of one table."""
    with site.assembly.shop.work() as work:
        return list(work.session.scalars(select(table)))


def places(site: Site, case_id: str) -> tuple[str, int, int]:
    """(state, revision, version) of a case."""
    case: Case = site.case(case_id)
    return case.state, case.revision, case.version


def band_png(darkest: int, seed: int = 1) -> bytes:
    """A picture of six neighbouring greys; the tiny model says "calm" of 170, nothing certain of 140."""
    pixels = np.random.default_rng(seed).integers(darkest, darkest + 6, (40, 48)).astype(np.uint8)
    return encode(pixels, "PNG")


def record_of(site: Site, who: str = "patient") -> Patient:
    record = site.person(who).patient
    assert record is not None
    return record


def held_of(site: Site, case_id: str) -> list[HeldFile]:
    return [row for row in all_of(site, HeldFile) if row.id == site.case(case_id).held_file_id]


_seeds = count(1000)


def new_picture() -> bytes:
    """A picture that no other call returned."""
    return picture_png(next(_seeds))


UNCERTAIN_GREY, CALM_GREY = 140, 170
