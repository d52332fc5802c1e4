"""Pages: send in a scan, as the patient or as a doctor for a patient in care."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from csss import patients
from csss.accounts.actor import Actor
from csss.accounts.permissions import Relation
from csss.accounts.tables import Role
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import Parts, PartsDep, parts_of
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web import present
from csss.entrypoints.web.desks import require_desk
from csss.entrypoints.web.forms import CSRF, keep_form, parse_id
from csss.entrypoints.web.rendering import Refusal, go, page
from csss.foundation.errors import Unprocessable
from csss.foundation.work import Work
from csss.imaging.sniff import FileKind
from csss.pathway.access import own_patient
from csss.pathway.submit import submit
from csss.studies.receive import STATABLE_BODY_PARTS, STATABLE_MODALITIES, Upload

router = APIRouter(include_in_schema=False)

FileField = Annotated[UploadFile | None, File()]
TextField = Annotated[str, Form()]


@router.get("/patient/upload")
def patient_upload_page(request: Request, work: WorkDep, actor: ActorDep) -> Response:
    """Show the form with which patients send a scan of their own."""
    require_desk(actor, Relation.OWN)
    return _form_page(request, work, actor)


@router.post("/patient/upload", dependencies=CSRF)
def patient_upload(
    request: Request,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    file: FileField = None,
    modality: TextField = "DX",
    body_part: TextField = "CHEST",
    doctor: TextField = "",
) -> Response:
    """Take in a patient's own scan."""
    require_desk(actor, Relation.OWN)
    keep_form(request, "upload", lambda work, refusal: _form_page(request, work, actor, refusal=refusal))
    own_patient(work, actor)
    doctor_id = parse_id(doctor, "Choose a doctor from the list.") if doctor else None
    return _take_in(request, work, actor, parts, None, doctor_id, _read(parts, file, modality, body_part))


@router.get("/doctor/upload")
def doctor_upload_page(request: Request, work: WorkDep, actor: ActorDep, patient: UUID | None = None) -> Response:
    """Show the form with which doctors send a scan of a patient in care."""
    require_desk(actor, Relation.IN_CARE)
    return _form_page(request, work, actor, chosen=patient)


@router.post("/doctor/upload", dependencies=CSRF)
def doctor_upload(
    request: Request,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    file: FileField = None,
    patient: TextField = "",
    modality: TextField = "DX",
    body_part: TextField = "CHEST",
) -> Response:
    """Take in a scan of a patient in care."""
    require_desk(actor, Relation.IN_CARE)
    keep_form(request, "upload", lambda work, refusal: _form_page(request, work, actor, refusal=refusal))
    patient_id = parse_id(patient, "Choose the patient whose scan this is.")
    return _take_in(request, work, actor, parts, patient_id, None, _read(parts, file, modality, body_part))


def _read(parts: Parts, file: UploadFile | None, modality: str, body_part: str) -> Upload:
    if file is None or not file.filename:
        raise Unprocessable("Choose a file first.", code="file-missing")
    data = file.file.read(parts.limits.dicom_bytes + 1)
    return Upload(filename=file.filename, data=data, modality=modality, body_part=body_part)


def _take_in(
    request: Request,
    work: Work,
    actor: Actor,
    parts: Parts,
    patient_id: UUID | None,
    doctor_id: UUID | None,
    upload: Upload,
) -> Response:
    done = submit(
        work,
        actor,
        patient_id=patient_id,
        upload=upload,
        doctor_id=doctor_id,
        decode=parts.decode,
        limits=parts.limits,
    )
    return go(request, f"/scans/{done.case.id}", flash="uploaded-before" if done.repeated else "uploaded")


def _form_page(
    request: Request, work: Work, actor: Actor, *, chosen: UUID | None = None, refusal: Refusal | None = None
) -> Response:
    limits = parts_of(request).limits
    is_doctor = actor.role is Role.DOCTOR
    return page(
        request,
        "parts/upload_page.html",
        now=work.clock.now(),
        is_doctor=is_doctor,
        people=patients.in_care(work, actor, limit=500) if is_doctor else [],
        doctors=[] if is_doctor else patients.doctors(work),
        chosen=str(chosen) if chosen else "",
        modalities=[(code, present.MODALITIES[code]) for code in STATABLE_MODALITIES],
        body_parts=[(code, code.capitalize()) for code in STATABLE_BODY_PARTS],
        picture_limit=limits.max_bytes(FileKind.PNG),
        dicom_limit=limits.max_bytes(FileKind.DICOM),
        refusal=refusal,
        status=refusal.error.status if refusal else 200,
    )
