"""What is signed, and when content may be released."""

import dataclasses
from datetime import UTC, date, datetime, timedelta

import pytest

from csss.reports.content import (
    NotReleasable,
    PrescriptionFacts,
    ReferralFacts,
    ReportContent,
    SignOffStep,
    age_in_years,
    check_releasable,
    content_sha256,
    statement,
)
from reports.samples import ISSUED_AT, make_ai, make_content, sign

replace = dataclasses.replace
CONTENT = make_content()


def test_content_sha256_is_the_same_in_every_process() -> None:
    assert content_sha256(CONTENT) == "19a0b97179a7d5380bbab51cb39c557d3e2f278f641e8c7948cb4bb00ba518cf"


@pytest.mark.parametrize(
    "changed",
    [
        replace(CONTENT, patient=replace(CONTENT.patient, name="Erika Mustermann")),
        replace(CONTENT, patient=replace(CONTENT.patient, record_number="P-004712")),
        replace(CONTENT, patient=replace(CONTENT.patient, birth_date=date(1968, 2, 28))),
        replace(CONTENT, patient=replace(CONTENT.patient, allergies=None)),
        replace(CONTENT, scan=replace(CONTENT.scan, file_sha256="a8" * 32)),
        replace(CONTENT, referral=ReferralFacts(indication="Cough")),
        replace(CONTENT, ai=make_ai(confidence=0.8124)),
        replace(CONTENT, ai=None, no_ai_reason="not available"),
        replace(CONTENT, reading=replace(CONTENT.reading, notes="Other notes.")),
        replace(CONTENT, prescription=PrescriptionFacts("none needed", none_statement="None.")),
        replace(CONTENT, phantom=True),
    ],
)
def test_content_sha256_changes_with_what_is_signed(changed: ReportContent) -> None:
    assert content_sha256(changed) != content_sha256(CONTENT)


@pytest.mark.parametrize(
    "changed",
    [
        replace(CONTENT, report_id="R-2"),
        replace(CONTENT, version=2),
        replace(CONTENT, revision=7),
        replace(CONTENT, issued_at=ISSUED_AT + timedelta(days=1)),
        replace(CONTENT, sign_offs=()),
        replace(CONTENT, patient=replace(CONTENT.patient, contact="+49 30 5550 9999")),
        replace(CONTENT, scan=replace(CONTENT.scan, received_at=CONTENT.scan.received_at.astimezone(UTC))),
    ],
)
def test_content_sha256_ignores_what_is_not_signed(changed: ReportContent) -> None:
    assert content_sha256(changed) == content_sha256(CONTENT)


def test_content_sha256_of_the_doctor_leaves_the_prescription_to_the_pharmacist() -> None:
    other = replace(CONTENT, prescription=PrescriptionFacts("none needed", none_statement="None."))
    assert content_sha256(other, SignOffStep.VERIFIED) == content_sha256(CONTENT, SignOffStep.VERIFIED)
    assert content_sha256(other, SignOffStep.COMPLETED) != content_sha256(CONTENT, SignOffStep.COMPLETED)


@pytest.mark.parametrize(
    "content",
    [
        replace(CONTENT, ai=make_ai(confidence=float("nan"))),
        replace(CONTENT, scan=replace(CONTENT.scan, received_at=datetime(2026, 1, 1))),  # noqa: DTZ001
    ],
)
def test_content_sha256_refuses_values_without_a_canonical_form(content: ReportContent) -> None:
    with pytest.raises(NotReleasable):
        content_sha256(content)


def _without(step: SignOffStep) -> ReportContent:
    return replace(CONTENT, sign_offs=tuple(each for each in CONTENT.sign_offs if each.step is not step))


def _with_last(**changes: object) -> ReportContent:
    *first, last = CONTENT.sign_offs
    return replace(CONTENT, sign_offs=(*first, replace(last, **changes)))  # type: ignore[arg-type]


VERIFIED, COMPLETED, APPROVED = CONTENT.sign_offs
UNSIGNED = make_content(signed=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (UNSIGNED, "A report needs three sign-offs in this order: verified, completed, approved."),
        *[
            (_without(step), "A report needs three sign-offs in this order: verified, completed, approved.")
            for step in SignOffStep
        ],
        (
            replace(CONTENT, sign_offs=(COMPLETED, VERIFIED, APPROVED)),
            "A report needs three sign-offs in this order: verified, completed, approved.",
        ),
        (
            replace(CONTENT, sign_offs=(*CONTENT.sign_offs, APPROVED)),
            "A report needs three sign-offs in this order: verified, completed, approved.",
        ),
        (_with_last(person_id="staff-1"), "The three sign-offs must come from three different persons."),
        (_with_last(person_name=" "), "Every sign-off must name the person who gave it."),
        (_with_last(at=VERIFIED.at - timedelta(seconds=1)), "The sign-offs are not in order of time."),
        (_with_last(at=ISSUED_AT + timedelta(seconds=1)), "The sign-offs are not in order of time."),
        (
            _with_last(at=APPROVED.at.replace(tzinfo=None)),
            "A time without an offset from UTC cannot be printed on a report.",
        ),
        (_with_last(content_sha256="0" * 64), "The content was changed after it was signed."),
        (
            replace(CONTENT, reading=replace(CONTENT.reading, notes="Changed later.")),
            "The content was changed after it was signed.",
        ),
        (
            sign(replace(UNSIGNED, reading=replace(UNSIGNED.reading, notes=" \n"))),
            "A report needs the doctor's notes and conclusion.",
        ),
        (
            sign(replace(UNSIGNED, reading=replace(UNSIGNED.reading, conclusion=""))),
            "A report needs the doctor's notes and conclusion.",
        ),
        (
            sign(replace(UNSIGNED, prescription=None)),
            "A report needs a prescription or the pharmacist's statement that there is none.",
        ),
        (
            sign(replace(UNSIGNED, prescription=PrescriptionFacts("checked"))),
            "A report needs a prescription or the pharmacist's statement that there is none.",
        ),
        (
            sign(replace(UNSIGNED, prescription=PrescriptionFacts("checked", none_statement="  "))),
            "A report needs a prescription or the pharmacist's statement that there is none.",
        ),
        (
            sign(replace(UNSIGNED, prescription=PrescriptionFacts(" ", none_statement="None."))),
            "A report needs the recorded allergy check.",
        ),
        (sign(replace(UNSIGNED, ai=None)), "A report without an AI result must say why there is none."),
    ],
)
def test_check_releasable_refuses(content: ReportContent, message: str) -> None:
    with pytest.raises(NotReleasable) as refusal:
        check_releasable(content)
    assert refusal.value.message == message


def test_check_releasable_refuses_a_prescription_that_is_also_none() -> None:
    assert UNSIGNED.prescription is not None
    both = replace(UNSIGNED.prescription, none_statement="None.")
    with pytest.raises(NotReleasable):
        check_releasable(sign(replace(UNSIGNED, prescription=both)))


def test_statement_is_the_sentence_of_the_product() -> None:
    assert statement(CONTENT) == (
        "This report was generated with AI assistance and has been reviewed and approved by a qualified medical "
        "professional before release."
    )


def test_statement_does_not_claim_an_ai_that_was_not_used() -> None:
    without_ai = sign(replace(UNSIGNED, ai=None, no_ai_reason="The model was not available."))
    assert statement(without_ai) == (
        "This report has been reviewed and approved by a qualified medical professional before release. "
        "No AI result was used."
    )


@pytest.mark.parametrize(
    ("on", "years"),
    [(date(2026, 2, 28), 57), (date(2026, 3, 1), 58), (date(1968, 2, 29), 0), (date(1968, 2, 28), None)],
)
def test_age_in_years_counts_completed_years(on: date, years: int | None) -> None:
    assert age_in_years(date(1968, 2, 29), on) == years


@pytest.mark.parametrize(
    "later", [{"quality": ("Too dark.",)}, {"not_ruled_out": ("COVID",)}, {"coverage": 0.9}, {"coverage": 0.0}]
)
def test_content_sha256_covers_the_facts_that_came_later(later: dict[str, object]) -> None:
    assert content_sha256(replace(CONTENT, ai=make_ai(**later))) != content_sha256(CONTENT)
