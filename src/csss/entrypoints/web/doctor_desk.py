"""Pages: the doctor's worklist and patients."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response

from csss import patients
from csss.accounts.actor import Actor
from csss.accounts.joining import SEXES
from csss.accounts.permissions import Relation
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.desks import require_desk
from csss.entrypoints.web.forms import CSRF, keep_form, parse_date
from csss.entrypoints.web.rendering import Refusal, go, page
from csss.foundation.work import Work
from csss.pathway import worklist
from csss.pathway.states import State

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at the worklist: some states, and which end comes first."""

    name: str
    title: str
    states: tuple[State, ...]
    oldest_first: bool
    empty: str


VIEWS = (
    View(
        "to-read",
        "To read",
        (State.AI_ANALYZED, State.AI_FAILED),
        True,
        "Nothing waits for you. New scans appear here as soon as the AI is done with them.",
    ),
    View(
        "preparing",
        "Being prepared",
        (State.RECEIVED, State.PENDING_AI, State.AI_RUNNING),
        True,
        "The AI has nothing to do. Send in a scan to start.",
    ),
    View(
        "on-the-way",
        "With others",
        (State.DOCTOR_VERIFIED, State.PHARMACIST_COMPLETED, State.APPROVED, State.RENDER_FAILED),
        False,
        "No scan that you may see is with the pharmacy or the administration.",
    ),
    View("issued", "Reports issued", (State.REPORT_READY,), False, "No report has been issued yet."),
    View(
        "stopped",
        "Stopped",
        (State.QUARANTINED, State.REJECTED, State.CANCELLED, State.RETRACTED),
        False,
        "No scan was held back, rejected, cancelled or retracted.",
    ),
    View("all", "All", (), False, "There is no scan of your patients yet. Send one in."),
)


@router.get("/doctor")
def worklist_page(
    request: Request, work: WorkDep, actor: ActorDep, view: str = "to-read", cursor: str | None = None
) -> Response:
    """Show the scans of the doctor's patients, those to be read first."""
    require_desk(actor, Relation.IN_CARE)
    chosen = next((each for each in VIEWS if each.name == view), VIEWS[0])
    counts = worklist.count_by_state(work, actor)
    return page(
        request,
        "doctor/worklist.html",
        now=work.clock.now(),
        view=chosen,
        tabs=[(each, sum(counts.get(state, 0) for state in each.states or State)) for each in VIEWS],
        listed=worklist.list_cases(work, actor, states=chosen.states, cursor=cursor, oldest_first=chosen.oldest_first),
        first_page=cursor is None,
    )


@router.get("/doctor/patients")
def patients_page(request: Request, work: WorkDep, actor: ActorDep, q: str = "") -> Response:
    """Show the patients in this doctor's care."""
    require_desk(actor, Relation.IN_CARE)
    return _patients_page(request, work, actor, q)


@router.post("/doctor/patients", dependencies=CSRF)
def register_patient(
    request: Request,
    work: WorkDep,
    actor: ActorDep,
    name: Annotated[str, Form()] = "",
    birth_date: Annotated[str, Form()] = "",
    sex: Annotated[str, Form()] = "",
) -> Response:
    """Register a patient who has no account."""
    require_desk(actor, Relation.IN_CARE)
    keep_form(request, "patient", lambda work, refusal: _patients_page(request, work, actor, "", refusal))
    patients.register(work, actor, name=name, birth_date=parse_date(birth_date), sex=sex)
    return go(request, "/doctor/patients", flash="patient-registered")


@router.post("/doctor/patients/{patient_id}/record", dependencies=CSRF)
def amend_record(
    request: Request,
    patient_id: UUID,
    work: WorkDep,
    actor: ActorDep,
    allergies: Annotated[str, Form()] = "",
    number: Annotated[str, Form()] = "",
    issuer: Annotated[str, Form()] = "",
) -> Response:
    """Write down allergies, or a number by which another system knows the patient."""
    require_desk(actor, Relation.IN_CARE)
    keep_form(request, f"record-{patient_id}", lambda work, refusal: _patients_page(request, work, actor, "", refusal))
    patients.amend(work, actor, patient_id=patient_id, allergies=allergies, number=number, issuer=issuer)
    return go(request, "/doctor/patients", flash="record-amended")


def _patients_page(request: Request, work: Work, actor: Actor, search: str, refusal: Refusal | None = None) -> Response:
    people = patients.in_care(work, actor, search=search)
    return page(
        request,
        "doctor/patients.html",
        now=work.clock.now(),
        people=people,
        numbers=patients.numbers_of(work, people),
        search=search,
        sexes=SEXES,
        refusal=refusal,
        status=refusal.error.status if refusal else 200,
    )
