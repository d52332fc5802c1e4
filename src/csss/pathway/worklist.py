"""What waits for whom: lists of cases with cursor paging, and everything one case page shows."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import and_, func, or_, select

from csss import audit
from csss.accounts.actor import Actor
from csss.accounts.permissions import PERMISSIONS, Action, require
from csss.accounts.tables import Role, User
from csss.findings.tables import Analysis
from csss.foundation.errors import BadRequest
from csss.foundation.work import Work
from csss.pathway.access import find_case, related, shows_ai
from csss.pathway.moves import sign_offs
from csss.pathway.states import TRANSITIONS, By, State
from csss.pathway.tables import Case, CaseEvent, SignOff
from csss.patients import Patient
from csss.reports.content import SignOffStep
from csss.reports.tables import Report
from csss.studies.tables import HeldFile, Instance, Series, Study

MAX_PAGE = 100


@dataclass(frozen=True, slots=True)
class Line:
    """One case as a list shows it."""

    case: Case
    patient: Patient
    modality: str | None
    body_part: str | None
    analysis: Analysis | None
    doctor_name: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines, and where the next ones begin (None at the end)."""

    lines: list[Line]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CaseView:
    """Everything about one case that this person may see."""

    case: Case
    patient: Patient
    instance: Instance | None
    study: Study | None
    held: HeldFile | None
    analysis: Analysis | None  # None also for a patient before release
    sign_offs: dict[SignOffStep, SignOff]
    reports: list[Report]
    doctor: User | None
    uploader: User
    steps: frozenset[str]  # what this person's role can do in this state


def list_cases(
    work: Work,
    actor: Actor,
    *,
    states: tuple[State, ...] = (),
    patient_id: UUID | None = None,
    cursor: str | None = None,
    limit: int = 25,
    oldest_first: bool = False,
) -> Page:
    """Return the cases that this person may see, newest first unless told otherwise, a page at a time.

    The number of queries does not grow with the page; the look is audited. A list shows no image and no AI result
    to patients before release. Raises `BadRequest` for a cursor that is not ours.
    """
    relation = require(actor, Action.LIST_SCANS)
    limit = max(1, min(limit, MAX_PAGE))
    query = related(select(Case), actor, relation)
    if states:
        query = query.where(Case.state.in_(states))
    if patient_id is not None:
        query = query.where(Case.patient_id == patient_id)
    if cursor is not None:
        at, key = _read_cursor(cursor)
        beyond = (
            or_(Case.created_at > at, and_(Case.created_at == at, Case.id > key))
            if oldest_first
            else or_(Case.created_at < at, and_(Case.created_at == at, Case.id < key))
        )
        query = query.where(beyond)
    order = (Case.created_at, Case.id) if oldest_first else (Case.created_at.desc(), Case.id.desc())
    cases = list(work.session.scalars(query.order_by(*order).limit(limit + 1)))
    more = len(cases) > limit
    cases = cases[:limit]
    audit.record(work, "scans.listed", actor_id=actor.user_id, actor_role=actor.role, detail={"count": len(cases)})
    return Page(_lines(work, actor, cases), _cursor(cases[-1]) if more else None)


def _lines(work: Work, actor: Actor, cases: list[Case]) -> list[Line]:
    ids = [case.id for case in cases]
    rows = work.session.execute(
        select(Case.id, Patient, Study.modality, Study.body_part, Analysis, User.name)
        .join(Patient, Patient.id == Case.patient_id)
        .outerjoin(Instance, Instance.id == Case.instance_id)
        .outerjoin(Series, Series.id == Instance.series_id)
        .outerjoin(Study, Study.id == Series.study_id)
        .outerjoin(Analysis, Analysis.id == Case.analysis_id)
        .outerjoin(User, User.id == Case.doctor_id)
        .where(Case.id.in_(ids))
    ).all()
    facts = {row[0]: row for row in rows}
    return [
        Line(
            case,
            facts[case.id][1],
            facts[case.id][2],
            facts[case.id][3],
            facts[case.id][4] if shows_ai(case, actor) else None,
            facts[case.id][5],
        )
        for case in cases
    ]


def count_by_state(work: Work, actor: Actor) -> dict[State, int]:
    """Return how many cases this person can see in each state."""
    relation = require(actor, Action.LIST_SCANS)
    visible = related(select(Case), actor, relation).subquery()
    rows = work.session.execute(select(visible.c.state, func.count()).group_by(visible.c.state))
    return {State(state): count for state, count in rows}


def view_case(work: Work, actor: Actor, case_id: UUID) -> CaseView:
    """Return one case for its page; the look at it is audited."""
    case = find_case(work, actor, case_id, Action.VIEW_SCAN)
    instance = work.session.get(Instance, case.instance_id) if case.instance_id else None
    record_view(work, actor, case, "scan.viewed")
    return CaseView(
        case=case,
        patient=work.session.get_one(Patient, case.patient_id),
        instance=instance,
        study=instance.series.study if instance else None,
        held=work.session.get(HeldFile, case.held_file_id) if case.held_file_id else None,
        analysis=work.session.get(Analysis, case.analysis_id) if case.analysis_id and shows_ai(case, actor) else None,
        sign_offs=sign_offs(work, case.id) if actor.role is not Role.PATIENT or shows_ai(case, actor) else {},
        reports=_reports(work, case),
        doctor=work.session.get(User, case.doctor_id) if case.doctor_id else None,
        uploader=work.session.get_one(User, case.uploader_id),
        steps=open_steps(case, actor),
    )


def open_steps(case: Case, actor: Actor) -> frozenset[str]:
    """Return the steps that this role can take in the case's state, for the buttons of a page."""
    by = By(actor.role)
    return frozenset(
        row.step
        for row in TRANSITIONS
        if row.source is case.state
        and by in row.by
        and not (row.unissued_only and case.issued)
        and not (row.issued_only and not case.issued)
    )


def record_view(work: Work, actor: Actor, case: Case, action: str) -> None:
    """Note that this person looked."""
    audit.record(
        work,
        action,
        actor_id=actor.user_id,
        actor_role=actor.role,
        object_type="case",
        object_id=case.id,
        revision=case.revision,
    )


def events(work: Work, actor: Actor, case_id: UUID) -> list[tuple[CaseEvent, str | None]]:
    """Return what happened to a case, oldest first, with the names of who did it (patients see roles only); audited."""
    case = find_case(work, actor, case_id, Action.VIEW_SCAN)
    record_view(work, actor, case, "timeline.viewed")
    rows = work.session.execute(
        select(CaseEvent, User.name)
        .outerjoin(User, User.id == CaseEvent.actor_id)
        .where(CaseEvent.case_id == case.id)
        .order_by(CaseEvent.at, CaseEvent.id)
    ).all()
    hide = actor.role is Role.PATIENT
    return [(row[0], None if hide and row[0].actor_id != actor.user_id else row[1]) for row in rows]


def _reports(work: Work, case: Case) -> list[Report]:
    return list(work.session.scalars(select(Report).where(Report.case_id == case.id).order_by(Report.version.desc())))


def may(actor: Actor, action: Action) -> bool:
    """Tell whether this person's role may do an action at all, for what a page offers."""
    return actor.role in PERMISSIONS[action]


def _cursor(case: Case) -> str:
    return base64.urlsafe_b64encode(json.dumps([case.created_at.isoformat(), str(case.id)]).encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        at, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return moment.astimezone(UTC), UUID(key)
    except (ValueError, TypeError, UnicodeError, AttributeError, OverflowError, RecursionError):
        raise BadRequest("This cursor is not one of ours; start the list again.", code="bad-cursor") from None


# Reasons that concern the patient; all others are between the people who work on the case.
_PATIENTS_REASONS = frozenset({State.QUARANTINED, State.REJECTED, State.CANCELLED})


def reason_for(actor: Actor, state: str, reason: str | None) -> str | None:
    """Return why a case is where it is, as far as this person may read it."""
    if actor.role is Role.PATIENT and state not in _PATIENTS_REASONS:
        return None
    return reason
