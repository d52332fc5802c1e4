"""What one issued report says, as frozen facts, with the rule that decides when it may be released."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final

from csss.foundation.errors import Conflict

DISCLAIMER: Final = (
    "This report was generated with AI assistance and has been reviewed and approved by a qualified medical "
    "professional before release."
)
DISCLAIMER_WITHOUT_AI: Final = (
    "This report has been reviewed and approved by a qualified medical professional before release. "
    "No AI result was used."
)


class NotReleasable(Conflict):
    """The content lacks what a released report must rest on."""

    code = "report-not-releasable"


class SignOffStep(StrEnum):
    VERIFIED = "verified"
    COMPLETED = "completed"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """Who the report is about; a field that is None or empty is not printed."""

    name: str
    record_number: str
    birth_date: date | None = None
    sex: str | None = None
    blood_group: str | None = None
    allergies: str | None = None
    contact: str | None = None
    insurance: str | None = None
    emergency_contact: str | None = None
    visit: str | None = None


@dataclass(frozen=True, slots=True)
class ReferralFacts:
    """Why the scan was asked for, as far as it was written down."""

    physician: str | None = None
    department: str | None = None
    indication: str | None = None
    requested_on: date | None = None
    priority: str | None = None
    history: str | None = None


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """The image that was read; ``file_sha256`` is the hexadecimal digest of the file as received."""

    scan_id: str
    accession_number: str
    modality: str
    body_part: str
    kind: str
    received_at: datetime
    file_sha256: str
    acquired_on: date | None = None
    device: str | None = None
    technician: str | None = None
    contrast: str | None = None
    quality_notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelProbability:
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class AiFacts:
    """What the model said: ``label`` is the outcome ("Uncertain" below ``tau``), ``top_label`` the likeliest class.

    ``heat`` says what the heat map shows; None where it explains no label that was found, and is not printed.
    """

    model: str
    version: str
    model_sha256: str
    label: str
    top_label: str
    confidence: float
    probabilities: tuple[LabelProbability, ...]
    tau: float
    uncertain: bool
    risk: str
    uncertain_reasons: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    heat: str | None = None
    quality: tuple[str, ...] = ()
    not_ruled_out: tuple[str, ...] = ()
    coverage: float | None = None
    phantom_trained: bool = False
    out_of_distribution: bool = False


@dataclass(frozen=True, slots=True)
class ReadingFacts:
    """The doctor's own reading; ``agrees_with_ai`` is None when there was no AI result to agree with."""

    conclusion: str
    notes: str
    agrees_with_ai: bool | None
    recommendations: str | None = None
    acknowledgement: str | None = None


@dataclass(frozen=True, slots=True)
class PrescribedItem:
    medicine: str
    dose: str
    route: str
    frequency: str
    duration: str
    remarks: str = ""


@dataclass(frozen=True, slots=True)
class PrescriptionFacts:
    """Items, or no item and ``none_statement``: the pharmacist's explicit word that none is needed."""

    allergy_check: str
    items: tuple[PrescribedItem, ...] = ()
    none_statement: str | None = None


@dataclass(frozen=True, slots=True)
class SignOffFact:
    """One recorded sign-off; ``content_sha256`` is the digest of what that person signed (see the function)."""

    step: SignOffStep
    person_id: str
    person_name: str
    role: str
    at: datetime
    content_sha256: str


@dataclass(frozen=True, slots=True)
class ReportContent:
    """Everything a report prints. ``ai`` is None with ``no_ai_reason`` when the doctor read without it."""

    report_id: str
    version: int
    revision: int
    hospital_name: str
    issued_at: datetime
    patient: PatientFacts
    scan: ScanFacts
    ai: AiFacts | None
    reading: ReadingFacts
    prescription: PrescriptionFacts | None
    sign_offs: tuple[SignOffFact, ...] = ()
    referral: ReferralFacts | None = None
    no_ai_reason: str | None = None
    language: str = "en"
    phantom: bool = False


def content_sha256(content: ReportContent, step: SignOffStep = SignOffStep.APPROVED) -> str:
    """Return the hexadecimal SHA-256 of what the person who takes ``step`` signs.

    The digest is over JSON with sorted keys, no spaces, ASCII escapes, ISO 8601 times in UTC and shortest-form
    floats, so it is the same in every process and from every database. Fields for ``VERIFIED``: the patient's
    name, record number, birth date and sex; the whole of ``scan``, ``referral``, ``ai``, ``no_ai_reason``, ``reading``,
    ``phantom`` and ``language``. ``COMPLETED`` and ``APPROVED`` add allergies, blood group and ``prescription``.
    Left out on purpose: report id, version, revision, hospital, time of issue and sign-offs (not known when it is
    signed, or changed by a retry that keeps the content) and contact, insurance and visit (administrative: a new
    telephone number must not undo a reading).
    """
    patient = {key: getattr(content.patient, key) for key in ("name", "record_number", "birth_date", "sex")}
    signed: dict[str, Any] = {
        "format": "csss-report-content/1",
        "patient": patient,
        "scan": _plain(content.scan),
        "referral": _plain(content.referral),
        "ai": _ai(content.ai),
        "no_ai_reason": content.no_ai_reason,
        "reading": _plain(content.reading),
        "phantom": content.phantom,
        "language": content.language,
    }
    if step is not SignOffStep.VERIFIED:
        patient["allergies"] = content.patient.allergies
        patient["blood_group"] = content.patient.blood_group
        signed["prescription"] = _plain(content.prescription)
    try:
        canonical = json.dumps(signed, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_iso)
    except ValueError as error:
        raise NotReleasable("The content holds a value that is not a number or a time without offset.") from error
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def check_releasable(content: ReportContent) -> None:
    """Raise ``NotReleasable`` unless the recorded sign-offs carry this very content.

    Exactly three sign-offs (verified, completed, approved) by three different persons, in order of time and not
    after the time of issue, each over ``content_sha256`` of its step; a reading with notes and a conclusion; a
    prescription or an explicit none; an AI result or the reason why there is none.
    """
    _check_sign_offs(content)
    _check_parts(content)


def statement(content: ReportContent) -> str:
    """Return the sentence of release, only for content whose sign-offs bear it out (raises ``NotReleasable``)."""
    check_releasable(content)
    return DISCLAIMER if content.ai is not None else DISCLAIMER_WITHOUT_AI


def age_in_years(birth_date: date, on: date) -> int | None:
    """Return the completed years of life on a day, or None where the birth date lies after it."""
    years = on.year - birth_date.year - ((on.month, on.day) < (birth_date.month, birth_date.day))
    return years if years >= 0 else None


def _check_sign_offs(content: ReportContent) -> None:
    sign_offs = content.sign_offs
    if tuple(sign_off.step for sign_off in sign_offs) != tuple(SignOffStep):
        raise NotReleasable("A report needs three sign-offs in this order: verified, completed, approved.")
    if any(not sign_off.person_name.strip() or not sign_off.person_id for sign_off in sign_offs):
        raise NotReleasable("Every sign-off must name the person who gave it.")
    if len({sign_off.person_id for sign_off in sign_offs}) != len(sign_offs):
        raise NotReleasable("The three sign-offs must come from three different persons.")
    moments = [*(sign_off.at for sign_off in sign_offs), content.issued_at]
    if any(moment.tzinfo is None for moment in moments):
        raise NotReleasable("A time without an offset from UTC cannot be printed on a report.")
    if moments != sorted(moments):
        raise NotReleasable("The sign-offs are not in order of time.")
    if any(sign_off.content_sha256 != content_sha256(content, sign_off.step) for sign_off in sign_offs):
        raise NotReleasable("The content was changed after it was signed.", code="content-changed")


def _check_parts(content: ReportContent) -> None:
    if not content.reading.notes.strip() or not content.reading.conclusion.strip():
        raise NotReleasable("A report needs the doctor's notes and conclusion.")
    prescription = content.prescription
    if prescription is None or bool(prescription.items) == bool((prescription.none_statement or "").strip()):
        raise NotReleasable("A report needs a prescription or the pharmacist's statement that there is none.")
    if not prescription.allergy_check.strip():
        raise NotReleasable("A report needs the recorded allergy check.")
    if content.ai is None and not (content.no_ai_reason or "").strip():
        raise NotReleasable("A report without an AI result must say why there is none.")


def _ai(facts: AiFacts | None) -> dict[str, Any] | None:
    """Leave out what was not looked at: a signature from before these facts were known still covers its content."""
    plain = _plain(facts)
    later = {"quality": (), "not_ruled_out": (), "coverage": None}
    return None if plain is None else {key: value for key, value in plain.items() if later.get(key, ...) != value}


def _plain(part: Any) -> dict[str, Any] | None:
    return None if part is None else dataclasses.asdict(part)


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without offset has no canonical form")
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no canonical form for {type(value).__name__}")
