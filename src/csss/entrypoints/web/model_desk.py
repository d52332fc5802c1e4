"""Pages: which version of a model speaks, decided by administrators, and how a shadow agrees with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, require
from csss.accounts.step_up import Challenge
from csss.accounts.tables import User
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import Parts, parts_of
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.rendering import Refusal, page
from csss.findings import choices, proposals, shadowed
from csss.findings.decisions import Place, Proposal
from csss.findings.standing import Standing, examinations, find, site_threshold, speaks_for, spoken
from csss.findings.standing import speaking as speaking_model
from csss.findings.veil import FEWEST, folder_in_words, roughly, veil
from csss.foundation.errors import CsssError
from csss.foundation.thresholds import find_unknown
from csss.foundation.work import Work
from csss.inference.card import ModelCard
from csss.inference.shelf import Shelf, version_order
from csss.pathway import shadowing

router = APIRouter(include_in_schema=False)

HISTORY = 50
DISAGREEMENTS = 25

KINDS = {
    "propose": "proposed",
    "withdraw": "no longer proposed",
    "refuse": "refused",
    "activate": "made to speak",
    "switch-off": "switched off",
    "shadow": "started as a shadow",
    "stop-shadow": "stopped as a shadow",
    "roll-back": "rolled back to",
}
Name = Annotated[str, Path(pattern=r"^[0-9A-Za-z.-]{1,64}$")]


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version of a model: its card (None when it is not served here) and how it stands."""

    version: str
    card: ModelCard | None
    active: bool
    shadow: bool
    site_tau: float | None
    may_shadow: bool
    shadow_trouble: str | None
    proposed: "Waiting | None"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A proposal as its reader sees it: whose it is, why it cannot be confirmed (None: it can), and the open code."""

    proposal: Proposal
    who: str
    own: bool
    trouble: str | None
    challenge: Challenge | None


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model with its versions, the newest first; ``speaks_for`` are the examinations that it reads today."""

    name: str
    versions: tuple[VersionLine, ...]
    gate: bool
    decided: bool
    off: bool
    speaks_for: tuple[str, ...]
    back_to: str | None
    trouble: str | None


@router.get("/admin/models")
def show_models(request: Request, work: WorkDep, actor: ActorDep) -> Response:
    """Show every model of the shelf, which version speaks, who decided so, and what waits for a second person."""
    return models_page(request, work, actor)


@router.get("/admin/models/{name}/{version}/agreement")
def agreement(request: Request, name: Name, version: Name, work: WorkDep, actor: ActorDep) -> Response:
    """Show how a shadow agreed with the versions it ran beside."""
    require(actor, Action.MANAGE_MODELS)
    place = choices.standing(work).of(name)
    model = find(parts_of(request).shelf, name, version)
    # What another folder said under this name is no evidence for the one that stands here now.
    seal = model.seal if model else shadowed.last_seal(work, model=name, version=version)
    found = shadowed.agreements(work, model=name, version=version, seal=seal)
    tally = shadowed.tally(work, model=name, version=version, seal=seal)
    return page(
        request,
        "admin/agreement.html",
        now=work.clock.now(),
        name=name,
        version=version,
        running=place.shadow is not None and place.shadow.version == version,
        asked=tally.done + tally.failed + tally.waiting > 0,
        read=roughly(tally.done),
        waiting=tally.waiting,
        failed=roughly(tally.failed) if tally.failed else "",
        errors=[(code, roughly(count)) for code, count in tally.errors],
        agreements=[veil(row) for row in found if row.scans >= FEWEST],
        too_few=[row for row in found if row.scans < FEWEST],
        fewest=FEWEST,
        folder=folder_in_words,
        disagreements=shadowing.disagreements(work, actor, model=name, version=version, seal=seal, limit=DISAGREEMENTS),
        on_shelf=model is not None,
    )


def models_page(request: Request, work: Work, actor: Actor, *, refusal: Refusal | None = None) -> Response:
    """Return the page of all models; ``refusal`` is what one of its forms is told."""
    require(actor, Action.MANAGE_MODELS)
    parts = parts_of(request)
    now = choices.standing(work)
    names = {model.card.name for model in parts.shelf.models} | set(now.places)
    lines = [_line(parts, work, actor, now, name) for name in sorted(names)]
    return page(
        request,
        "admin/models.html",
        now=work.clock.now(),
        lines=lines,
        orphan=refusal is not None and refusal.form not in {form for line in lines for form in _forms(line)},
        problems=parts.shelf.problems,
        threshold_trouble=find_unknown(parts.settings.thresholds(), parts.shelf.reading_names()),
        root=str(parts.shelf.root),
        decisions=choices.history(work, limit=HISTORY),
        shown=HISTORY,
        kinds=KINDS,
        has_authenticator=work.session.get_one(User, actor.user_id).totp_secret is not None,
        email_allowed=parts.site.approval.email_code,
        seen=now.newest_id or "",
        refusal=refusal,
        status=refusal.error.status if refusal else 200,
    )


def _forms(line: ModelLine) -> Iterator[str]:
    """The names of the forms that the page has for a model: a refused one that is gone is told above them all."""
    for row in () if line.gate else line.versions:
        for step, shown in (
            ("propose", row.card is not None and (row.proposed is None or row.proposed.trouble is not None)),
            ("withdraw", row.proposed is not None and row.proposed.own),
            ("refuse", row.proposed is not None and not row.proposed.own),
            ("confirm", row.proposed is not None and not row.proposed.own and row.proposed.trouble is None),
            ("step-up", row.proposed is not None and not row.proposed.own and row.proposed.trouble is None),
            ("switch-off", row.active),
            ("stop-shadow", row.shadow),
            ("shadow", not row.shadow and row.may_shadow),
            ("roll-back", row.version == line.back_to),
        ):
            if shown:
                yield f"{step}-{line.name}-{row.version}"


def _line(parts: Parts, work: Work, actor: Actor, now: Standing, name: str) -> ModelLine:
    shelf, place = parts.shelf, now.of(name)
    served = {model.card.version: model.card for model in shelf.models if model.card.name == name}
    speaking = spoken(now, shelf, name)
    off = place.active is not None and place.active.off
    shadow = place.shadow.version if place.shadow else None
    waiting = _waiting(parts, work, actor, place)
    asked = waiting.proposal.version if waiting else None
    known = {*served, *filter(None, (speaking, shadow, asked, place.active.version if place.active else None))}
    gate = any(card.task == "gate" for card in served.values())
    trouble, site_tau = _trouble(parts, now, name, speaking, gate)
    model = find(shelf, name, speaking or "")
    read = speaks_for(now, shelf, model) if model and not gate else ()
    return ModelLine(
        name=name,
        versions=tuple(
            VersionLine(
                version=version,
                card=served.get(version),
                active=version == speaking and not gate,
                shadow=version == shadow,
                site_tau=site_tau if version == speaking else None,
                may_shadow=version in served
                and served[version].task == "classify"
                and (version != speaking or read != examinations(served[version])),
                shadow_trouble=_shadow_trouble(parts, work, name, place) if version == shadow else None,
                proposed=waiting if version == asked else None,
            )
            for version in sorted(known, key=version_order, reverse=True)
        ),
        gate=gate,
        decided=place.active is not None,
        off=off,
        speaks_for=_words(read),
        back_to=_back_to(place, shelf, name),
        trouble=trouble,
    )


def _waiting(parts: Parts, work: Work, actor: Actor, place: Place) -> Waiting | None:
    proposal = place.proposal
    if proposal is None:
        return None
    trouble = proposals.find_trouble(work, proposal, parts.shelf)
    return Waiting(
        proposal=proposal,
        who=proposals.proposer_name(work, proposal),
        own=proposal.by_id == actor.user_id,
        trouble=trouble.message if trouble else None,
        challenge=proposals.open_challenge(work, actor, proposal),
    )


def _shadow_trouble(parts: Parts, work: Work, name: str, place: Place) -> str | None:
    """Why a shadow that was started reads nothing; None when it reads."""
    shadow = place.shadow
    if shadow is None:
        return None
    if shadowing.has_given_up(work, name, shadow):
        return (
            f"Its process died {shadowing.MAX_CRASHES} times over it, so it is asked no more. "
            "The cases went on. Stop it; it can be started again."
        )
    model = find(parts.shelf, name, shadow.version)
    if model is not None and model.seal != shadow.seal:
        return "Its folder is not the one that was started. Stop it; the new one can be started."
    return None


def _back_to(place: Place, shelf: Shelf, name: str) -> str | None:
    before = place.before
    model = find(shelf, name, before.version) if before else None
    return before.version if before and model and model.seal == before.seal else None


def _trouble(
    parts: Parts, now: Standing, name: str, speaking: str | None, gate: bool
) -> tuple[str | None, float | None]:
    """Why this model's scans are not analysed (None when they are), and the site's threshold for who speaks."""
    if gate or speaking is None:
        return None, None
    if find(parts.shelf, name, speaking) is None:
        return f"Version {speaking} is to speak, but is not served here. Its scans are not analysed.", None
    try:
        speaking_model(now, parts.shelf, name)
        return None, site_threshold(now, parts.settings.thresholds(), name, speaking)
    except CsssError as problem:
        return problem.message, None


def _words(pairs: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Examinations in words, by part of the body."""
    kinds: dict[str, list[str]] = {}
    for modality, body_part in pairs:
        kinds.setdefault(body_part.replace("_", " ").lower(), []).append(modality)
    return tuple(f"{' and '.join(names)} of {part}" for part, names in kinds.items())
