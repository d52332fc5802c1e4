"""Shadows: versions that read silently beside the one that speaks, after the case has moved on, and harm it never."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select

from csss import audit
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, Relation, require
from csss.findings import analyse as findings
from csss.findings import choices, shadowed
from csss.findings.decisions import Shadow
from csss.findings.shadowed import ShadowAnalysis, ShadowState
from csss.findings.standing import ModelNotAvailable, Standing, check_same, find
from csss.findings.tables import Analysis
from csss.foundation.database import lock_name
from csss.foundation.errors import CsssError
from csss.foundation.jobs import JobRequest, JobStatus, RetryLater
from csss.foundation.thresholds import Thresholds
from csss.foundation.work import Work
from csss.inference.shelf import Shelf
from csss.pathway.access import related
from csss.pathway.states import State
from csss.pathway.submit import ANALYSE
from csss.pathway.tables import Case
from csss.studies.tables import Instance

SHADOW = "shadow"
GIVE_WAY = timedelta(seconds=10)
MAX_CRASHES = 2
"""So often a worker may die of a shadow. Fewer than a case has attempts: one that was read beside is read at last."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A picture on which the two differ, of a released case that this person may open; ``at`` is when it was read."""

    at: datetime
    active: str
    active_confidence: float
    shadow: str
    shadow_confidence: float
    case: Case


def request_shadows(work: Work, analysis: Analysis, standing: Standing, versions: Iterable[tuple[str, str]]) -> None:
    """Ask that shadows read what ``analysis`` has read; they begin when this transaction, the case's, is done.

    One that has given up (see `has_given_up`) is not asked.
    """
    for model, version in versions:
        shadow = standing.of(model).shadow
        if shadow is None or has_given_up(work, model, shadow):
            continue
        row = shadowed.ask(work, analysis, model=model, version=version, seal=shadow.seal)
        work.jobs.request(SHADOW, row.id)


def has_given_up(work: Work, model: str, shadow: Shadow) -> bool:
    """Tell whether workers died of a shadow so often since it was started that it is asked no more."""
    crashes = shadowed.count_broken_off(work, model=model, version=shadow.version, since=shadow.since)
    return crashes >= MAX_CRASHES


def run_shadow(work: Work, shadow_id: UUID, *, shelf: Shelf, thresholds: Thresholds) -> None:
    """Let a shadow read its picture; the work of the job ``shadow``. Cases that wait for their own reading go first.

    One shadow runs at a time, so that a slow one leaves a hand free for cases. A row found running was left by a
    worker that died of it, or by a fault that nobody foresaw: it has failed and is not tried again.
    """
    lock_name(work.session, "shadow-run")
    row = work.session.get_one(ShadowAnalysis, shadow_id)
    if row.state is ShadowState.RUNNING:
        shadowed.fail(work, row, shadowed.BROKEN_OFF)
    if row.state is not ShadowState.ASKED:
        return
    shadow = choices.standing(work).of(row.model).shadow
    if shadow is None or (shadow.version, shadow.seal) != (row.model_version, row.seal):
        shadowed.fail(work, row, "shadow-stopped")
        return
    if has_given_up(work, row.model, shadow):
        shadowed.fail(work, row, "shadow-given-up")
        return
    if _has_waiting_cases(work) or shadowed.is_running(work):
        raise RetryLater(work.clock.now() + GIVE_WAY, "others go first")
    row.state = ShadowState.RUNNING
    analysis = work.session.get_one(Analysis, row.analysis_id)
    instance = work.session.get_one(Instance, analysis.instance_id)
    work.pause()
    try:
        model = find(shelf, row.model, row.model_version)
        if model is None:
            raise ModelNotAvailable("The shadow is not served here.")
        check_same(model, shadow.seal)
        own = {(entry.model, entry.version): entry.tau for entry in thresholds}
        prediction = findings.predict(work, instance, model, site_tau=own.get((row.model, row.model_version)))
    except CsssError as problem:
        shadowed.fail_with(work, row, problem)
        return
    shadowed.keep(work, row, prediction)


def _has_waiting_cases(work: Work) -> bool:
    waiting = select(JobRequest.id).where(
        JobRequest.kind == ANALYSE,
        JobRequest.status == JobStatus.REQUESTED,
        JobRequest.run_at <= work.clock.now(),
    )
    return work.session.scalar(waiting.limit(1)) is not None


def disagreements(
    work: Work, actor: Actor, *, model: str, version: str, seal: str | None, limit: int
) -> list[Disagreement]:
    """Return the latest pictures on which a shadow and the version that spoke differ; the look is audited.

    Only of released cases that this administrator approved: of all others administrators see aggregates. A case that
    still awaits approval is not among them: what a shadow said must not colour a release.
    """
    require(actor, Action.MANAGE_MODELS)
    released = select(Case).where(Case.state == State.REPORT_READY)
    own = related(released, actor, Relation.AWAITING_APPROVAL).subquery()
    rows = work.session.execute(
        select(ShadowAnalysis, Analysis, Case)
        .join(Analysis, Analysis.id == ShadowAnalysis.analysis_id)
        .join(Case, Case.analysis_id == Analysis.id)
        .where(
            Case.id.in_(select(own.c.id)),
            ShadowAnalysis.model == model,
            ShadowAnalysis.model_version == version,
            ShadowAnalysis.seal == seal,
            ShadowAnalysis.state == ShadowState.DONE,
            or_(ShadowAnalysis.top_label != Analysis.top_label, ShadowAnalysis.label != Analysis.label),
        )
        .order_by(ShadowAnalysis.id.desc())
        .limit(limit)
    ).all()
    audit.record(
        work,
        "model.agreement_viewed",
        actor_id=actor.user_id,
        actor_role=actor.role,
        detail={"model": model, "version": version, "count": len(rows)},
    )
    return [_disagreement(*row) for row in rows]


def _disagreement(shadow: ShadowAnalysis, analysis: Analysis, case: Case) -> Disagreement:
    return Disagreement(
        at=analysis.at,
        active=_answer(analysis.label, analysis.top_label),
        active_confidence=analysis.confidence,
        shadow=_answer(shadow.label or "", shadow.top_label or ""),
        shadow_confidence=shadow.confidence or 0.0,
        case=case,
    )


def _answer(label: str, top_label: str) -> str:
    return label if label == top_label else f"{label} ({top_label})"
