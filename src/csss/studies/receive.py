"""Check a file at the door, keep its bytes, and file it as study, series and instance."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from csss.foundation.errors import CsssError, Unprocessable
from csss.foundation.ids import dicom_uid, new_id
from csss.foundation.work import Work
from csss.imaging.archive import pack
from csss.imaging.limits import Limits
from csss.imaging.render import png_bytes, to_display
from csss.imaging.sniff import FileKind, sniff
from csss.imaging.volume import Volume, pixel_sha256
from csss.patients import Patient, StatedIdentity, identity_mismatch
from csss.studies.tables import HeldFile, Instance, Series, Study

# Turns checked bytes into pixels, in a child process under limits.
Decode = Callable[[bytes, FileKind], Volume]

PREVIEW_MAX_SIDE = 2048
# What a person may state for a picture whose file does not say what it shows (DICOM PS3.3 C.7.3.1.1.1).
STATABLE_MODALITIES = ("DX", "CR", "CT", "MR", "US", "OT")
MODALITY_WORDS = {"DX": "X-ray", "CR": "X-ray", "CT": "CT", "MR": "MRI", "US": "Ultrasound", "OT": "Other"}
STATABLE_BODY_PARTS = ("CHEST", "HEART", "BRAIN", "ABDOMEN", "EXTREMITY", "OTHER")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came in. ``modality`` and ``body_part`` are what the sender states, used when the file is silent."""

    filename: str
    data: bytes
    modality: str = "DX"
    body_part: str = "CHEST"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Inspected:
    """A file that passed: its pixels, decoded once, and the three forms that are kept."""

    kind: FileKind
    volume: Volume
    file_sha256: str
    pixel_sha256: str
    canonical: bytes
    preview_png: bytes


class Held(CsssError):
    """The file is kept back and somebody has to look: it may be of another patient."""

    status = 422
    code = "held"


def check_statement(upload: Upload) -> None:
    """Refuse a stated modality or body part that is not in our lists; raises `Unprocessable`."""
    if upload.modality not in STATABLE_MODALITIES:
        raise Unprocessable(f"Modality is one of {', '.join(STATABLE_MODALITIES)}.", code="bad-modality")
    if upload.body_part not in STATABLE_BODY_PARTS:
        raise Unprocessable(f"Body part is one of {', '.join(STATABLE_BODY_PARTS)}.", code="bad-body-part")


def check_size(upload: Upload, limits: Limits) -> FileKind:
    """Tell what the file really is and refuse what is too large for its kind, before anything is decoded."""
    kind = sniff(upload.data[:4096], upload.filename)
    limits.check_size(kind, len(upload.data))
    return kind


def inspect(upload: Upload, *, decode: Decode, limits: Limits) -> Inspected:
    """Decode a file, once for its whole life here; raises one of ``imaging.refusals`` with a typed reason.

    Needs no database and takes its time in a child process: call it outside a transaction.
    """
    volume = decode(upload.data, check_size(upload, limits))
    return Inspected(
        kind=volume.kind,
        volume=volume,
        file_sha256=upload.sha256,
        pixel_sha256=pixel_sha256(volume),
        canonical=pack(volume),
        preview_png=png_bytes(to_display(volume, max_side=PREVIEW_MAX_SIDE)),
    )


def check_patient(work: Work, patient: Patient, inspected: Inspected) -> None:
    """Raise `Held` when the file names another patient."""
    volume = inspected.volume
    if volume.kind is FileKind.DICOM:
        mismatch = identity_mismatch(work, patient, _stated(volume))
        if mismatch:
            raise Held(
                f"The file is held back: {mismatch}. Nothing was analysed. If it is of this patient, a doctor can add "
                "the number to the record; then send it again.",
                code="identity-mismatch",
            )


def _stated(volume: Volume) -> StatedIdentity:
    identity = volume.identity
    if identity is None:
        return StatedIdentity(None, None, None)
    born = date.fromisoformat(identity.birth_date) if identity.birth_date else None
    return StatedIdentity(identity.patient_id, identity.patient_name, born)


def file_instance(work: Work, patient: Patient, upload: Upload, inspected: Inspected) -> Instance:
    """Keep the three forms of a file as sealed blobs and file it; a single picture is a study of its own."""
    volume, now = inspected.volume, work.clock.now()
    facts = volume.acquisition
    study_id, series_id, instance_id = new_id(), new_id(), new_id()
    study = Study(
        id=study_id,
        patient_id=patient.id,
        uid=facts.study_uid or dicom_uid(study_id),
        modality=(volume.modality or upload.modality)[:16],
        body_part=(volume.body_part or upload.body_part)[:32],
        study_date=date.fromisoformat(facts.study_date) if facts.study_date else None,
        accession_number=facts.accession_number,
        institution=facts.institution[:120] if facts.institution else None,
        received_at=now,
    )
    device = " ".join(part for part in (facts.manufacturer, facts.device_model) if part)[:130]
    series = Series(
        id=series_id,
        study=study,
        uid=facts.series_uid or dicom_uid(series_id),
        device=device or None,
        laterality=volume.laterality,
        view_position=volume.view_position,
    )
    instance = Instance(
        id=instance_id,
        series=series,
        uid=facts.instance_uid or dicom_uid(instance_id),
        kind=inspected.kind,
        size_bytes=len(upload.data),
        rows=volume.rows,
        columns=volume.columns,
        burned_in=volume.burned_in,
        transfer_syntax=facts.transfer_syntax,
        file_sha256=inspected.file_sha256,
        pixel_sha256=inspected.pixel_sha256,
        original_blob=work.blobs.put(f"originals/{instance_id}", upload.data),
        canonical_blob=work.blobs.put(f"canonical/{instance_id}", inspected.canonical),
        preview_blob=work.blobs.put(f"previews/{instance_id}", inspected.preview_png),
    )
    work.session.add(instance)
    work.session.flush()
    return instance


def hold(work: Work, patient: Patient, upload: Upload, reason: CsssError, *, uploader_id: UUID | None) -> HeldFile:
    """Keep a refused file sealed, with the reason; its pixels are read by nothing."""
    key = new_id()
    held = HeldFile(
        id=key,
        patient_id=patient.id,
        uploader_id=uploader_id,
        received_at=work.clock.now(),
        size_bytes=len(upload.data),
        file_sha256=upload.sha256,
        blob=work.blobs.put(f"quarantine/{key}", upload.data),
        reason_code=reason.code[:60],
        reason=reason.message[:300],
    )
    work.session.add(held)
    work.session.flush()
    return held
