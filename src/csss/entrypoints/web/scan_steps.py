"""The forms of the scan page: every step a person can take on a case."""

from itertools import zip_longest
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from starlette.datastructures import FormData

from csss.accounts.actor import Actor
from csss.accounts.tables import StepUpMethod
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.desks import DESKS
from csss.entrypoints.web.forms import CSRF, keep_form, parse_version, typed
from csss.entrypoints.web.rendering import go
from csss.entrypoints.web.scan_page import scan_page
from csss.foundation.errors import Unprocessable
from csss.pathway import issuing, reading, signing, worklist
from csss.reports.content import PrescribedItem, PrescriptionFacts, ReadingFacts

router = APIRouter(prefix="/scans/{case_id}", include_in_schema=False, dependencies=CSRF)

Text = Annotated[str, Form()]
OTHER = "other"
_ITEM_FIELDS = ("medicine", "dose", "route", "frequency", "duration", "remarks")
_AGREES: dict[str, bool | None] = {"yes": True, "no": False}


def _keep(request: Request, actor: Actor, case_id: UUID, form: str) -> None:
    """A refusal of this form shows the scan's page again, as it stands now, with everything typed."""
    keep_form(
        request,
        form,
        lambda work, refusal: scan_page(request, work, actor, worklist.view_case(work, actor, case_id), refusal),
    )


def _desk(actor: Actor) -> str:
    return DESKS[actor.role]


@router.post("/verify")
def verify(
    request: Request,
    case_id: UUID,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    conclusion: Text = "",
    conclusion_other: Text = "",
    notes: Text = "",
    agrees: Text = "",
    recommendations: Text = "",
    acknowledgement: Text = "",
    version: Text = "",
) -> Response:
    """Sign the reading."""
    _keep(request, actor, case_id, "verify")
    signing.verify(
        work,
        actor,
        case_id=case_id,
        reading=ReadingFacts(
            conclusion=conclusion_other if conclusion == OTHER else conclusion,
            notes=notes,
            agrees_with_ai=_AGREES.get(agrees),
            recommendations=recommendations or None,
            acknowledgement=acknowledgement or None,
        ),
        site=parts.site,
        expected_version=parse_version(version),
    )
    return go(request, _desk(actor), flash="verified")


@router.post("/complete")
def complete(
    request: Request,
    case_id: UUID,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    decision: Text = "",
    none_statement: Text = "",
    allergy_check: Text = "",
    version: Text = "",
) -> Response:
    """Sign the prescription, or the statement that nothing is needed."""
    _keep(request, actor, case_id, "complete")
    signing.complete(
        work,
        actor,
        case_id=case_id,
        prescription=PrescriptionFacts(
            allergy_check=allergy_check,
            items=_items(typed(request)) if decision == "items" else (),
            none_statement=none_statement if decision == "none" else None,
        ),
        site=parts.site,
        expected_version=parse_version(version),
    )
    return go(request, _desk(actor), flash="completed")


def _items(form: FormData) -> tuple[PrescribedItem, ...]:
    """Return the medicines that were typed; rows that were left empty are no medicines."""
    columns = [[str(value) for value in form.getlist(name)] for name in _ITEM_FIELDS]
    rows = [tuple(cell.strip() for cell in row) for row in zip_longest(*columns, fillvalue="")]
    return tuple(PrescribedItem(*row) for row in rows if any(row))


@router.post("/step-up")
def step_up(
    request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, parts: PartsDep, method: Text = ""
) -> Response:
    """Ask for the fresh second factor of an approval."""
    _keep(request, actor, case_id, "step-up")
    if method not in set(StepUpMethod):
        raise Unprocessable("Choose how you prove that it is you.", code="bad-method")
    signing.begin_step_up(
        work, actor, case_id=case_id, method=StepUpMethod(method), site=parts.site, send_code=parts.send_code
    )
    return go(request, f"/scans/{case_id}", flash="code-open")


@router.post("/approve")
def approve(
    request: Request,
    case_id: UUID,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    code: Text = "",
    version: Text = "",
) -> Response:
    """Release the report."""
    _keep(request, actor, case_id, "approve")
    signing.approve(work, actor, case_id=case_id, code=code, site=parts.site, expected_version=parse_version(version))
    return go(request, f"/scans/{case_id}", flash="approved")


@router.post("/return")
def return_to_doctor(
    request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, reason: Text = "", version: Text = ""
) -> Response:
    """Send a case back to be read again; a doctor withdraws the own signature this way."""
    _keep(request, actor, case_id, "return")
    signing.return_to_doctor(work, actor, case_id=case_id, reason=reason, expected_version=parse_version(version))
    return go(request, _desk(actor), flash="returned")


@router.post("/return-to-pharmacist")
def return_to_pharmacist(
    request: Request,
    case_id: UUID,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    reason: Text = "",
    version: Text = "",
) -> Response:
    """Send a case back to the pharmacy."""
    _keep(request, actor, case_id, "return-to-pharmacist")
    signing.return_to_pharmacist(
        work, actor, case_id=case_id, reason=reason, site=parts.site, expected_version=parse_version(version)
    )
    return go(request, _desk(actor), flash="returned-pharmacist")


@router.post("/reject")
def reject(
    request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, reason_code: Text = "", version: Text = ""
) -> Response:
    """Refuse a scan that cannot be read."""
    _keep(request, actor, case_id, "reject")
    reading.reject_scan(work, actor, case_id=case_id, reason_code=reason_code, expected_version=parse_version(version))
    return go(request, _desk(actor), flash="rejected")


@router.post("/cancel")
def cancel(
    request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, reason: Text = "", version: Text = ""
) -> Response:
    """Take a scan back before it is read."""
    _keep(request, actor, case_id, "cancel")
    reading.cancel(work, actor, case_id=case_id, reason=reason, expected_version=parse_version(version))
    return go(request, _desk(actor), flash="cancelled")


@router.post("/retry-ai")
def retry_ai(request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, version: Text = "") -> Response:
    """Let the AI try again."""
    _keep(request, actor, case_id, "retry-ai")
    reading.retry_ai(work, actor, case_id=case_id, expected_version=parse_version(version))
    return go(request, f"/scans/{case_id}", flash="ai-retried")


@router.post("/read-without-ai")
def read_without_ai(
    request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, reason: Text = "", version: Text = ""
) -> Response:
    """Go on without an AI result."""
    _keep(request, actor, case_id, "read-without-ai")
    reading.read_without_ai(work, actor, case_id=case_id, reason=reason, expected_version=parse_version(version))
    return go(request, f"/scans/{case_id}", flash="without-ai")


@router.post("/retry-render")
def retry_render(request: Request, case_id: UUID, work: WorkDep, actor: ActorDep, version: Text = "") -> Response:
    """Ask for the report again."""
    _keep(request, actor, case_id, "retry-render")
    issuing.retry_render(work, actor, case_id=case_id, expected_version=parse_version(version))
    return go(request, f"/scans/{case_id}", flash="render-retried")
