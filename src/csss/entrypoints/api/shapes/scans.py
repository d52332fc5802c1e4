"""Shapes of scans: the line of a list, the whole, and what happened to it."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import Field

from csss.accounts.actor import Actor
from csss.entrypoints.api.shapes.base import Shape
from csss.entrypoints.api.shapes.people import PatientShape
from csss.findings.analyse import quality_finding
from csss.pathway.access import shows_heat
from csss.pathway.states import FHIR_STATUS, State
from csss.pathway.tables import CaseEvent, SignOff
from csss.pathway.worklist import CaseView, Line, Page, reason_for
from csss.reports.content import SignOffStep
from csss.reports.tables import Report, ReportStatus


class QualityShape(Shape):
    """What a check of the picture found; a fault makes the result "Uncertain"."""

    check: str
    fault: bool
    value: float
    limit: float
    words: str

    @classmethod
    def of(cls, entry: list[Any]) -> Self:
        found = quality_finding(entry)
        return cls(check=found.check, fault=found.fault, value=found.value, limit=found.limit, words=found.words)


class GateShape(Shape):
    """What the picture was taken for before it was read."""

    model: str
    version: str
    label: str
    display: str
    share: float
    distance: float
    limit: float
    sure: bool


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
    calibration: str
    conformal_set: list[str]
    coverage: float | None
    quality: list[QualityShape]
    gate: GateShape | None
    phantom: bool
    model: str
    model_version: str
    model_sha256: str
    input_sha256: str
    phantom_trained: bool
    has_heatmap: bool
    heatmap_of: str | None
    heatmap_against: str | None
    at: datetime

    @classmethod
    def of(cls, view: CaseView, actor: Actor) -> Self | None:
        row = view.analysis
        if row is None:
            return None
        told = shows_heat(view.case, actor, row)
        return cls(
            label=row.label,
            top_label=row.top_label,
            confidence=row.confidence,
            probabilities=dict(row.probabilities),
            threshold=row.tau,
            uncertain=row.uncertain,
            uncertain_reasons=row.uncertain_reasons,
            risk=row.risk,
            regions=row.regions if told else [],
            calibration=row.calibration,
            conformal_set=row.conformal_set,
            coverage=row.coverage,
            quality=[QualityShape.of(entry) for entry in row.quality],
            gate=GateShape(**row.gate) if row.gate else None,
            phantom=row.phantom,
            model=row.model,
            model_version=row.model_version,
            model_sha256=row.model_sha256,
            input_sha256=row.input_sha256,
            phantom_trained=row.phantom_trained,
            has_heatmap=told and row.heat_blob is not None,
            heatmap_of=row.heat_of if told else None,
            heatmap_against=row.heat_against if told else None,
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
            ai=AiShape.of(view, actor),
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
