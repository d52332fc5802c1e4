"""Who may see which case: relation by relation, for one case and for lists."""

from uuid import UUID

from sqlalchemy import Exists, Select, exists, or_, select

from csss import patients
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, Relation, require
from csss.accounts.tables import Role
from csss.findings.tables import Analysis
from csss.foundation.errors import NotFound
from csss.foundation.work import Work
from csss.pathway.states import State
from csss.pathway.tables import Case, SignOff
from csss.patients import CareRelation, Patient
from csss.reports.content import SignOffStep

# From here on the pharmacy and the administration have something to do with a case.
PHARMACY_STATES = frozenset({State.DOCTOR_VERIFIED})
APPROVAL_STATES = frozenset({State.PHARMACIST_COMPLETED, State.APPROVED, State.RENDER_FAILED})
RELEASED = frozenset({State.REPORT_READY})


def find_case(work: Work, actor: Actor, case_id: UUID, action: Action) -> Case:
    """Return a case on which this person may do ``action``.

    Raises `Forbidden` when the role may not do it at all, `NotFound` alike for a case that does not exist and for
    one that is none of this person's business.
    """
    relation = require(actor, action)
    case = work.session.scalar(related(select(Case).where(Case.id == case_id), actor, relation))
    if case is None:
        raise NotFound("There is no such scan.")
    return case


def related(query: Select[Case], actor: Actor, relation: Relation) -> Select[Case]:
    """Narrow a query for cases to those that stand in ``relation`` to this person.

    Staff never meet the case of their own record: nobody acts on themselves.
    """
    if actor.role is not Role.PATIENT:
        query = query.where(~exists().where(Patient.id == Case.patient_id, Patient.user_id == actor.user_id))
    if relation is Relation.OWN:
        return query.where(exists().where(Patient.id == Case.patient_id, Patient.user_id == actor.user_id))
    if relation is Relation.IN_CARE:
        return query.where(
            exists().where(
                CareRelation.patient_id == Case.patient_id,
                CareRelation.doctor_id == actor.user_id,
                CareRelation.ended_at.is_(None),
            )
        )
    if relation is Relation.IN_PHARMACY:
        return query.where(or_(Case.state.in_(PHARMACY_STATES), _signed(actor, SignOffStep.COMPLETED)))
    if relation is Relation.AWAITING_APPROVAL:
        return query.where(or_(Case.state.in_(APPROVAL_STATES), _signed(actor, SignOffStep.APPROVED)))
    return query


def _signed(actor: Actor, step: SignOffStep) -> Exists:
    return exists().where(
        SignOff.case_id == Case.id,
        SignOff.user_id == actor.user_id,
        SignOff.step == step,
        SignOff.voided_at.is_(None),
    )


def shows_ai(case: Case, actor: Actor) -> bool:
    """Tell whether this person may see the AI's result of a case they may see: patients after release only."""
    return actor.role is not Role.PATIENT or case.state in RELEASED


def shows_heat(case: Case, actor: Actor, analysis: Analysis) -> bool:
    """Tell whether this person may see the heat map of a case they may see, or be told of it.

    One of a finding that was not made is for a second look by staff, and would only frighten a patient.
    """
    told = analysis.heat_of is not None and shows_ai(case, actor)
    return told and (actor.role is not Role.PATIENT or analysis.explains_result)


def own_patient(work: Work, actor: Actor) -> Patient:
    """Return the record of the patient who is signed in; raises `NotFound` for people without one."""
    patient = patients.of_user(work, actor.user_id)
    if patient is None:
        raise NotFound("Your account has no patient record.")
    return patient
