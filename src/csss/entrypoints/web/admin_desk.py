"""Pages: the administrator's approvals, people and deliveries."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from sqlalchemy import func, select

from csss.accounts import joining
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, Relation, require
from csss.accounts.tables import Role
from csss.delivery.tables import Delivery, DeliveryStatus
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import PartsDep, parts_of
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web import present
from csss.entrypoints.web.desks import require_desk
from csss.entrypoints.web.forms import CSRF, keep_form
from csss.entrypoints.web.rendering import Refusal, go, page
from csss.foundation.errors import Unprocessable
from csss.foundation.work import Work
from csss.pathway import worklist
from csss.pathway.states import State
from csss.reports.tables import Report

router = APIRouter(include_in_schema=False)

_WAITING = (State.PHARMACIST_COMPLETED, State.RENDER_FAILED)
_APPROVED = (State.APPROVED, State.REPORT_READY, State.RETRACTED)
_INVITABLE = (Role.DOCTOR, Role.PHARMACIST)
_DELIVERIES_SHOWN = 100


@router.get("/admin")
def admin_desk(
    request: Request, work: WorkDep, actor: ActorDep, view: str = "waiting", cursor: str | None = None
) -> Response:
    """Show what waits for an approval, oldest first, or what this administrator approved."""
    require_desk(actor, Relation.AWAITING_APPROVAL)
    done = view == "approved"
    counts = worklist.count_by_state(work, actor)
    by_status = _deliveries_by_status(work)
    return page(
        request,
        "admin/desk.html",
        now=work.clock.now(),
        done=done,
        waiting=counts.get(State.PHARMACIST_COMPLETED, 0),
        failed=counts.get(State.RENDER_FAILED, 0),
        approved=sum(counts.get(state, 0) for state in _APPROVED),
        undelivered=by_status.get(DeliveryStatus.DEAD, 0),
        sent=by_status.get(DeliveryStatus.SENT, 0),
        listed=worklist.list_cases(
            work, actor, states=_APPROVED if done else _WAITING, cursor=cursor, oldest_first=not done
        ),
        first_page=cursor is None,
    )


def _deliveries_by_status(work: Work) -> dict[DeliveryStatus, int]:
    rows = work.session.execute(select(Delivery.status, func.count()).group_by(Delivery.status))
    return {DeliveryStatus(status): count for status, count in rows}


@router.get("/admin/users")
def users_page(request: Request, work: WorkDep, actor: ActorDep) -> Response:
    """Show everybody who may sign in."""
    return _users_page(request, work, actor)


@router.post("/admin/users/invite", dependencies=CSRF)
def invite(
    request: Request,
    work: WorkDep,
    actor: ActorDep,
    email: Annotated[str, Form()] = "",
    role: Annotated[str, Form()] = "",
) -> Response:
    """Invite a member of staff; the link is mailed to them and shown to nobody."""
    require(actor, Action.MANAGE_USERS)
    keep_form(request, "invite", lambda work, refusal: _users_page(request, work, actor, refusal=refusal))
    if role not in set(Role):
        raise Unprocessable("Choose a role.", code="bad-role")
    joining.invite(work, actor, email=email, role=Role(role), can_mail=parts_of(request).settings.smtp.configured)
    return go(request, "/admin/users", flash="link-mailed")


@router.post("/admin/users/{user_id}/disable", dependencies=CSRF)
def disable(request: Request, user_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Shut a person out at once."""
    require(actor, Action.MANAGE_USERS)
    keep_form(request, "users", lambda work, refusal: _users_page(request, work, actor, refusal=refusal))
    joining.set_enabled(work, actor, user_id=user_id, enabled=False)
    return go(request, "/admin/users", flash="user-disabled")


@router.post("/admin/users/{user_id}/enable", dependencies=CSRF)
def enable(request: Request, user_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Let a person in again."""
    require(actor, Action.MANAGE_USERS)
    keep_form(request, "users", lambda work, refusal: _users_page(request, work, actor, refusal=refusal))
    joining.set_enabled(work, actor, user_id=user_id, enabled=True)
    return go(request, "/admin/users", flash="user-enabled")


@router.post("/admin/users/{user_id}/reset", dependencies=CSRF)
def reset(request: Request, user_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Mail a person a link with which they set a new password."""
    require(actor, Action.MANAGE_USERS)
    keep_form(request, "users", lambda work, refusal: _users_page(request, work, actor, refusal=refusal))
    joining.reset_link(work, actor, user_id=user_id, can_mail=parts_of(request).settings.smtp.configured)
    return go(request, "/admin/users", flash="link-mailed")


def _users_page(
    request: Request,
    work: Work,
    actor: Actor,
    *,
    refusal: Refusal | None = None,
) -> Response:
    return page(
        request,
        "admin/users.html",
        now=work.clock.now(),
        users=joining.list_users(work, actor),
        roles=_INVITABLE,
        refusal=refusal,
        status=refusal.error.status if refusal else 200,
    )


@router.get("/admin/deliveries")
def deliveries(request: Request, work: WorkDep, actor: ActorDep, parts: PartsDep, status: str = "") -> Response:
    """Show how reports reached their patients, those that did not first."""
    require(actor, Action.SEE_OPERATIONS)
    query = select(Delivery, Report).join(Report, Report.id == Delivery.report_id)
    if status in set(DeliveryStatus):
        query = query.where(Delivery.status == status)
    dead_first = (Delivery.status != DeliveryStatus.DEAD, Delivery.queued_at.desc(), Delivery.id.desc())
    rows = work.session.execute(query.order_by(*dead_first).limit(_DELIVERIES_SHOWN)).all()
    return page(
        request,
        "admin/deliveries.html",
        now=work.clock.now(),
        rows=rows,
        shown=_DELIVERIES_SHOWN,
        status_chosen=status,
        counts=_deliveries_by_status(work),
        delivery_words=present.DELIVERIES,
        mail_host=parts.settings.smtp.host,
    )
