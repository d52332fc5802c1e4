"""The AI's part in a case: start, finish, fail, try again, go on without it."""

from uuid import UUID

from csss.accounts.actor import Actor
from csss.accounts.permissions import Action
from csss.findings import analyse as findings
from csss.findings import choices
from csss.findings.standing import shadows, speaker
from csss.foundation.errors import Conflict, CsssError, Unprocessable
from csss.foundation.thresholds import Thresholds
from csss.foundation.work import Work
from csss.inference.shelf import Shelf
from csss.pathway.access import find_case
from csss.pathway.moves import check_state, check_version, move
from csss.pathway.shadowing import request_shadows
from csss.pathway.states import State, Step
from csss.pathway.submit import request_analysis
from csss.pathway.tables import Case
from csss.studies.tables import Instance

MAX_AI_ATTEMPTS = 3


class ChosenAnew(Conflict):
    """Another version or threshold applies by now; trying again reads with that."""

    code = "chosen-anew"


MIN_REASON = 3


def analyse(work: Work, case_id: UUID, *, shelf: Shelf, thresholds: Thresholds) -> None:
    """Run the model that speaks on a case that waits for it, and ask for its shadows; the work of the job ``analyse``.

    The engine runs a job in one place at a time, so a case found in AI_RUNNING was left by a worker that died: it
    fails (T07) and is tried again (T08) under a new revision. An answer of the old run would meet another
    revision and is dropped.
    """
    case = work.session.get_one(Case, case_id)
    if case.state is State.AI_RUNNING:
        move(work, case, Step.LEASE_EXPIRED, None, reason_code="worker-lost", reason="The server stopped meanwhile.")
        if case.ai_attempts >= MAX_AI_ATTEMPTS:
            return
        move(work, case, Step.RETRY_AI, None)
    if case.state is not State.PENDING_AI or case.instance_id is None:
        return
    case.ai_attempts += 1
    move(work, case, Step.START_AI, None, detail={"attempt": case.ai_attempts})
    instance = work.session.get_one(Instance, case.instance_id)
    study = instance.series.study
    standing = choices.standing(work)
    work.pause()
    try:
        chosen = speaker(standing, shelf, thresholds, modality=study.modality, body_part=study.body_part)
        prediction = findings.predict(work, instance, chosen.model, site_tau=chosen.site_tau)
        # Decided anew while the model was running: an answer that nobody wants any more is not kept.
        standing = choices.standing(work)
        if chosen != speaker(standing, shelf, thresholds, modality=study.modality, body_part=study.body_part):
            raise ChosenAnew(f"{chosen.model.card.name} was decided about anew while it read this scan.")
    except CsssError as problem:
        move(work, case, Step.AI_ERROR, None, reason_code=problem.code, reason=problem.message)
        return
    row = findings.keep(work, instance, chosen.model, prediction)
    case.analysis_id = row.id
    case.phantom = case.phantom or row.phantom
    move(
        work,
        case,
        Step.AI_DONE,
        None,
        detail={"model": row.model, "version": row.model_version, "uncertain": row.uncertain, "tau": row.tau},
    )
    beside = shadows(standing, chosen.model, shelf=shelf, modality=study.modality, body_part=study.body_part)
    request_shadows(work, row, standing, beside)


def retry_ai(work: Work, actor: Actor, *, case_id: UUID, expected_version: int | None = None) -> Case:
    """Let the AI try again on a case where it failed."""
    case = find_case(work, actor, case_id, Action.RUN_AI)
    check_version(case, expected_version)
    move(work, case, Step.RETRY_AI, actor)
    request_analysis(work, case)
    return case


def read_without_ai(
    work: Work, actor: Actor, *, case_id: UUID, reason: str, expected_version: int | None = None
) -> Case:
    """Go on without an AI result where it failed; the report then says so."""
    case = find_case(work, actor, case_id, Action.RUN_AI)
    check_version(case, expected_version)
    check_state(case, Step.READ_WITHOUT_AI, actor)
    words = reason.strip()
    if len(words) < MIN_REASON:
        raise Unprocessable("Say why the scan is read without AI.", code="reason-missing")
    case.analysis_id = None
    move(work, case, Step.READ_WITHOUT_AI, actor, reason_code="without-ai", reason=words[:500])
    return case


REJECT_REASONS = {
    "non-diagnostic": "The image cannot be read; please have it taken again.",
    "wrong-patient": "The image is of another person.",
    "duplicate": "The scan is on record already.",
    "wrong-modality": "This kind of examination was not asked for.",
}


def reject_scan(
    work: Work, actor: Actor, *, case_id: UUID, reason_code: str, expected_version: int | None = None
) -> Case:
    """Refuse a scan for good; the patient is told to come again."""
    case = find_case(work, actor, case_id, Action.REJECT_SCAN)
    check_version(case, expected_version)
    check_state(case, Step.REJECT_SCAN, actor)
    if reason_code not in REJECT_REASONS:
        raise Unprocessable(f"The reason is one of {', '.join(REJECT_REASONS)}.", code="bad-reason")
    move(work, case, Step.REJECT_SCAN, actor, reason_code=reason_code, reason=REJECT_REASONS[reason_code])
    return case


def cancel(work: Work, actor: Actor, *, case_id: UUID, reason: str, expected_version: int | None = None) -> Case:
    """Take a scan back before it was read."""
    case = find_case(work, actor, case_id, Action.CANCEL_SCAN)
    check_version(case, expected_version)
    check_state(case, Step.CANCEL, actor)
    words = reason.strip()
    if len(words) < MIN_REASON:
        raise Unprocessable("Say why the scan is cancelled.", code="reason-missing")
    move(work, case, Step.CANCEL, actor, reason_code="cancelled", reason=words[:500])
    return case
