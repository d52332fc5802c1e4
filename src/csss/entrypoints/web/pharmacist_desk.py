"""Page: the pharmacist's queue."""

from fastapi import APIRouter, Request, Response

from csss.accounts.permissions import Relation
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.desks import require_desk
from csss.entrypoints.web.rendering import page
from csss.pathway import worklist
from csss.pathway.states import State

router = APIRouter(include_in_schema=False)

_WAITING = (State.DOCTOR_VERIFIED,)
_COMPLETED = (State.PHARMACIST_COMPLETED, State.APPROVED, State.RENDER_FAILED, State.REPORT_READY, State.RETRACTED)


@router.get("/pharmacy")
def pharmacy(
    request: Request, work: WorkDep, actor: ActorDep, view: str = "waiting", cursor: str | None = None
) -> Response:
    """Show the signed readings that wait for a prescription, oldest first, or what this pharmacist completed."""
    require_desk(actor, Relation.IN_PHARMACY)
    done = view == "completed"
    counts = worklist.count_by_state(work, actor)
    return page(
        request,
        "pharmacist/queue.html",
        now=work.clock.now(),
        done=done,
        waiting=counts.get(State.DOCTOR_VERIFIED, 0),
        completed=sum(counts.get(state, 0) for state in _COMPLETED),
        listed=worklist.list_cases(
            work, actor, states=_COMPLETED if done else _WAITING, cursor=cursor, oldest_first=not done
        ),
        first_page=cursor is None,
    )
