"""A file comes in: check it, file it, open a case and ask for its analysis, or hold it with the reason."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, or_, select

from csss import audit, patients
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, Relation, require
from csss.accounts.tables import User
from csss.foundation.database import lock_name
from csss.foundation.errors import CsssError, NotFound, TooManyRequests, Unavailable, Unprocessable
from csss.foundation.ids import new_id, new_number
from csss.foundation.work import Work
from csss.imaging.limits import Limits
from csss.imaging.refusals import FileTooLarge
from csss.pathway.moves import move, note
from csss.pathway.states import State, Step
from csss.pathway.tables import Case
from csss.patients import Patient
from csss.studies import receive
from csss.studies.receive import Decode, Inspected, Upload
from csss.studies.tables import Instance

ANALYSE = "analyse"
UPLOADS_A_DAY = 200
_BEFORE_READING = (State.PENDING_AI, State.AI_RUNNING, State.AI_FAILED, State.AI_ANALYZED)


@dataclass(frozen=True, slots=True)
class Submitted:
    """The case of an upload; ``repeated`` when this very file was on record for the patient already."""

    case: Case
    repeated: bool


def submit(
    work: Work,
    actor: Actor,
    *,
    patient_id: UUID | None,
    upload: Upload,
    doctor_id: UUID | None,
    decode: Decode,
    limits: Limits,
    phantom: bool = False,
) -> Submitted:
    """Take in one file for one patient.

    A patient uploads for themselves (``patient_id`` may be left out), a doctor for a patient in care. The same
    file sent twice is one case. A file that is refused or held is kept sealed with a case in QUARANTINED, and the
    refusal is raised with ``scan_id`` in its facts; one over the size limit is not kept.
    """
    patient = _patient(work, actor, patient_id)
    receive.check_statement(upload)
    known = _known(work, patient, upload)
    if known is not None:
        return Submitted(known, repeated=True)
    _check_quota(work, actor)
    doctor = patients.doctor_for(work, patient, wanted=doctor_id or _self_if_doctor(actor, patient))
    if doctor_id is not None and doctor is None:
        raise Unprocessable("There is no such doctor.", code="no-such-doctor")
    # Decoding takes a while and holds no lock; what was read so far is not changed by it.
    work.pause()
    try:
        inspected = receive.inspect(upload, decode=decode, limits=limits)
        # One upload of a patient at a time from here on: two copies of a file must not become two cases, nor two
        # pictures give one doctor twice.
        work.session.scalar(select(Patient.id).where(Patient.id == patient.id).with_for_update())
        # And one of a picture: sent for two patients at the same moment, it must not be taken in for both.
        lock_name(work.session, f"pixels:{inspected.pixel_sha256}")
        receive.check_patient(work, patient, inspected)
        _check_not_of_another(work, patient, inspected)
    except CsssError as refusal:
        if isinstance(refusal, Unavailable) or refusal.code == FileTooLarge.code:
            raise
        raise _quarantine(work, actor, patient, upload, refusal) from refusal
    again = _known(work, patient, upload)
    if again is not None:
        return Submitted(again, repeated=True)
    instance = receive.file_instance(work, patient, upload, inspected)
    case = _open(work, actor, patient, phantom=phantom, instance=instance)
    if doctor is not None:
        _give_to(work, case, patient, doctor)
    move(work, case, Step.ACCEPT_FILE, None, detail={"kind": inspected.kind})
    request_analysis(work, case)
    return Submitted(case, repeated=False)


def request_analysis(work: Work, case: Case) -> None:
    """Ask for the AI's answer to this revision of a case, once."""
    work.jobs.request(ANALYSE, case.id, key=f"{ANALYSE}:{case.id}:{case.revision}")


def _check_not_of_another(work: Work, patient: Patient, inspected: Inspected) -> None:
    """Raise `Held` when the same picture is on record for another patient.

    A case that was rejected or cancelled does not count: a scan sent for the wrong person has to find its way.
    """
    other = work.session.scalar(
        select(Case.id)
        .join(Instance, Instance.id == Case.instance_id)
        .where(
            Instance.pixel_sha256 == inspected.pixel_sha256,
            Case.patient_id != patient.id,
            Case.state.not_in((State.REJECTED, State.CANCELLED)),
        )
        .limit(1)
    )
    if other is not None:
        raise receive.Held(
            "The file is held back: the same picture is on record for another patient. Nothing was analysed.",
            code="duplicate-of-other-patient",
        )


def assign_waiting(work: Work) -> int:
    """Give a doctor to scans that have none, or whose doctor was disabled; returns how many were given one.

    A site without a doctor takes scans in all the same; they wait here until somebody joins.
    """
    waiting = work.session.execute(
        select(Case, Patient)
        .join(Patient, Patient.id == Case.patient_id)
        .outerjoin(User, User.id == Case.doctor_id)
        .where(Case.state.in_(_BEFORE_READING), or_(Case.doctor_id.is_(None), User.disabled_at.is_not(None)))
        .order_by(Case.created_at)
    ).all()
    count = 0
    for case, patient in waiting:
        doctor = patients.doctor_for(work, patient, wanted=None)
        if doctor is not None:
            _give_to(work, case, patient, doctor)
            count += 1
    return count


def _give_to(work: Work, case: Case, patient: Patient, doctor: User) -> None:
    case.doctor_id = doctor.id
    patients.take_into_care(work, patient_id=patient.id, doctor_id=doctor.id, reason="assigned to read")


def _patient(work: Work, actor: Actor, patient_id: UUID | None) -> Patient:
    relation = require(actor, Action.UPLOAD_SCAN)
    own = patients.of_user(work, actor.user_id)
    if relation is Relation.OWN:
        if own is None or patient_id not in (None, own.id):
            raise NotFound("There is no such patient.")
        return own
    if patient_id is None:
        raise Unprocessable("Say whose scan this is (patient_id).", code="patient-missing")
    patient = work.session.get(Patient, patient_id)
    # A doctor who is a patient here too never handles their own record.
    if (
        patient is None
        or patient is own
        or not patients.cares_for(work, doctor_id=actor.user_id, patient_id=patient_id)
    ):
        raise NotFound("There is no such patient.")
    return patient


def _self_if_doctor(actor: Actor, patient: Patient) -> UUID | None:
    return actor.user_id if actor.user_id != patient.user_id and actor.role == "doctor" else None


def _known(work: Work, patient: Patient, upload: Upload) -> Case | None:
    return work.session.scalar(
        select(Case)
        .join(Instance, Instance.id == Case.instance_id)
        .where(
            Case.patient_id == patient.id,
            Instance.file_sha256 == upload.sha256,
            Case.state.not_in((State.REJECTED, State.CANCELLED)),
        )
        .order_by(Case.created_at.desc())
        .limit(1)
    )


def _check_quota(work: Work, actor: Actor) -> None:
    since = work.clock.now() - timedelta(days=1)
    count = work.session.scalar(
        select(func.count()).select_from(Case).where(Case.uploader_id == actor.user_id, Case.created_at > since)
    )
    if (count or 0) >= UPLOADS_A_DAY:
        raise TooManyRequests(f"At most {UPLOADS_A_DAY} uploads a day are possible.", code="quota")


def _open(work: Work, actor: Actor, patient: Patient, *, phantom: bool, instance: Instance | None = None) -> Case:
    now = work.clock.now()
    case = Case(
        id=new_id(),
        number=new_number("S"),
        patient_id=patient.id,
        instance_id=instance.id if instance else None,
        uploader_id=actor.user_id,
        state=State.RECEIVED,
        revision=0,
        version=1,
        issued=0,
        ai_attempts=0,
        phantom=phantom,
        created_at=now,
        changed_at=now,
    )
    work.session.add(case)
    work.session.flush()
    note(work, case, "upload", actor, source=None)
    audit.record(
        work,
        "scan.received",
        actor_id=actor.user_id,
        actor_role=actor.role,
        object_type="case",
        object_id=case.id,
        revision=0,
    )
    return case


def _quarantine(work: Work, actor: Actor, patient: Patient, upload: Upload, refusal: CsssError) -> CsssError:
    """Keep the file with its reason and return the refusal, which now leaves this trace."""
    held = receive.hold(work, patient, upload, refusal, uploader_id=actor.user_id)
    case = _open(work, actor, patient, phantom=False)
    case.held_file_id = held.id
    move(work, case, Step.REFUSE_FILE, None, reason_code=refusal.code, reason=refusal.message)
    kept = type(refusal)(
        refusal.message, code=refusal.code, facts={**refusal.facts, "scan_id": str(case.id)}, keeps=True
    )
    kept.__cause__ = refusal.__cause__
    return kept
