"""Pages: one issued report, its file, its password and its deliveries."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from csss.accounts.permissions import Action
from csss.accounts.tables import Role
from csss.delivery import send
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web import present
from csss.entrypoints.web.forms import CSRF
from csss.entrypoints.web.rendering import go, page
from csss.pathway import issuing, worklist
from csss.pathway.access import shows_ai
from csss.pathway.facts import prescription_of, reading_of
from csss.pathway.moves import sign_offs
from csss.reports.content import SignOffStep

router = APIRouter(include_in_schema=False)


@router.get("/reports/{report_id}")
def report_page(request: Request, report_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Show one version of a report and how it reached its patient."""
    report, case = issuing.find_report(work, actor, report_id, Action.VIEW_REPORT)
    signed = sign_offs(work, case.id) if shows_ai(case, actor) and report.revision == case.revision else {}
    return page(
        request,
        "report/report.html",
        now=work.clock.now(),
        report=report,
        case=case,
        signed=signed,
        reading=reading_of(signed.get(SignOffStep.VERIFIED)),
        prescription=prescription_of(signed.get(SignOffStep.COMPLETED)),
        deliveries=send.of_report(work, report.id),
        delivery_words=present.DELIVERIES,
        may_reveal=worklist.may(actor, Action.REVEAL_PASSWORD),
        may_send=worklist.may(actor, Action.RESEND_REPORT) and report.status == "current",
        is_patient=actor.role is Role.PATIENT,
    )


@router.get("/reports/{report_id}/pdf")
def report_file(report_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Hand out the sealed copy, which opens with its own password."""
    report, pdf = issuing.open_pdf(work, actor, report_id)
    name = f"report-{str(report.id)[-8:]}-v{report.version}.pdf"
    return Response(
        pdf, media_type="application/pdf", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@router.post("/reports/{report_id}/password", dependencies=CSRF)
def report_password(request: Request, report_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Show the password of the patient's copy; a POST, because showing it is an event."""
    password = issuing.reveal_password(work, actor, report_id)
    fragment = "hx-request" in request.headers
    return page(
        request,
        "report/password.html" if fragment else "report/password_page.html",
        now=work.clock.now(),
        password=password,
        report_id=report_id,
    )


@router.post("/reports/{report_id}/send", dependencies=CSRF)
def send_report(request: Request, report_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """Put a report on its way to its patient once more."""
    issuing.send_again(work, actor, report_id)
    came_from_deliveries = request.headers.get("referer", "").endswith("/admin/deliveries")
    return go(request, "/admin/deliveries" if came_from_deliveries else f"/reports/{report_id}", flash="sent-again")
