"""Gather what a report says from the rows of a case, the same way for signing and for printing."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from csss.findings.analyse import REASON_TEXT, heat_words, quality_finding
from csss.findings.tables import Analysis
from csss.foundation.work import Work
from csss.inference.prediction import UncertainReason
from csss.pathway.moves import sign_offs
from csss.pathway.states import Step
from csss.pathway.tables import Case, CaseEvent, SignOff
from csss.patients import Patient
from csss.reports.content import (
    AiFacts,
    LabelProbability,
    PatientFacts,
    PrescribedItem,
    PrescriptionFacts,
    ReadingFacts,
    ReportContent,
    ScanFacts,
    SignOffFact,
    SignOffStep,
)
from csss.studies.receive import MODALITY_WORDS
from csss.studies.tables import Instance

_UNSIGNED = UUID(int=0)


def gather(
    work: Work, case: Case, *, hospital_name: str, report_id: UUID = _UNSIGNED, issued_at: datetime | None = None
) -> ReportContent:
    """Return the content of a case's report as it stands: what was signed so far, nothing invented.

    ``reading`` is empty until a doctor has verified. The report's id, number and time do not enter any hash, so
    the same facts are signed before they are known.
    """
    standing = sign_offs(work, case.id)
    return ReportContent(
        report_id=str(report_id),
        version=case.issued + 1,
        revision=case.revision,
        hospital_name=hospital_name,
        issued_at=issued_at or work.clock.now(),
        patient=_patient(work.session.get_one(Patient, case.patient_id)),
        scan=_scan(work, case),
        ai=_ai(work.session.get(Analysis, case.analysis_id)) if case.analysis_id else None,
        no_ai_reason=None if case.analysis_id else _why_without_ai(work, case),
        reading=reading_of(standing.get(SignOffStep.VERIFIED)),
        prescription=prescription_of(standing.get(SignOffStep.COMPLETED)),
        sign_offs=tuple(_sign_off(standing[step]) for step in SignOffStep if step in standing),
        phantom=case.phantom,
    )


def with_reading(content: ReportContent, reading: ReadingFacts) -> ReportContent:
    """Return the content as the doctor is about to sign it."""
    return replace(content, reading=reading, prescription=None, sign_offs=())


def with_prescription(content: ReportContent, prescription: PrescriptionFacts) -> ReportContent:
    """Return the content as the pharmacist is about to sign it."""
    return replace(content, prescription=prescription)


def reading_of(row: SignOff | None) -> ReadingFacts:
    """Return a verification's words as facts; empty without one."""
    if row is None:
        return ReadingFacts(conclusion="", notes="", agrees_with_ai=None)
    return ReadingFacts(**row.words)


def prescription_of(row: SignOff | None) -> PrescriptionFacts | None:
    """Return a completion's words as facts."""
    if row is None:
        return None
    words = dict(row.words)
    return PrescriptionFacts(
        allergy_check=words["allergy_check"],
        items=tuple(PrescribedItem(**item) for item in words["items"]),
        none_statement=words["none_statement"],
    )


def _patient(patient: Patient) -> PatientFacts:
    return PatientFacts(
        name=patient.name,
        record_number=patient.record_number,
        birth_date=patient.birth_date,
        sex=patient.sex,
        blood_group=patient.blood_group,
        allergies=patient.allergies or "not recorded",
        contact=patient.phone,
    )


def _scan(work: Work, case: Case) -> ScanFacts:
    instance = work.session.get_one(Instance, case.instance_id)
    series, study = instance.series, instance.series.study
    notes = ["The file says that text may be burned into the pixels."] if instance.burned_in else []
    return ScanFacts(
        scan_id=str(case.id),
        accession_number=case.number,
        modality=MODALITY_WORDS.get(study.modality, study.modality),
        body_part=study.body_part.capitalize(),
        kind=f"{instance.kind}, {instance.columns} x {instance.rows} pixels",
        received_at=study.received_at,
        file_sha256=instance.file_sha256,
        acquired_on=study.study_date,
        device=series.device,
        quality_notes=tuple(notes),
    )


def _why_without_ai(work: Work, case: Case) -> str:
    """Return the doctor's own words for reading without AI."""
    words = work.session.scalar(
        select(CaseEvent.reason)
        .where(CaseEvent.case_id == case.id, CaseEvent.step == Step.READ_WITHOUT_AI)
        .order_by(CaseEvent.at.desc(), CaseEvent.id.desc())
        .limit(1)
    )
    return words or "There is no AI result for this scan."


def _ai(row: Analysis | None) -> AiFacts | None:
    if row is None:
        return None
    return AiFacts(
        model=row.model,
        version=row.model_version,
        model_sha256=row.model_sha256,
        label=row.label_texts.get(row.label, row.label),
        top_label=row.label_texts.get(row.top_label, row.top_label),
        confidence=row.confidence,
        probabilities=tuple(
            LabelProbability(row.label_texts.get(name, name), share) for name, share in row.probabilities
        ),
        tau=row.tau,
        uncertain=row.uncertain,
        uncertain_reasons=tuple(f"Uncertain: {REASON_TEXT.get(reason, reason)}." for reason in row.uncertain_reasons),
        risk=row.risk,
        regions=tuple(row.regions),
        heat=heat_words(row) if row.explains_result else None,
        quality=tuple(quality_finding(entry).words for entry in row.quality),
        not_ruled_out=tuple(row.label_texts.get(name, name) for name in row.conformal_set),
        coverage=row.coverage,
        phantom_trained=row.phantom_trained,
        out_of_distribution=UncertainReason.OUT_OF_DISTRIBUTION in row.uncertain_reasons,
    )


def _sign_off(row: SignOff) -> SignOffFact:
    return SignOffFact(
        step=row.step,
        person_id=str(row.user_id),
        person_name=row.person_name,
        role=row.role,
        at=row.at,
        content_sha256=row.content_sha256,
    )
