"""Page: the patient's own scans and reports, in plain words."""

from fastapi import APIRouter, Request, Response

from csss.accounts.permissions import Relation
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web import present
from csss.entrypoints.web.desks import require_desk
from csss.entrypoints.web.rendering import page
from csss.pathway import worklist
from csss.pathway.access import own_patient
from csss.pathway.states import State

router = APIRouter(include_in_schema=False)


@router.get("/patient")
def patient_desk(request: Request, work: WorkDep, actor: ActorDep, cursor: str | None = None) -> Response:
    """Show the patient where each scan stands and what to do next."""
    require_desk(actor, Relation.OWN)
    record = own_patient(work, actor)
    counts = worklist.count_by_state(work, actor)
    listed = worklist.list_cases(work, actor, cursor=cursor, limit=10)
    return page(
        request,
        "patient/desk.html",
        now=work.clock.now(),
        record=record,
        listed=listed,
        stages=[present.stages(line.case.state, actor.role) for line in listed.lines],
        total=sum(counts.values()),
        ready=counts.get(State.REPORT_READY, 0),
        under_way=sum(n for state, n in counts.items() if present.STATES[state].patient_tone not in ("done", "stop")),
        first_page=cursor is None,
    )
