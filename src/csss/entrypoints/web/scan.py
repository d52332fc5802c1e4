"""Pages: one scan, its state while the system works, its image and heat map."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from csss.accounts.permissions import Action
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.pictures import heat_map_answer, image_answer
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web import present
from csss.entrypoints.web.rendering import page
from csss.entrypoints.web.scan_page import scan_page
from csss.pathway import worklist
from csss.pathway.access import find_case

router = APIRouter(include_in_schema=False)


@router.get("/scans/{case_id}")
def scan(request: Request, case_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Show everything about one scan that this person may see, and what they can do next."""
    return scan_page(request, work, actor, worklist.view_case(work, actor, case_id))


@router.get("/scans/{case_id}/status")
def status(request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, seen: int = 0) -> Response:
    """Show where the case stands: a fragment that asks again every two seconds while the system works.

    ``seen`` is the version on the page. When a person's turn has come the page is loaded anew, for its forms.
    """
    case = find_case(work, actor, case_id, Action.VIEW_SCAN)
    working = case.state in present.WORKING
    response = page(
        request,
        "parts/status.html",
        now=work.clock.now(),
        case=case,
        working=working,
        stages=present.stages(case.state, actor.role),
    )
    if not working and case.version != seen:
        response.headers["HX-Refresh"] = "true"
    return response


@router.get("/scans/{case_id}/image.png")
def image(case_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """The picture, drawn anew by us; looking at it is recorded."""
    return image_answer(work, actor, case_id)


@router.get("/scans/{case_id}/heatmap.png")
def heat_map(case_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """The heat map as a transparent layer; 404 where there is none to see."""
    return heat_map_answer(work, actor, case_id)
