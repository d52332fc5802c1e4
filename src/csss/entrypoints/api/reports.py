"""JSON routes: issued reports, their sealed file, its password, and sending it again."""

from uuid import UUID

from fastapi import APIRouter, Response

from csss.accounts.permissions import Action
from csss.delivery import send
from csss.entrypoints.api.shapes.reports import DeliveryShape, Password, ReportShape
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.work import WorkDep
from csss.pathway import issuing

router = APIRouter(prefix="/reports", tags=["reports"])


@router.get("/{report_id}")
def get_report(report_id: UUID, work: WorkDep, actor: ActorDep) -> ReportShape:
    """One issued version: its hashes and how its delivery went."""
    report, case = issuing.find_report(work, actor, report_id, Action.VIEW_REPORT)
    return ReportShape(
        id=report.id,
        scan_id=case.id,
        version=report.version,
        revision=report.revision,
        status=report.status,
        issued_at=report.issued_at,
        content_sha256=report.content_sha256,
        archive_sha256=report.archive_sha256,
        delivered_sha256=report.delivered_sha256,
        deliveries=[DeliveryShape.of(row) for row in send.of_report(work, report.id)],
    )


@router.get(
    "/{report_id}/pdf",
    response_class=Response,
    responses={200: {"content": {"application/pdf": {}}, "description": "The sealed PDF (AES-256, certified)"}},
)
def get_pdf(report_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """The sealed copy; it opens with its own password."""
    report, pdf = issuing.open_pdf(work, actor, report_id)
    name = f"report-{str(report.id)[-8:]}-v{report.version}.pdf"
    return Response(
        pdf, media_type="application/pdf", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@router.post("/{report_id}/password")
def show_password(report_id: UUID, work: WorkDep, actor: ActorDep) -> Password:
    """The password of the patient's own copy; a POST, because showing it is an event."""
    return Password(password=issuing.reveal_password(work, actor, report_id))


@router.post("/{report_id}/send", status_code=202)
def send_again(report_id: UUID, work: WorkDep, actor: ActorDep) -> DeliveryShape:
    """Put the report on its way to its patient once more."""
    return DeliveryShape.of(issuing.send_again(work, actor, report_id))
