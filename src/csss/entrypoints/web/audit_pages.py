"""Pages: the audit log, its chain, and its export."""

import csv
import io
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select

from csss import audit
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, require
from csss.accounts.tables import User
from csss.audit import AuditEvent
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.rendering import page
from csss.foundation.work import Work

router = APIRouter(include_in_schema=False)

PAGE = 50
EXPORT_LIMIT = 50_000
# Walking a long chain takes a while: up to here every look at the log checks it, beyond only on request.
CHECKED_BY_ITSELF = 5_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

ActionQuery = Annotated[str, Query(max_length=60)]


@router.get("/admin/audit")
def audit_page(
    request: Request,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    action: ActionQuery = "",
    before: int | None = None,
    check: bool = False,
) -> Response:
    """Show the log, the newest first, and whether its chain holds. Looking at it is an event too."""
    require(actor, Action.READ_AUDIT)
    length, _ = audit.head(work.session)
    verdict = None
    if before is None and (check or length <= CHECKED_BY_ITSELF):
        expected = audit.read_checkpoint(parts.settings.data_dir / audit.CHECKPOINTS, parts.settings.secret_key)
        verdict = audit.verify_chain(work.session, expected=expected)
    rows = audit.page(work.session, action=action, before=before, limit=PAGE + 1)
    _note(work, actor, "audit.read", action)
    return page(
        request,
        "admin/audit.html",
        now=work.clock.now(),
        rows=rows[:PAGE],
        names=_names(work, rows[:PAGE]),
        next_before=rows[PAGE - 1].seq if len(rows) > PAGE else None,
        actions=list(work.session.scalars(select(AuditEvent.action).distinct().order_by(AuditEvent.action))),
        chosen=action,
        length=length,
        verdict=verdict,
        first_page=before is None,
    )


@router.get("/admin/audit.csv")
def audit_export(work: WorkDep, actor: ActorDep, action: ActionQuery = "") -> Response:
    """Return the log as CSV, the newest first; no cell can be taken for a formula by a spreadsheet."""
    require(actor, Action.READ_AUDIT)
    rows = audit.page(work.session, action=action, limit=EXPORT_LIMIT)
    _note(work, actor, "audit.exported", action)
    work.pause()
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(
        (
            "number",
            "at",
            "actor_id",
            "role",
            "action",
            "outcome",
            "object_type",
            "object_id",
            "revision",
            "detail",
            "hash",
        )
    )
    writer.writerows([safe_cell(cell) for cell in _cells(row)] for row in rows)
    return Response(
        text.getvalue().encode("utf-8-sig"),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="audit.csv"'},
    )


def safe_cell(text: str) -> str:
    """Return a cell that a spreadsheet shows and does not calculate (CWE-1236)."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def _cells(row: AuditEvent) -> tuple[str, ...]:
    return (
        str(row.seq),
        row.at.isoformat(),
        str(row.actor_id or ""),
        row.actor_role,
        row.action,
        str(row.outcome),
        row.object_type or "",
        str(row.object_id or ""),
        "" if row.revision is None else str(row.revision),
        json.dumps(row.detail, sort_keys=True) if row.detail else "",
        row.hash,
    )


def _names(work: Work, rows: list[AuditEvent]) -> dict[object, str]:
    keys = {row.actor_id for row in rows if row.actor_id}
    return {key: name for key, name in work.session.execute(select(User.id, User.name).where(User.id.in_(keys)))}


def _note(work: Work, actor: Actor, what: str, action: str) -> None:
    audit.record(work, what, actor_id=actor.user_id, actor_role=actor.role, detail={"filter": action} if action else {})
