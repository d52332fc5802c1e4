"""Gather what one person may see of one scan, and show it; the same page for every form on it."""

from dataclasses import dataclass
from datetime import datetime

from fastapi import Request, Response
from sqlalchemy import select

from csss.accounts.actor import Actor
from csss.accounts.tables import Role, StepUp, StepUpMethod, User
from csss.entrypoints.http.parts import parts_of
from csss.entrypoints.web import present
from csss.entrypoints.web.rendering import Refusal, page
from csss.findings.analyse import heat_words, quality_finding
from csss.foundation.errors import NotFound
from csss.foundation.work import Work
from csss.inference.card import ModelCard
from csss.inference.shelf import Shelf
from csss.pathway import worklist
from csss.pathway.access import shows_heat
from csss.pathway.facts import prescription_of, reading_of
from csss.pathway.reading import REJECT_REASONS
from csss.pathway.signing import MIN_ACKNOWLEDGEMENT, Site, content_to_approve
from csss.pathway.states import State, Step
from csss.pathway.tables import CaseEvent
from csss.pathway.worklist import CaseView
from csss.reports.content import SignOffStep, age_in_years

_OPEN_CODE_ORDER = StepUp.created_at.desc()


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline, as this person may read it."""

    at: datetime
    words: str
    who: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Approval:
    """What an administrator decides on: the hash of everything on the page, and the code that is open for it."""

    content_sha256: str
    open_method: StepUpMethod | None
    open_until: datetime | None
    has_authenticator: bool
    email_allowed: bool
    code_minutes: int


def scan_page(request: Request, work: Work, actor: Actor, view: CaseView, refusal: Refusal | None = None) -> Response:
    """Return the page of a scan; ``refusal`` belongs to one of its forms."""
    parts = parts_of(request)
    case = view.case
    card = card_of(parts.shelf, view)
    today = work.clock.now().date()
    heat = _heat(view, actor)
    return page(
        request,
        "patient/scan.html" if actor.role is Role.PATIENT else "scan/scan.html",
        now=work.clock.now(),
        view=view,
        case=case,
        card=card,
        labels=_labels(view),
        heat=heat,
        has_heat=heat is not None and view.analysis is not None and view.analysis.heat_blob is not None,
        conclusions=_conclusions(parts.shelf, view, card),
        stages=present.stages(case.state, actor.role),
        working=case.state in present.WORKING,
        timeline=_timeline(work, actor, view),
        age=age_in_years(view.patient.birth_date, today),
        reason=worklist.reason_for(actor, case.state, case.reason),
        reading=reading_of(view.sign_offs.get(SignOffStep.VERIFIED)),
        prescription=prescription_of(view.sign_offs.get(SignOffStep.COMPLETED)),
        approval=_approval(work, actor, view, parts.site) if Step.APPROVE in view.steps else None,
        steps=view.steps,
        own_signature=_is_own_signature(actor, view),
        reject_reasons=REJECT_REASONS,
        uncertain_words=present.REASONS_UNCERTAIN,
        quality=_quality(view),
        least_acknowledgement=MIN_ACKNOWLEDGEMENT,
        orphan=_is_orphan(actor, view, refusal),
        refusal=refusal,
        status=refusal.error.status if refusal else 200,
    )


def card_of(shelf: Shelf, view: CaseView) -> ModelCard | None:
    """Return the card of the model that answered; None when there is no answer or the model left the shelf."""
    if view.analysis is None:
        return None
    try:
        return shelf.model(view.analysis.model, view.analysis.model_version).card
    except NotFound:
        return None


def _labels(view: CaseView) -> list[tuple[str, float]]:
    """The probabilities with words for people, the likeliest first."""
    if view.analysis is None:
        return []
    pairs = [(present.label_text(view.analysis, name), float(share)) for name, share in view.analysis.probabilities]
    return sorted(pairs, key=lambda pair: -pair[1])


def _heat(view: CaseView, actor: Actor) -> str | None:
    """What the heat map shows, in words; None where there is none, or none that this person may be told of."""
    if view.analysis is None or not shows_heat(view.case, actor, view.analysis):
        return None
    return heat_words(view.analysis)


def _quality(view: CaseView) -> list[tuple[bool, str]]:
    """What the checks of the picture found, faults first, in words."""
    if view.analysis is None:
        return []
    found = [quality_finding(entry) for entry in view.analysis.quality]
    return [(finding.fault, finding.words) for finding in sorted(found, key=lambda finding: not finding.fault)]


def _conclusions(shelf: Shelf, view: CaseView, card: ModelCard | None) -> list[str]:
    """What a doctor can choose from: the labels of the model that answered, else of one that fits."""
    if card is None and view.study is not None:
        fitting = shelf.fitting(view.study.modality, view.study.body_part)
        card = fitting[0].card if fitting else None
    return [label.display for label in card.labels] if card else []


def _timeline(work: Work, actor: Actor, view: CaseView) -> list[Moment]:
    rows = worklist.events(work, actor, view.case.id)
    moments = [_moment(actor, row, name) for row, name in rows]
    return [moment for moment in moments if moment is not None]


def _moment(actor: Actor, row: CaseEvent, name: str | None) -> Moment | None:
    words = present.event_words(row.step, actor.role)
    if words is None:
        return None
    role = present.ROLE_NAMES.get(row.actor_role, row.actor_role)
    return Moment(row.at, words, f"{name}, {role.lower()}" if name else role, _reason(actor, row))


def _reason(actor: Actor, row: CaseEvent) -> str | None:
    return worklist.reason_for(actor, State(row.target), row.reason)


def _is_own_signature(actor: Actor, view: CaseView) -> bool:
    verified = view.sign_offs.get(SignOffStep.VERIFIED)
    return verified is not None and verified.user_id == actor.user_id


# The forms of the page, and the steps of which one must be open for the form to be there.
_FORM_STEPS: dict[str, tuple[Step, ...]] = {
    "verify": (Step.VERIFY,),
    "complete": (Step.COMPLETE,),
    "step-up": (Step.APPROVE,),
    "approve": (Step.APPROVE,),
    "return": (Step.RETURN_TO_DOCTOR, Step.WITHDRAW),
    "return-to-pharmacist": (Step.RETURN_TO_PHARMACIST,),
    "reject": (Step.REJECT_SCAN,),
    "cancel": (Step.CANCEL,),
    "retry-ai": (Step.RETRY_AI,),
    "read-without-ai": (Step.READ_WITHOUT_AI,),
    "retry-render": (Step.RETRY_RENDER,),
}


def _is_orphan(actor: Actor, view: CaseView, refusal: Refusal | None) -> bool:
    """Tell whether the refused form is gone from the page, because the case moved on meanwhile."""
    if refusal is None:
        return False
    steps = set(view.steps) - (set() if _is_own_signature(actor, view) else {Step.WITHDRAW})
    return not steps.intersection(_FORM_STEPS[refusal.form])


def _approval(work: Work, actor: Actor, view: CaseView, site: Site) -> Approval:
    _, sha256 = content_to_approve(work, view.case, site=site)
    now = work.clock.now()
    row = work.session.scalar(
        select(StepUp)
        .where(
            StepUp.user_id == actor.user_id,
            StepUp.subject_id == view.case.id,
            StepUp.revision == view.case.revision,
            StepUp.content_sha256 == sha256,
            StepUp.used_at.is_(None),
            StepUp.voided_at.is_(None),
            StepUp.expires_at > now,
        )
        .order_by(_OPEN_CODE_ORDER)
        .limit(1)
    )
    user = work.session.get_one(User, actor.user_id)
    return Approval(
        content_sha256=sha256,
        open_method=row.method if row else None,
        open_until=row.expires_at if row else None,
        has_authenticator=user.totp_secret is not None,
        email_allowed=site.approval.email_code,
        code_minutes=site.approval.code_minutes,
    )
