"""Decisions about models as rows that are only ever added, and those that one administrator takes alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from csss import audit
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, require
from csss.accounts.tables import User
from csss.findings.decisions import Active, ChoiceKind, Decision, Proposal, Shadow
from csss.findings.standing import Standing, check_same, examinations, find, speaks_for, spoken, standing_of
from csss.foundation.database import Base, Named, lock_name
from csss.foundation.errors import Conflict, NotFound, Unprocessable
from csss.foundation.ids import new_id
from csss.foundation.work import Work
from csss.inference.shelf import Model, Shelf, may_speak, version_order

MIN_REASON = 3
MAX_REASON = 500


class ModelChoice(Base):
    """One decision; the database itself refuses to change or remove it.

    ``seal`` is that of the card, so of all weights, that was chosen. ``replaced`` is the version that spoke until
    then, ``tau`` a threshold of this site for this very version, and ``modalities`` and ``body_parts`` are what its
    card accepted: they tell what is missed when it leaves the shelf. ``proposal_id`` is the proposal that it answers.
    """

    __tablename__ = "model_choice"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    kind: Mapped[ChoiceKind] = mapped_column(Named(ChoiceKind))
    model: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    seal: Mapped[str | None] = mapped_column(String(64))
    replaced: Mapped[str | None] = mapped_column(String(32))
    tau: Mapped[float | None]
    modalities: Mapped[list[str]] = mapped_column(JSON)
    body_parts: Mapped[list[str]] = mapped_column(JSON)
    proposal_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_choice.id"), unique=True)
    by_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(Text)


class ChoiceStale(Conflict):
    """Another administrator decided first."""

    code = "choice-stale"


@dataclass(frozen=True, slots=True)
class Wish:
    """What an administrator wants: a version, why, and the newest decision they knew of (None: there was none)."""

    model: str
    version: str
    reason: str
    seen: UUID | None


_EVENTS = {
    ChoiceKind.PROPOSE: "model.proposed",
    ChoiceKind.WITHDRAW: "model.proposal_withdrawn",
    ChoiceKind.REFUSE: "model.proposal_refused",
    ChoiceKind.ACTIVATE: "model.activated",
    ChoiceKind.ROLL_BACK: "model.rolled_back",
    ChoiceKind.SWITCH_OFF: "model.switched_off",
    ChoiceKind.SHADOW: "model.shadow_started",
    ChoiceKind.STOP_SHADOW: "model.shadow_stopped",
}


def standing(work: Work) -> Standing:
    """Return where all decisions so far have led."""
    rows = work.session.scalars(select(ModelChoice).order_by(ModelChoice.number))
    return standing_of(_decision(row) for row in rows)


def history(work: Work, *, limit: int) -> Sequence[tuple[ModelChoice, str]]:
    """Return the newest decisions with the names of those who took them."""
    rows = work.session.execute(
        select(ModelChoice, User.name)
        .join(User, User.id == ModelChoice.by_id)
        .order_by(ModelChoice.number.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def start_shadow(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """Run a version of the shelf silently beside the active one; it takes the place of an earlier shadow.

    Raises `Forbidden`, `ChoiceStale`, `NotFound` ``model-not-available``, `Unprocessable` ``reason-missing``,
    `Conflict` ``already-active`` or ``already-shadow``.
    """
    now = begin(work, actor, wish)
    model = on_shelf(shelf, wish)
    if speaks_for(now, shelf, model) == examinations(model.card):
        raise Conflict("This version is the active one; it cannot be its own shadow.", code="already-active")
    running = now.of(wish.model).shadow
    if running is not None and (running.version, running.seal) == (wish.version, model.seal):
        raise Conflict("This version runs as a shadow already.", code="already-shadow")
    return decide(work, actor, ChoiceKind.SHADOW, wish, now=now, shelf=shelf, model=model)


def stop_shadow(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """End a shadow, also one that has left the shelf. Raises as above, and `Conflict` ``no-shadow``."""
    now = begin(work, actor, wish)
    running = now.of(wish.model).shadow
    if running is None or running.version != wish.version:
        raise Conflict("This version does not run as a shadow.", code="no-shadow")
    return decide(work, actor, ChoiceKind.STOP_SHADOW, wish, now=now, shelf=shelf, model=None)


def roll_back(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """Let the version speak again that two administrators had let speak before, with the threshold it had then.

    One may do so alone: safety does not wait for a second. Raises as above, `Conflict` ``nothing-before`` when
    ``wish.version`` is not that version, and `ModelReplaced` when its folder is another one now.
    """
    now = begin(work, actor, wish)
    before = now.of(wish.model).before
    if before is None or before.version != wish.version:
        raise Conflict("There is no such version to go back to.", code="nothing-before")
    model = able_to_speak(shelf, wish)
    check_same(model, before.seal)
    return decide(work, actor, ChoiceKind.ROLL_BACK, wish, now=now, shelf=shelf, model=model, tau=before.tau)


def switch_off(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """Let a model say nothing more until two administrators activate a version of it; one may do so alone.

    Raises as above, and `Conflict` ``not-active`` when ``wish.version`` is not the one that speaks.
    """
    now = begin(work, actor, wish)
    if spoken(now, shelf, wish.model) != wish.version:
        raise Conflict("This version does not speak.", code="not-active")
    model = find(shelf, wish.model, wish.version)
    return decide(work, actor, ChoiceKind.SWITCH_OFF, wish, now=now, shelf=shelf, model=model)


def begin(work: Work, actor: Actor, wish: Wish) -> Standing:
    """Let one decision at a time go on, and only from what its maker has seen."""
    require(actor, Action.MANAGE_MODELS)
    if len(wish.reason.strip()) < MIN_REASON:
        raise Unprocessable("Say in words why; it is kept with the decision.", code="reason-missing")
    lock_name(work.session, "model-choice")
    now = standing(work)
    if now.newest_id != wish.seen:
        raise ChoiceStale("Another decision about models was taken meanwhile. Look at it, then decide.")
    return now


def on_shelf(shelf: Shelf, wish: Wish) -> Model:
    """Return the version that is wished for. Raises `NotFound`, `Unprocessable` for a gate or several findings."""
    model = find(shelf, wish.model, wish.version)
    if model is None:
        message = f"{wish.model} {wish.version} is not on the shelf, or did not pass its checks there."
        raise NotFound(message, code="model-not-available")
    if model.card.task == "gate":
        raise Unprocessable("A gate comes with the model that names it; it is not chosen.", code="gate-not-chosen")
    if model.card.task == "findings":
        message = "A model of several findings is for comparison only; no page could show what it says."
        raise Unprocessable(message, code="findings-not-chosen")
    return model


def able_to_speak(shelf: Shelf, wish: Wish) -> Model:
    """The same for a version that is to read for patients. Raises `Unprocessable` for one kept for comparison, too."""
    model = on_shelf(shelf, wish)
    if not may_speak(model.card):
        raise Unprocessable(
            "This model is kept for comparison and never speaks; it may run as a shadow.", code="comparison-only"
        )
    return model


def decide(
    work: Work,
    actor: Actor,
    kind: ChoiceKind,
    wish: Wish,
    *,
    now: Standing,
    shelf: Shelf,
    model: Model | None,
    tau: float | None = None,
    settles: UUID | None = None,
) -> ModelChoice:
    """Add a decision that was found to be in order, and its event."""
    scope = _scope(kind, now.of(wish.model).active, model, shelf, wish.model)
    row = ModelChoice(
        id=new_id(),
        number=now.newest_number + 1,
        kind=kind,
        model=wish.model,
        version=wish.version,
        seal=model.seal if model else None,
        replaced=spoken(now, shelf, wish.model),
        tau=tau,
        modalities=list(scope.modalities),
        body_parts=list(scope.body_parts),
        proposal_id=settles,
        by_id=actor.user_id,
        at=work.clock.now(),
        reason=wish.reason.strip()[:MAX_REASON],
    )
    work.session.add(row)
    work.session.flush()
    audit.record(
        work,
        _EVENTS[kind],
        actor_id=actor.user_id,
        actor_role=actor.role,
        object_type="model_choice",
        object_id=row.id,
        detail={"model": row.model, "version": row.version, "replaced": row.replaced, "tau": tau, "seal": row.seal},
    )
    return row


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a decision is about: the examinations that its version reads, or read."""

    modalities: Sequence[str] = ()
    body_parts: Sequence[str] = ()


def _scope(kind: ChoiceKind, active: Active | None, model: Model | None, shelf: Shelf, name: str) -> _Scope:
    """The examinations of a decision: a model that is switched off goes on to keep others from what it read."""
    if active is not None and (kind is ChoiceKind.SWITCH_OFF or model is None):
        return _Scope(active.modalities, active.body_parts)
    cards = [each.card for each in shelf.models if each.card.name == name and may_speak(each.card)]
    if model is None and not cards:
        return _Scope()
    card = model.card if model else max(cards, key=lambda each: version_order(each.version))
    return _Scope(card.modalities, card.body_parts)


def _decision(row: ModelChoice) -> Decision:
    return Decision(
        id=row.id,
        model=row.model,
        version=row.version,
        kind=row.kind,
        speaks=_speaks(row) if row.kind in _WHO_SPEAKS else None,
        shadow=Shadow(row.version, row.seal, row.at) if row.kind is ChoiceKind.SHADOW else None,
        proposal=_proposal(row) if row.kind is ChoiceKind.PROPOSE else None,
        settles=row.proposal_id,
    )


_WHO_SPEAKS = (ChoiceKind.ACTIVATE, ChoiceKind.ROLL_BACK, ChoiceKind.SWITCH_OFF)


def _speaks(row: ModelChoice) -> Active:
    return Active(
        version=row.version,
        tau=row.tau,
        number=row.number,
        modalities=tuple(row.modalities),
        body_parts=tuple(row.body_parts),
        seal=row.seal,
        off=row.kind is ChoiceKind.SWITCH_OFF,
    )


def _proposal(row: ModelChoice) -> Proposal:
    return Proposal(
        id=row.id,
        number=row.number,
        model=row.model,
        version=row.version,
        seal=row.seal,
        tau=row.tau,
        by_id=row.by_id,
        at=row.at,
        reason=row.reason,
    )
