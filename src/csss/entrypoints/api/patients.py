"""JSON routes: a doctor's patients."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from csss import patients
from csss.entrypoints.api.shapes.people import PatientForm, Patients, PatientShape, RecordForm
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.work import WorkDep

router = APIRouter(prefix="/patients", tags=["patients"])


@router.get("")
def list_patients(work: WorkDep, actor: ActorDep, search: Annotated[str, Query(max_length=100)] = "") -> Patients:
    """The patients in this doctor's care, by name."""
    return Patients(items=[PatientShape.of(patient) for patient in patients.in_care(work, actor, search=search)])


@router.post("", status_code=201)
def register_patient(form: PatientForm, work: WorkDep, actor: ActorDep) -> PatientShape:
    """Register a patient who has no account; the doctor cares for them from now on."""
    return PatientShape.of(patients.register(work, actor, name=form.name, birth_date=form.birth_date, sex=form.sex))


@router.post("/{patient_id}/record")
def amend_record(patient_id: UUID, form: RecordForm, work: WorkDep, actor: ActorDep) -> PatientShape:
    """Record allergies, or a number by which another system knows the patient (then DICOM files with it fit)."""
    return PatientShape.of(patients.amend(work, actor, patient_id=patient_id, **form.model_dump()))
