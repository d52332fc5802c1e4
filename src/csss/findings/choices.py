"""Which version of a model speaks: decisions that are only ever added, and what follows from all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from csss import audit
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, require
from csss.accounts.tables import User
from csss.findings.standing import Active, Decision, Standing, examinations, speaks_for, spoken, standing_of
from csss.foundation.database import Base, Named, lock_name
from csss.foundation.errors import Conflict, NotFound, Unprocessable
from csss.foundation.ids import new_id
from csss.foundation.work import Work
from csss.inference.shelf import Model, Shelf, may_speak

MIN_REASON = 3
MAX_REASON = 500


class ChoiceKind(StrEnum):
    ACTIVATE = "activate"
    SHADOW = "shadow"
    STOP_SHADOW = "stop-shadow"
    ROLL_BACK = "roll-back"


class ModelChoice(Base):
    """One decision; the database itself refuses to change or remove it.

    ``replaced`` is the version that spoke until then, ``tau`` a threshold of this site for this very version, and
    ``modalities`` and ``body_parts`` are what its card accepted: they tell what is missed when it leaves the shelf.
    """

    __tablename__ = "model_choice"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    kind: Mapped[ChoiceKind] = mapped_column(Named(ChoiceKind))
    model: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    replaced: Mapped[str | None] = mapped_column(String(32))
    tau: Mapped[float | None]
    modalities: Mapped[list[str]] = mapped_column(JSON)
    body_parts: Mapped[list[str]] = mapped_column(JSON)
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
    ChoiceKind.ACTIVATE: "model.activated",
    ChoiceKind.SHADOW: "model.shadow_started",
    ChoiceKind.STOP_SHADOW: "model.shadow_stopped",
    ChoiceKind.ROLL_BACK: "model.rolled_back",
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


def activate(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf, tau: float | None = None) -> ModelChoice:
    """Let a version of the shelf speak from now on, with a higher threshold for it where ``tau`` is given.

    Raises `Forbidden`, `ChoiceStale`, `NotFound` ``model-not-available``, `Unprocessable` ``reason-missing``,
    ``comparison-only`` or ``threshold-out-of-range``, `Conflict` ``already-active``.
    """
    now = _begin(work, actor, wish)
    model = _able_to_speak(shelf, wish)
    own = model.card.threshold.tau
    if tau is not None and not (math.isfinite(tau) and own < tau < 1.0):
        message = f"A threshold of this site is higher than the card's own, which is {own:g}, and below 1."
        raise Unprocessable(message, code="threshold-out-of-range")
    active = now.of(wish.model).active
    if active is not None and (active.version, active.tau) == (wish.version, tau):
        raise Conflict("This version is the active one already.", code="already-active")
    return _decide(work, actor, ChoiceKind.ACTIVATE, wish, now=now, shelf=shelf, model=model, tau=tau)


def start_shadow(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """Run a version of the shelf silently beside the active one; it takes the place of an earlier shadow.

    Raises as `activate` does, and `Conflict` ``already-active`` or ``already-shadow``.
    """
    now = _begin(work, actor, wish)
    model = _on_shelf(shelf, wish)
    if speaks_for(now, shelf, model) == examinations(model.card):
        raise Conflict("This version is the active one; it cannot be its own shadow.", code="already-active")
    if now.of(wish.model).shadow == wish.version:
        raise Conflict("This version runs as a shadow already.", code="already-shadow")
    return _decide(work, actor, ChoiceKind.SHADOW, wish, now=now, shelf=shelf, model=model)


def stop_shadow(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """End a shadow, also one that has left the shelf. Raises as above, and `Conflict` ``no-shadow``."""
    now = _begin(work, actor, wish)
    if now.of(wish.model).shadow != wish.version:
        raise Conflict("This version does not run as a shadow.", code="no-shadow")
    return _decide(work, actor, ChoiceKind.STOP_SHADOW, wish, now=now, shelf=shelf, model=None)


def roll_back(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """Let the version speak again that was active before, with the threshold it had then.

    Raises as above, and `Conflict` ``nothing-before`` when ``wish.version`` is not the one that was active before.
    """
    now = _begin(work, actor, wish)
    before = now.of(wish.model).before
    if before is None or before.version != wish.version:
        raise Conflict("There is no such version to go back to.", code="nothing-before")
    model = _able_to_speak(shelf, wish)
    return _decide(work, actor, ChoiceKind.ROLL_BACK, wish, now=now, shelf=shelf, model=model, tau=before.tau)


def _begin(work: Work, actor: Actor, wish: Wish) -> Standing:
    """Let one decision at a time go on, and only from what its maker has seen."""
    require(actor, Action.MANAGE_MODELS)
    if len(wish.reason.strip()) < MIN_REASON:
        raise Unprocessable("Say in words why; it is kept with the decision.", code="reason-missing")
    lock_name(work.session, "model-choice")
    now = standing(work)
    if now.newest_id != wish.seen:
        raise ChoiceStale("Another decision about models was taken meanwhile. Look at it, then decide.")
    return now


def _on_shelf(shelf: Shelf, wish: Wish) -> Model:
    try:
        model = shelf.model(wish.model, wish.version)
    except NotFound:
        message = f"{wish.model} {wish.version} is not on the shelf, or did not pass its checks there."
        raise NotFound(message, code="model-not-available") from None
    if model.card.task == "gate":
        raise Unprocessable("A gate comes with the model that names it; it is not chosen.", code="gate-not-chosen")
    return model


def _able_to_speak(shelf: Shelf, wish: Wish) -> Model:
    model = _on_shelf(shelf, wish)
    if not may_speak(model.card):
        raise Unprocessable(
            "This model is kept for comparison and never speaks; it may run as a shadow.", code="comparison-only"
        )
    return model


def _decide(
    work: Work,
    actor: Actor,
    kind: ChoiceKind,
    wish: Wish,
    *,
    now: Standing,
    shelf: Shelf,
    model: Model | None,
    tau: float | None = None,
) -> ModelChoice:
    row = ModelChoice(
        id=new_id(),
        number=now.newest_number + 1,
        kind=kind,
        model=wish.model,
        version=wish.version,
        replaced=spoken(now, shelf, wish.model),
        tau=tau,
        modalities=list(model.card.modalities) if model else [],
        body_parts=list(model.card.body_parts) if model else [],
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
        detail={"model": row.model, "version": row.version, "replaced": row.replaced, "tau": tau},
    )
    return row


def _decision(row: ModelChoice) -> Decision:
    said = Active(row.version, row.tau, row.number, tuple(row.modalities), tuple(row.body_parts))
    speaks = row.kind in (ChoiceKind.ACTIVATE, ChoiceKind.ROLL_BACK)
    return Decision(
        id=row.id,
        model=row.model,
        version=row.version,
        replaced=row.replaced,
        active=said if speaks else None,
        goes_back=row.kind is ChoiceKind.ROLL_BACK,
        shadows=row.kind is ChoiceKind.SHADOW,
    )
