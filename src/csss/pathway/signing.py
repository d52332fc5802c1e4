"""The three human signatures, and the ways back: verify, complete, approve, return, withdraw."""

import dataclasses
import re
from dataclasses import dataclass
from uuid import UUID

from csss import audit
from csss.accounts import step_up
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action
from csss.accounts.step_up import Bound, Challenge, SendCode
from csss.accounts.tables import StepUpMethod
from csss.findings.tables import Analysis
from csss.foundation.errors import BadRequest, Conflict, Forbidden, Unprocessable
from csss.foundation.ids import new_id
from csss.foundation.settings import Approval
from csss.foundation.work import Work
from csss.pathway import facts
from csss.pathway.access import find_case
from csss.pathway.moves import check_state, check_version, move, sign_offs, void_sign_offs
from csss.pathway.states import State, Step
from csss.pathway.tables import Case, SignOff
from csss.patients import Patient
from csss.reports.content import (
    PrescriptionFacts,
    ReadingFacts,
    ReportContent,
    SignOffStep,
    content_sha256,
)

ISSUE = "issue"
IMAGE_VIEWED = "image.viewed"
MIN_ACKNOWLEDGEMENT = 20
MIN_ALLERGY_CHECK = 10
MAX_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Site:
    """What of the site's settings a signature depends on."""

    hospital_name: str
    approval: Approval


class FourEyes(Forbidden):
    """One person may not sign twice, nor sign what they sent in."""

    code = "four-eyes"


def verify(
    work: Work,
    actor: Actor,
    *,
    case_id: UUID,
    reading: ReadingFacts,
    site: Site,
    expected_version: int | None = None,
) -> Case:
    """A doctor signs the reading: own conclusion, notes, and an acknowledgement when the AI was unsure.

    Raises `BadRequest` (``notes-empty``) or `Unprocessable` with a code for what is missing: ``conclusion-empty``,
    ``agreement-missing``, ``image-not-opened``, ``acknowledgement-missing``.
    """
    case = find_case(work, actor, case_id, Action.VERIFY)
    check_version(case, expected_version)
    check_state(case, Step.VERIFY, actor)
    analysis = work.session.get(Analysis, case.analysis_id) if case.analysis_id else None
    reading = _clean_reading(reading, analysis)
    _check_reading(reading, analysis)
    if not audit.seen(work.session, IMAGE_VIEWED, actor_id=actor.user_id, object_id=case.id, revision=case.revision):
        raise Unprocessable("Open the image before you sign what it shows.", code="image-not-opened")
    content = facts.with_reading(facts.gather(work, case, hospital_name=site.hospital_name), reading)
    _sign(work, actor, case, SignOffStep.VERIFIED, content, dataclasses.asdict(reading))
    case.doctor_id = actor.user_id
    move(work, case, Step.VERIFY, actor, detail={"agrees": reading.agrees_with_ai})
    return case


def _clean_reading(reading: ReadingFacts, analysis: Analysis | None) -> ReadingFacts:
    # Nobody can agree or disagree with "Uncertain"; the acknowledgement says what is to be said.
    uncertain = analysis is not None and analysis.uncertain
    return ReadingFacts(
        conclusion=_text(reading.conclusion),
        notes=_text(reading.notes),
        agrees_with_ai=None if uncertain else reading.agrees_with_ai,
        recommendations=_text(reading.recommendations or "") or None,
        acknowledgement=_text(reading.acknowledgement or "") or None,
    )


def _check_reading(reading: ReadingFacts, analysis: Analysis | None) -> None:
    if not reading.notes:
        # 400 and not 422: the older systems answered so, and their clients look for it.
        raise BadRequest("Write your notes; a report without notes cannot be signed.", code="notes-empty")
    if not reading.conclusion:
        raise Unprocessable("Choose your own conclusion.", code="conclusion-empty")
    has_answer = analysis is not None and not analysis.uncertain
    if has_answer != (reading.agrees_with_ai is not None):
        raise Unprocessable(
            "Say whether you agree with the AI's result."
            if has_answer
            else "There is no AI result to agree or disagree with.",
            code="agreement-missing",
        )
    if not has_answer and len(reading.acknowledgement or "") < MIN_ACKNOWLEDGEMENT:
        raise Unprocessable(
            f"The AI gave no certain result. Acknowledge that in your own words (at least {MIN_ACKNOWLEDGEMENT} "
            "characters).",
            code="acknowledgement-missing",
        )


def complete(
    work: Work,
    actor: Actor,
    *,
    case_id: UUID,
    prescription: PrescriptionFacts,
    site: Site,
    expected_version: int | None = None,
) -> Case:
    """A pharmacist signs the prescription, or that none is needed; the reading stays as it was signed."""
    case = find_case(work, actor, case_id, Action.COMPLETE)
    check_version(case, expected_version)
    check_state(case, Step.COMPLETE, actor)
    _check_other_person(work, actor, case)
    prescription = _clean_prescription(prescription)
    _check_allergies(work.session.get_one(Patient, case.patient_id), prescription)
    content = facts.with_prescription(facts.gather(work, case, hospital_name=site.hospital_name), prescription)
    _sign(work, actor, case, SignOffStep.COMPLETED, content, dataclasses.asdict(prescription))
    move(work, case, Step.COMPLETE, actor, detail={"items": len(prescription.items)})
    return case


def _clean_prescription(prescription: PrescriptionFacts) -> PrescriptionFacts:
    items = tuple(
        dataclasses.replace(
            item, **{field.name: _text(getattr(item, field.name)) for field in dataclasses.fields(item)}
        )
        for item in prescription.items
    )
    none_statement = _text(prescription.none_statement or "") or None
    allergy_check = _text(prescription.allergy_check)
    if any(not (item.medicine and item.dose and item.frequency) for item in items):
        raise Unprocessable("Each medicine needs a name, a dose and how often it is taken.", code="item-incomplete")
    if bool(items) == bool(none_statement):
        raise Unprocessable(
            "Prescribe something, or state that nothing is needed: one of the two.", code="no-prescription"
        )
    if len(allergy_check) < MIN_ALLERGY_CHECK:
        raise Unprocessable(
            f"Record the check for allergies and interactions in words (at least {MIN_ALLERGY_CHECK} characters).",
            code="allergy-check-missing",
        )
    return PrescriptionFacts(allergy_check=allergy_check, items=items, none_statement=none_statement)


def _check_allergies(patient: Patient, prescription: PrescriptionFacts) -> None:
    """Stop a medicine whose name holds a recorded allergy. Literal words only: no drug class is known here."""
    recorded = {word for word in re.findall(r"[^\W\d_]{4,}", (patient.allergies or "").casefold()) if word != "none"}
    for item in prescription.items:
        hit = next((word for word in recorded if word in item.medicine.casefold()), None)
        if hit is not None:
            raise Unprocessable(
                f"An allergy to {hit} is on record; {item.medicine} cannot be prescribed here.", code="allergy-conflict"
            )


def content_to_approve(work: Work, case: Case, *, site: Site) -> tuple[ReportContent, str]:
    """Return the content before an administrator, and the hash that the approval will be bound to."""
    content = facts.gather(work, case, hospital_name=site.hospital_name)
    return content, content_sha256(content, SignOffStep.APPROVED)


def begin_step_up(
    work: Work, actor: Actor, *, case_id: UUID, method: StepUpMethod, site: Site, send_code: SendCode
) -> Challenge:
    """Open the fresh second factor for one approval; see `step_up.begin`."""
    case = find_case(work, actor, case_id, Action.STEP_UP)
    check_state(case, Step.APPROVE, actor)
    _check_other_person(work, actor, case)
    _check_signed_content(content_to_approve(work, case, site=site)[0])
    return step_up.begin(
        work,
        actor,
        bound=_bound(work, case, site),
        method=method,
        rules=site.approval,
        send_code=send_code,
    )


def approve(
    work: Work, actor: Actor, *, case_id: UUID, code: str, site: Site, expected_version: int | None = None
) -> Case:
    """An administrator releases exactly what is on the screen, with a code that was asked for it."""
    case = find_case(work, actor, case_id, Action.APPROVE)
    check_version(case, expected_version)
    check_state(case, Step.APPROVE, actor)
    _check_other_person(work, actor, case)
    step_up.use(work, actor, bound=_bound(work, case, site), code=code, rules=site.approval)
    content, _ = content_to_approve(work, case, site=site)
    _check_signed_content(content)
    _sign(work, actor, case, SignOffStep.APPROVED, content, {})
    move(work, case, Step.APPROVE, actor)
    request_issue(work, case)
    return case


def request_issue(work: Work, case: Case) -> None:
    """Ask for the report of this revision, once."""
    work.jobs.request(ISSUE, case.id, key=f"{ISSUE}:{case.id}:{case.revision}")


def return_to_doctor(
    work: Work, actor: Actor, *, case_id: UUID, reason: str, expected_version: int | None = None
) -> Case:
    """Send a case back to be read again; every signature on it is set aside.

    The verifying doctor withdraws the own signature this way too, as long as the pharmacist has not signed.
    """
    case = find_case(work, actor, case_id, Action.RETURN_TO_DOCTOR)
    check_version(case, expected_version)
    step = Step.RETURN_TO_DOCTOR
    if actor.role == "doctor" and case.state is State.DOCTOR_VERIFIED:
        step = Step.WITHDRAW
        verified = sign_offs(work, case.id).get(SignOffStep.VERIFIED)
        if verified is None or verified.user_id != actor.user_id:
            raise Forbidden("Only the doctor who signed can withdraw the signature.", code="not-yours")
    check_state(case, step, actor)
    words = _reason(reason)
    void_sign_offs(work, case, *SignOffStep)
    move(work, case, step, actor, reason_code="returned", reason=words)
    return case


def return_to_pharmacist(
    work: Work, actor: Actor, *, case_id: UUID, reason: str, site: Site, expected_version: int | None = None
) -> Case:
    """Send a case back to the pharmacy; the doctor's signature stays, because what it covers did not change."""
    case = find_case(work, actor, case_id, Action.RETURN_TO_PHARMACIST)
    check_version(case, expected_version)
    check_state(case, Step.RETURN_TO_PHARMACIST, actor)
    words = _reason(reason)
    verified = sign_offs(work, case.id)[SignOffStep.VERIFIED]
    content = facts.gather(work, case, hospital_name=site.hospital_name)
    if verified.content_sha256 != content_sha256(content, SignOffStep.VERIFIED):
        raise Unprocessable(
            "What the doctor signed has changed; return the case to the doctor.", code="content-changed"
        )
    void_sign_offs(work, case, SignOffStep.COMPLETED, SignOffStep.APPROVED)
    move(work, case, Step.RETURN_TO_PHARMACIST, actor, reason_code="returned", reason=words)
    return case


def _check_signed_content(content: ReportContent) -> None:
    """Raise `Conflict` when something that doctor or pharmacist signed has changed since."""
    for sign_off in content.sign_offs:
        # An approval cannot heal what changed under an earlier signature.
        if sign_off.content_sha256 != content_sha256(content, sign_off.step):
            raise Conflict(
                f"What the {sign_off.role} signed has changed since. Return the case, so that it is signed again.",
                code="signed-content-changed",
            )


def _bound(work: Work, case: Case, site: Site) -> Bound:
    _, sha256 = content_to_approve(work, case, site=site)
    return Bound(Action.APPROVE, case.id, case.revision, sha256, purpose="approve the report")


def _check_other_person(work: Work, actor: Actor, case: Case) -> None:
    """Verifier, pharmacist and approver are different persons, and none of them is patient or (approving) sender."""
    if actor.user_id in {row.user_id for row in sign_offs(work, case.id).values()}:
        raise FourEyes("You signed an earlier step of this case; another person has to take this one.")
    if actor.user_id == case.uploader_id:
        raise FourEyes("You sent this scan in; another person has to take this step.")
    if actor.user_id == work.session.get_one(Patient, case.patient_id).user_id:
        raise FourEyes("Nobody acts on their own record.")


def _sign(
    work: Work, actor: Actor, case: Case, step: SignOffStep, content: ReportContent, words: dict[str, object]
) -> None:
    work.session.add(
        SignOff(
            id=new_id(),
            case_id=case.id,
            revision=case.revision,
            step=step,
            user_id=actor.user_id,
            person_name=actor.name,
            role=actor.role,
            at=work.clock.now(),
            content_sha256=content_sha256(content, step),
            words=words,
        )
    )


def _text(text: str) -> str:
    """Strip, and drop what cannot be stored (NUL, lone surrogates); the rest is kept to the letter."""
    clean = text.replace("\x00", "").encode("utf-8", "ignore").decode().strip()
    if len(clean) > MAX_TEXT:
        raise Unprocessable(f"A text may have at most {MAX_TEXT} characters.", code="text-too-long")
    return clean


def _reason(reason: str) -> str:
    words = _text(reason)
    if len(words) < 3:
        raise Unprocessable("Say why.", code="reason-missing")
    return words[:500]
