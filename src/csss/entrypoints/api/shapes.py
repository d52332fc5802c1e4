"""What the API sends and takes: pydantic models, strict on the way in."""

from datetime import date, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from csss.accounts.actor import Actor
from csss.accounts.tables import Role, StepUpMethod
from csss.delivery.tables import Delivery, DeliveryStatus
from csss.findings.tables import Analysis
from csss.pathway.states import FHIR_STATUS, State
from csss.pathway.tables import CaseEvent, SignOff
from csss.pathway.worklist import CaseView, Line, Page, reason_for
from csss.patients import Patient
from csss.reports.content import SignOffStep
from csss.reports.tables import Report, ReportStatus


class Shape(BaseModel):
    """Something that goes out."""

    model_config = ConfigDict(frozen=True)


class Form(BaseModel):
    """Something that comes in; a field that we do not know is refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Shape):
    """RFC 9457 problem details; go by ``code``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class RegisterForm(Form):
    email: str = Field(max_length=254)
    name: str = Field(max_length=200)
    birth_date: date
    sex: str = Field(max_length=10, examples=["female"])
    password: str = Field(max_length=256, description="At least 15 characters; a few words are fine")


class ConfirmForm(Form):
    token: str = Field(max_length=100, description="From the link in the mail")
    password: str = Field(max_length=256)


class LoginForm(Form):
    email: str = Field(max_length=254)
    password: str = Field(max_length=256)
    code: str | None = Field(None, max_length=16, description="Authenticator code; needed by staff")


class Accepted(Shape):
    status: str


class Me(Shape):
    id: UUID
    email: str
    name: str
    role: Role
    patient_id: UUID | None

    @classmethod
    def of(cls, actor: Actor, patient: Patient | None) -> Self:
        return cls(
            id=actor.user_id,
            email=actor.email,
            name=actor.name,
            role=actor.role,
            patient_id=patient.id if patient else None,
        )


class Token(Shape):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - RFC 6750's name, not a secret
    expires_in: int = Field(description="Seconds")
    user: Me


class PatientShape(Shape):
    id: UUID
    record_number: str
    name: str
    birth_date: date
    sex: str

    @classmethod
    def of(cls, patient: Patient) -> Self:
        return cls(
            id=patient.id,
            record_number=patient.record_number,
            name=patient.name,
            birth_date=patient.birth_date,
            sex=patient.sex,
        )


class PatientForm(Form):
    name: str = Field(max_length=200)
    birth_date: date
    sex: str = Field(max_length=10)


class Patients(Shape):
    items: list[PatientShape]


class AiShape(Shape):
    """What the model said, whole. Not for primary diagnosis."""

    label: str
    top_label: str
    confidence: float
    probabilities: dict[str, float]
    threshold: float
    uncertain: bool
    uncertain_reasons: list[str]
    risk: str
    regions: list[str]
    calibrated: bool
    model: str
    model_version: str
    model_sha256: str
    input_sha256: str
    phantom_trained: bool
    has_heatmap: bool
    at: datetime

    @classmethod
    def of(cls, row: Analysis | None) -> Self | None:
        if row is None:
            return None
        return cls(
            label=row.label,
            top_label=row.top_label,
            confidence=row.confidence,
            probabilities=dict(row.probabilities),
            threshold=row.tau,
            uncertain=row.uncertain,
            uncertain_reasons=row.uncertain_reasons,
            risk=row.risk,
            regions=row.regions,
            calibrated=row.calibrated,
            model=row.model,
            model_version=row.model_version,
            model_sha256=row.model_sha256,
            input_sha256=row.input_sha256,
            phantom_trained=row.phantom_trained,
            has_heatmap=row.heat_blob is not None,
            at=row.at,
        )


class ScanLine(Shape):
    id: UUID
    number: str
    state: State
    fhir_status: str
    patient: PatientShape
    modality: str | None
    body_part: str | None
    doctor: str | None
    ai_label: str | None
    uncertain: bool | None
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, line: Line) -> Self:
        case, analysis = line.case, line.analysis
        return cls(
            id=case.id,
            number=case.number,
            state=case.state,
            fhir_status=FHIR_STATUS[case.state],
            patient=PatientShape.of(line.patient),
            modality=line.modality,
            body_part=line.body_part,
            doctor=line.doctor_name,
            ai_label=analysis.label if analysis else None,
            uncertain=analysis.uncertain if analysis else None,
            created_at=case.created_at,
            changed_at=case.changed_at,
        )


class ScanPage(Shape):
    items: list[ScanLine]
    next_cursor: str | None = Field(description="Pass as ``cursor`` for the next page; null at the end")

    @classmethod
    def of(cls, page: Page) -> Self:
        return cls(items=[ScanLine.of(line) for line in page.lines], next_cursor=page.next_cursor)


class SignOffShape(Shape):
    step: SignOffStep
    by: str
    role: str
    at: datetime
    revision: int
    content_sha256: str
    words: dict[str, Any]

    @classmethod
    def of(cls, row: SignOff) -> Self:
        return cls(
            step=row.step,
            by=row.person_name,
            role=row.role,
            at=row.at,
            revision=row.revision,
            content_sha256=row.content_sha256,
            words=row.words,
        )


class ReportLine(Shape):
    id: UUID
    version: int
    status: ReportStatus
    issued_at: datetime

    @classmethod
    def of(cls, row: Report) -> Self:
        return cls(id=row.id, version=row.version, status=row.status, issued_at=row.issued_at)


class Scan(Shape):
    """One scan as this person may see it; ``ai`` is null for a patient before the report is released."""

    id: UUID
    number: str
    state: State
    fhir_status: str
    revision: int
    version: int = Field(description="Also the ETag; send it back as If-Match with a step")
    patient: PatientShape
    modality: str | None
    body_part: str | None
    doctor: str | None
    uploaded_by: str | None
    phantom: bool
    reason_code: str | None
    reason: str | None
    ai: AiShape | None
    sign_offs: list[SignOffShape]
    reports: list[ReportLine]
    steps: list[str] = Field(description="What this role can do in this state")
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, view: CaseView, actor: Actor) -> Self:
        case = view.case
        reason = reason_for(actor, case.state, case.reason)
        return cls(
            id=case.id,
            number=case.number,
            state=case.state,
            fhir_status=FHIR_STATUS[case.state],
            revision=case.revision,
            version=case.version,
            patient=PatientShape.of(view.patient),
            modality=view.study.modality if view.study else None,
            body_part=view.study.body_part if view.study else None,
            doctor=view.doctor.name if view.doctor else None,
            uploaded_by=view.uploader.name,
            phantom=case.phantom,
            reason_code=case.reason_code if reason is not None else None,
            reason=reason,
            ai=AiShape.of(view.analysis),
            sign_offs=[SignOffShape.of(view.sign_offs[step]) for step in SignOffStep if step in view.sign_offs],
            reports=[ReportLine.of(row) for row in view.reports],
            steps=sorted(view.steps),
            created_at=case.created_at,
            changed_at=case.changed_at,
        )


class Received(Shape):
    """Answer to an upload. ``repeated``: this very file was on record for the patient, nothing new was opened."""

    id: UUID
    number: str
    state: State
    repeated: bool


class Event(Shape):
    at: datetime
    step: str
    source: State | None
    target: State
    revision: int
    role: str
    by: str | None
    reason: str | None

    @classmethod
    def of(cls, row: CaseEvent, name: str | None, actor: Actor) -> Self:
        return cls(
            at=row.at,
            step=row.step,
            source=State(row.source) if row.source else None,
            target=State(row.target),
            revision=row.revision,
            role=row.actor_role,
            by=name,
            reason=reason_for(actor, row.target, row.reason),
        )


class Events(Shape):
    items: list[Event]


LongText = Annotated[str, Field(max_length=20_000)]


class VerifyForm(Form):
    conclusion: LongText
    notes: LongText
    agrees_with_ai: bool | None = Field(None, description="Needed when there is an AI result, null when there is none")
    recommendations: LongText | None = None
    acknowledgement: LongText | None = Field(
        None, description="At least 20 characters when the AI was uncertain or absent"
    )


class Item(Form):
    medicine: str = Field(max_length=200)
    dose: str = Field(max_length=200)
    route: str = Field("", max_length=200)
    frequency: str = Field(max_length=200)
    duration: str = Field("", max_length=200)
    remarks: str = Field("", max_length=1000)


class CompleteForm(Form):
    items: list[Item] = Field(default_factory=list, max_length=50)
    none_statement: LongText | None = Field(None, description="The word that nothing is needed, when items is empty")
    allergy_check: LongText


class StepUpForm(Form):
    method: StepUpMethod = StepUpMethod.TOTP


class ChallengeShape(Shape):
    id: UUID
    method: StepUpMethod
    expires_at: datetime
    resend_at: datetime
    content_sha256: str = Field(description="What the code will be bound to")


class ApproveForm(Form):
    code: str = Field(max_length=32)


class ReasonForm(Form):
    reason: str = Field(max_length=500)


class RejectForm(Form):
    reason_code: str = Field(max_length=40)


class DeliveryShape(Shape):
    id: UUID
    channel: str
    status: DeliveryStatus
    attempts: int
    queued_at: datetime
    sent_at: datetime | None
    error: str | None

    @classmethod
    def of(cls, row: Delivery) -> Self:
        return cls(
            id=row.id,
            channel=row.channel,
            status=row.status,
            attempts=row.attempts,
            queued_at=row.queued_at,
            sent_at=row.sent_at,
            error=row.error,
        )


class ReportShape(Shape):
    id: UUID
    scan_id: UUID
    version: int
    revision: int
    status: ReportStatus
    issued_at: datetime
    content_sha256: str
    archive_sha256: str
    delivered_sha256: str
    deliveries: list[DeliveryShape]


class Password(Shape):
    password: str
