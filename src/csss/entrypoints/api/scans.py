"""JSON routes: send in a scan, look at it, and take it along its way."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, File, Form, Header, Query, Response, UploadFile

from csss.accounts.permissions import Action
from csss.entrypoints.api.shapes.scans import Event, Events, Received, Scan, ScanPage
from csss.entrypoints.api.shapes.steps import (
    ApproveForm,
    ChallengeShape,
    CompleteForm,
    ReasonForm,
    RejectForm,
    StepUpForm,
    VerifyForm,
)
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.pictures import heat_map_answer, image_answer
from csss.entrypoints.http.work import WorkDep
from csss.foundation.errors import BadRequest, NotBuilt
from csss.pathway import issuing, reading, signing, submit, worklist
from csss.pathway.access import find_case
from csss.pathway.states import State
from csss.reports.content import PrescribedItem, PrescriptionFacts, ReadingFacts
from csss.studies.receive import Upload

router = APIRouter(prefix="/scans", tags=["scans"])


def expected_version(if_match: Annotated[str, Header(pattern=r'^"?[0-9]{1,9}"?$|^\*$')] = "*") -> int | None:
    """Read If-Match: the version that the caller looked at, or None for "whatever it is now"."""
    return None if if_match == "*" else int(if_match.strip('"'))


VersionDep = Annotated[int | None, Depends(expected_version)]
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "A picture"}}


@router.post("", status_code=202, responses={200: {"model": Received, "description": "The same file again"}})
def send_scan(
    response: Response,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    file: Annotated[UploadFile, File(description="PNG or JPEG (at most 10 MB) or a single-frame DICOM file")],
    patient_id: Annotated[UUID | None, Form(description="May be left out by a patient")] = None,
    doctor_id: Annotated[UUID | None, Form(description="Who is to read it; chosen by the system when left out")] = None,
    modality: Annotated[str, Form(max_length=16, description="For files that do not say it")] = "DX",
    body_part: Annotated[str, Form(max_length=32)] = "CHEST",
) -> Received:
    """Send in one scan. A file that is refused or held is kept sealed; the problem then carries ``scan_id``."""
    data = file.file.read(parts.limits.dicom_bytes + 1)
    upload = Upload(filename=file.filename or "", data=data, modality=modality.upper(), body_part=body_part.upper())
    done = submit.submit(
        work,
        actor,
        patient_id=patient_id,
        upload=upload,
        doctor_id=doctor_id,
        decode=parts.decode,
        limits=parts.limits,
    )
    if done.repeated:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/scans/{done.case.id}"
    return Received(id=done.case.id, number=done.case.number, state=done.case.state, repeated=done.repeated)


@router.get("")
def list_scans(
    work: WorkDep,
    actor: ActorDep,
    state: Annotated[list[State] | None, Query()] = None,
    patient: UUID | None = None,
    cursor: Annotated[str | None, Query(max_length=300)] = None,
    limit: Annotated[int, Query(ge=1, le=worklist.MAX_PAGE)] = 25,
) -> ScanPage:
    """The scans that this person may see, newest first."""
    page = worklist.list_cases(work, actor, states=tuple(state or ()), patient_id=patient, cursor=cursor, limit=limit)
    return ScanPage.of(page)


def _answer(work: WorkDep, actor: ActorDep, case_id: UUID, response: Response) -> Scan:
    view = worklist.view_case(work, actor, case_id)
    response.headers["ETag"] = f'"{view.case.version}"'
    return Scan.of(view, actor)


@router.get("/{scan_id}")
def get_scan(scan_id: UUID, response: Response, work: WorkDep, actor: ActorDep) -> Scan:
    """One scan, as this person may see it."""
    return _answer(work, actor, scan_id, response)


@router.get("/{scan_id}/image", responses=PNG, response_class=Response)
def get_image(scan_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """The image, drawn anew as PNG without any metadata of the file."""
    return image_answer(work, actor, scan_id)


@router.get("/{scan_id}/heatmap", responses=PNG, response_class=Response)
def get_heat_map(scan_id: UUID, work: WorkDep, actor: ActorDep) -> Response:
    """The heat map as a transparent PNG to lay over the image; 404 where there is none to see."""
    return heat_map_answer(work, actor, scan_id)


@router.get("/{scan_id}/events")
def get_events(scan_id: UUID, work: WorkDep, actor: ActorDep) -> Events:
    """What happened to a scan, oldest first."""
    return Events(items=[Event.of(row, name, actor) for row, name in worklist.events(work, actor, scan_id)])


@router.post("/{scan_id}/verify")
def verify(
    scan_id: UUID,
    form: VerifyForm,
    response: Response,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    version: VersionDep,
) -> Scan:
    """The doctor's signature. Empty notes: 400."""
    signing.verify(
        work,
        actor,
        case_id=scan_id,
        reading=ReadingFacts(**form.model_dump()),
        site=parts.site,
        expected_version=version,
    )
    return _answer(work, actor, scan_id, response)


@router.post("/{scan_id}/complete")
def complete(
    scan_id: UUID,
    form: CompleteForm,
    response: Response,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    version: VersionDep,
) -> Scan:
    """The pharmacist's signature: a prescription, or the word that none is needed."""
    signing.complete(
        work,
        actor,
        case_id=scan_id,
        prescription=PrescriptionFacts(
            allergy_check=form.allergy_check,
            items=tuple(PrescribedItem(**item.model_dump()) for item in form.items),
            none_statement=form.none_statement,
        ),
        site=parts.site,
        expected_version=version,
    )
    return _answer(work, actor, scan_id, response)


@router.post("/{scan_id}/step-up", status_code=201)
def step_up(scan_id: UUID, form: StepUpForm, work: WorkDep, actor: ActorDep, parts: PartsDep) -> ChallengeShape:
    """Ask for the fresh second factor of one approval; a new challenge voids the one before."""
    challenge = signing.begin_step_up(
        work, actor, case_id=scan_id, method=form.method, site=parts.site, send_code=parts.send_code
    )
    case = find_case(work, actor, scan_id, Action.STEP_UP)
    _, sha256 = signing.content_to_approve(work, case, site=parts.site)
    return ChallengeShape(
        id=challenge.id,
        method=challenge.method,
        expires_at=challenge.expires_at,
        resend_at=challenge.resend_at,
        content_sha256=sha256,
    )


@router.post("/{scan_id}/approve")
def approve(
    scan_id: UUID,
    form: ApproveForm,
    response: Response,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    version: VersionDep,
) -> Scan:
    """The administrator's signature, with the code of the step-up. A wrong or expired code: 401."""
    signing.approve(work, actor, case_id=scan_id, code=form.code, site=parts.site, expected_version=version)
    return _answer(work, actor, scan_id, response)


@router.post("/{scan_id}/return", status_code=204)
def return_to_doctor(scan_id: UUID, form: ReasonForm, work: WorkDep, actor: ActorDep, version: VersionDep) -> None:
    """Send a case back to the doctor (the doctor: withdraw the own signature)."""
    signing.return_to_doctor(work, actor, case_id=scan_id, reason=form.reason, expected_version=version)


@router.post("/{scan_id}/return-to-pharmacist", status_code=204)
def return_to_pharmacist(
    scan_id: UUID, form: ReasonForm, work: WorkDep, actor: ActorDep, parts: PartsDep, version: VersionDep
) -> None:
    """Send a case back to the pharmacy."""
    signing.return_to_pharmacist(
        work, actor, case_id=scan_id, reason=form.reason, site=parts.site, expected_version=version
    )


@router.post("/{scan_id}/reject", status_code=204)
def reject(scan_id: UUID, form: RejectForm, work: WorkDep, actor: ActorDep, version: VersionDep) -> None:
    """Refuse a scan that cannot be read."""
    reading.reject_scan(work, actor, case_id=scan_id, reason_code=form.reason_code, expected_version=version)


@router.post("/{scan_id}/cancel", status_code=204)
def cancel(scan_id: UUID, form: ReasonForm, work: WorkDep, actor: ActorDep, version: VersionDep) -> None:
    """Take a scan back before it is read."""
    reading.cancel(work, actor, case_id=scan_id, reason=form.reason, expected_version=version)


@router.post("/{scan_id}/retry-ai", status_code=202)
def retry_ai(scan_id: UUID, response: Response, work: WorkDep, actor: ActorDep, version: VersionDep) -> Scan:
    """Let the AI try again where it failed."""
    reading.retry_ai(work, actor, case_id=scan_id, expected_version=version)
    return _answer(work, actor, scan_id, response)


@router.post("/{scan_id}/read-without-ai")
def read_without_ai(
    scan_id: UUID, form: ReasonForm, response: Response, work: WorkDep, actor: ActorDep, version: VersionDep
) -> Scan:
    """Go on without an AI result where it failed."""
    reading.read_without_ai(work, actor, case_id=scan_id, reason=form.reason, expected_version=version)
    return _answer(work, actor, scan_id, response)


@router.post("/{scan_id}/retry-render", status_code=202)
def retry_render(scan_id: UUID, response: Response, work: WorkDep, actor: ActorDep, version: VersionDep) -> Scan:
    """Try again to make a report that failed."""
    issuing.retry_render(work, actor, case_id=scan_id, expected_version=version)
    return _answer(work, actor, scan_id, response)


NOT_OPEN = {"amend": "amendment", "addendum": "addendum", "retract": "retraction", "rerun-ai": "second run of the AI"}


@router.post("/{scan_id}/{step}", include_in_schema=False)
def not_open_yet(scan_id: UUID, step: str, work: WorkDep, actor: ActorDep) -> None:
    """Steps of the workflow table that have no verb yet say so."""
    find_case(work, actor, scan_id, Action.VIEW_SCAN)
    if step not in NOT_OPEN:
        raise BadRequest("There is no such step.", code="no-such-step")
    raise NotBuilt(f"This version of CSSS has no {NOT_OPEN[step]} yet.")
