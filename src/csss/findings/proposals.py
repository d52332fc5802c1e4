"""Activating a version takes two administrators: one proposes it, another confirms it with a fresh second factor."""

import hashlib
import json
import math

from csss.accounts import step_up
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, require
from csss.accounts.step_up import Bound, Challenge, SendCode
from csss.accounts.tables import Role, StepUpMethod, User
from csss.findings.choices import ModelChoice, Wish, able_to_speak, begin, decide, standing
from csss.findings.decisions import ChoiceKind, Proposal
from csss.findings.standing import Standing, find
from csss.foundation.errors import Conflict, CsssError, Forbidden, NotFound, Unprocessable
from csss.foundation.settings import Approval
from csss.foundation.work import Work
from csss.inference.shelf import Shelf

_SAME_PERSON = "You proposed this yourself. Another administrator confirms or refuses it."


class ProposalStale(Conflict):
    """What was proposed is not what would be confirmed now."""

    code = "proposal-stale"


def propose(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf, tau: float | None = None) -> ModelChoice:
    """Ask that a version of the shelf speaks from now on, with a higher threshold for it where ``tau`` is given.

    Nothing changes for patients before another administrator confirms it. Raises `Forbidden`, `ChoiceStale`,
    `NotFound` ``model-not-available``, `Unprocessable` ``reason-missing``, ``comparison-only`` or
    ``threshold-out-of-range``, `Conflict` ``already-active`` or ``already-proposed``.
    """
    now = begin(work, actor, wish)
    model = able_to_speak(shelf, wish)
    own = model.card.threshold.tau
    if tau is not None and not (math.isfinite(tau) and own < tau < 1.0):
        message = f"A threshold of this site is higher than the card's own, which is {own:g}, and below 1."
        raise Unprocessable(message, code="threshold-out-of-range")
    place = now.of(wish.model)
    active = place.active
    if active and not active.off and (active.version, active.tau, active.seal) == (wish.version, tau, model.seal):
        raise Conflict("This version is the active one already.", code="already-active")
    if place.proposal is not None and find_trouble(work, place.proposal, shelf) is None:
        raise Conflict(
            f"Version {place.proposal.version} is proposed already. It is settled first: confirmed, refused or "
            "withdrawn.",
            code="already-proposed",
        )
    return decide(work, actor, ChoiceKind.PROPOSE, wish, now=now, shelf=shelf, model=model, tau=tau)


def begin_step_up(
    work: Work, actor: Actor, *, model: str, version: str, method: StepUpMethod, rules: Approval, send_code: SendCode,
    shelf: Shelf,
) -> Challenge:  # fmt: skip
    """Open the fresh second factor for confirming the open proposal; see `step_up.begin`. Raises as `confirm`."""
    require(actor, Action.MANAGE_MODELS)
    proposal = _to_confirm(work, actor, standing(work), model, version, shelf)
    return step_up.begin(work, actor, bound=_bound(proposal), method=method, rules=rules, send_code=send_code)


def confirm(work: Work, actor: Actor, wish: Wish, *, code: str, rules: Approval, shelf: Shelf) -> ModelChoice:
    """Let the proposed version speak from now on; by another administrator than the one who proposed it.

    Raises `Forbidden` ``same-person``, `ChoiceStale`, `Conflict` ``nothing-proposed``, what `find_trouble` finds, and
    what `step_up.use` raises.
    """
    now = begin(work, actor, wish)
    proposal = _to_confirm(work, actor, now, wish.model, wish.version, shelf)
    step_up.use(work, actor, bound=_bound(proposal), code=code, rules=rules)
    model = able_to_speak(shelf, wish)
    return decide(
        work,
        actor,
        ChoiceKind.ACTIVATE,
        wish,
        now=now,
        shelf=shelf,
        model=model,
        tau=proposal.tau,
        settles=proposal.id,
    )


def refuse(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """Say no to the proposal of another administrator, also to a stale one. Raises as above."""
    now = begin(work, actor, wish)
    proposal = _open(now, wish.model, wish.version)
    if proposal.by_id == actor.user_id:
        raise Forbidden("You proposed this yourself. Withdraw it instead.", code="same-person")
    return decide(work, actor, ChoiceKind.REFUSE, wish, now=now, shelf=shelf, model=None, settles=proposal.id)


def withdraw(work: Work, actor: Actor, wish: Wish, *, shelf: Shelf) -> ModelChoice:
    """Take the own proposal back. Raises as above, and `Forbidden` ``not-yours``."""
    now = begin(work, actor, wish)
    proposal = _open(now, wish.model, wish.version)
    if proposal.by_id != actor.user_id:
        raise Forbidden("Only who proposed this can withdraw it. You may refuse it.", code="not-yours")
    return decide(work, actor, ChoiceKind.WITHDRAW, wish, now=now, shelf=shelf, model=None, settles=proposal.id)


def find_trouble(work: Work, proposal: Proposal, shelf: Shelf) -> CsssError | None:
    """Return why a proposal cannot be confirmed any more, None while it can."""
    if proposal.stale:
        return ProposalStale("What speaks has changed since this was proposed. It is to be proposed anew.")
    model = find(shelf, proposal.model, proposal.version)
    if model is None:
        message = f"{proposal.model} {proposal.version} is not on the shelf any more, or did not pass its checks there."
        return NotFound(message, code="model-not-available")
    if model.seal != proposal.seal:
        message = f"The folder of {proposal.model} {proposal.version} is not the one that was proposed."
        return ProposalStale(message, code="model-replaced")
    proposer = work.session.get_one(User, proposal.by_id)
    if proposer.disabled_at is not None or proposer.role is not Role.ADMIN:
        return ProposalStale("Who proposed this is no administrator any more.", code="proposer-gone")
    return None


def open_challenge(work: Work, actor: Actor, proposal: Proposal) -> Challenge | None:
    """Return this person's challenge for confirming the proposal, None when no code was asked for."""
    return step_up.find_open(work, actor, _bound(proposal))


def proposer_name(work: Work, proposal: Proposal) -> str:
    """Return the name of the administrator who proposed it."""
    return work.session.get_one(User, proposal.by_id).name


def _to_confirm(work: Work, actor: Actor, now: Standing, model: str, version: str, shelf: Shelf) -> Proposal:
    proposal = _open(now, model, version)
    if proposal.by_id == actor.user_id:
        raise Forbidden(_SAME_PERSON, code="same-person")
    trouble = find_trouble(work, proposal, shelf)
    if trouble is not None:
        raise trouble
    return proposal


def _open(now: Standing, model: str, version: str) -> Proposal:
    proposal = now.of(model).proposal
    if proposal is None or proposal.version != version:
        raise Conflict("Nobody proposes this version just now.", code="nothing-proposed")
    return proposal


def _bound(proposal: Proposal) -> Bound:
    content = [proposal.model, proposal.version, proposal.seal, proposal.tau, proposal.reason]
    return Bound(
        action="activate-model",
        subject_id=proposal.id,
        revision=proposal.number,
        content_sha256=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        purpose=f"let {proposal.model} {proposal.version} read scans",
        object_type="model_choice",
    )
