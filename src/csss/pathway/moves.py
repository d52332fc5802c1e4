"""The one place that moves a case: compare-and-set, timeline and audit in the caller's transaction."""

from uuid import UUID

from sqlalchemy import CursorResult, select, update

from csss import audit
from csss.accounts.actor import Actor
from csss.foundation.errors import Conflict, Forbidden
from csss.foundation.ids import new_id
from csss.foundation.work import Work
from csss.pathway.states import By, Step, find
from csss.pathway.tables import Case, CaseEvent, SignOff
from csss.reports.content import SignOffStep


class WrongState(Conflict):
    """The case is not where this step starts."""

    code = "wrong-state"


class StaleVersion(Conflict):
    """Somebody else changed the case in the meantime."""

    code = "stale-version"


def check_state(case: Case, step: Step, actor: Actor | None) -> None:
    """Raise `WrongState` when ``step`` does not start here, `Forbidden` when it does but not for this role."""
    row = find(step, case.state)
    if row is None or (row.unissued_only and case.issued) or (row.issued_only and not case.issued):
        raise WrongState(
            f"This is not possible while the case is {case.state.replace('_', ' ').lower()}.",
            facts={"state": case.state, "version": case.version},
        )
    by = By.SYSTEM if actor is None else By(actor.role)
    if by not in row.by:
        raise Forbidden("Your role does not take this step.", code="wrong-role")


def check_version(case: Case, expected: int | None) -> None:
    """Raise `StaleVersion` when the caller decided on an older version of the case (If-Match)."""
    if expected is not None and expected != case.version:
        raise StaleVersion(
            "The case changed while you were reading it. Look at it again, then decide.",
            facts={"version": case.version},
        )


def move(
    work: Work,
    case: Case,
    step: Step,
    actor: Actor | None,
    *,
    reason_code: str | None = None,
    reason: str | None = None,
    detail: dict[str, object] | None = None,
) -> None:
    """Take ``step``: exactly one of several callers wins, the others get `StaleVersion`.

    ``actor`` is None for the system. The case in memory is brought up to date.
    """
    check_state(case, step, actor)
    row = find(step, case.state)
    assert row is not None  # noqa: S101 - check_state has just found it
    now = work.clock.now()
    revision = case.revision + (1 if row.opens_revision else 0)
    work.session.flush()
    # The version alone would do; state and revision say what is meant, and hold if a version were ever reused.
    result = work.session.execute(
        update(Case)
        .where(
            Case.id == case.id,
            Case.state == case.state,
            Case.revision == case.revision,
            Case.version == case.version,
        )
        .values(
            state=row.target,
            revision=revision,
            version=case.version + 1,
            changed_at=now,
            reason_code=reason_code,
            reason=reason,
        )
        .execution_options(synchronize_session=False)
    )
    assert isinstance(result, CursorResult)  # noqa: S101 - an UPDATE gives no other kind
    if result.rowcount != 1:
        raise StaleVersion("Somebody else took a step on this case at the same moment. Look at it again.")
    source = case.state
    work.session.refresh(case)
    note(work, case, step, actor, source=source, reason_code=reason_code, reason=reason)
    audit.record(
        work,
        row.event,
        actor_id=actor.user_id if actor else None,
        actor_role=actor.role if actor else "system",
        object_type="case",
        object_id=case.id,
        revision=revision,
        detail={
            "from": source,
            "to": row.target,
            **({"reason_code": reason_code} if reason_code else {}),
            **(detail or {}),
        },
    )


def note(
    work: Work,
    case: Case,
    step: str,
    actor: Actor | None,
    *,
    source: str | None,
    reason_code: str | None = None,
    reason: str | None = None,
) -> None:
    """Add a line to the case's timeline."""
    work.session.add(
        CaseEvent(
            id=new_id(),
            case_id=case.id,
            at=work.clock.now(),
            step=str(step),
            source=source,
            target=case.state,
            revision=case.revision,
            actor_id=actor.user_id if actor else None,
            actor_role=actor.role if actor else "system",
            reason_code=reason_code,
            reason=reason,
        )
    )


def sign_offs(work: Work, case_id: UUID) -> dict[SignOffStep, SignOff]:
    """Return the sign-offs of a case that stand, by step."""
    rows = work.session.scalars(select(SignOff).where(SignOff.case_id == case_id, SignOff.voided_at.is_(None)))
    return {row.step: row for row in rows}


def void_sign_offs(work: Work, case: Case, *steps: SignOffStep) -> None:
    """Set sign-offs aside, as a return does; they stay in the record."""
    for step, row in sign_offs(work, case.id).items():
        if step in steps:
            row.voided_at = work.clock.now()
