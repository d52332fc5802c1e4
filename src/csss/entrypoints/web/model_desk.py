"""Pages: which version of a model speaks, decided by administrators, and how a shadow agrees with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response

from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, require
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import Parts, parts_of
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.forms import CSRF, keep_form, parse_id
from csss.entrypoints.web.rendering import Refusal, go, page
from csss.findings import choices, shadowed
from csss.findings.choices import ModelChoice, Wish
from csss.findings.standing import Place, Standing, examinations, find, site_threshold, speaks_for, spoken
from csss.foundation.errors import CsssError, Unprocessable
from csss.foundation.work import Work
from csss.inference.card import ModelCard
from csss.inference.shelf import version_order
from csss.pathway import shadowing

router = APIRouter(include_in_schema=False)

HISTORY = 50
DISAGREEMENTS = 25
FEWEST_SCANS = 5  # spec/access.md: administrators see aggregates of five and more

KINDS = {
    "activate": "made to speak",
    "shadow": "started as a shadow",
    "stop-shadow": "stopped as a shadow",
    "roll-back": "rolled back to",
}
Verb = Callable[[Work, Actor, Wish], ModelChoice]
Text = Annotated[str, Form()]
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


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model with its versions, the newest first; ``speaks_for`` are the examinations that it reads today."""

    name: str
    versions: tuple[VersionLine, ...]
    gate: bool
    decided: bool
    speaks_for: tuple[str, ...]
    back_to: str | None
    trouble: str | None


@router.get("/admin/models")
def models_page(request: Request, work: WorkDep, actor: ActorDep) -> Response:
    """Show every model of the shelf, which version speaks, and who decided so."""
    return _models_page(request, work, actor)


@router.post("/admin/models/{name}/{version}/activate", dependencies=CSRF)
def activate(
    request: Request,
    name: Name,
    version: Name,
    work: WorkDep,
    actor: ActorDep,
    reason: Text = "",
    tau: Text = "",
    seen: Text = "",
) -> Response:
    """Let this version speak from now on."""

    def verb(work: Work, actor: Actor, wish: Wish) -> ModelChoice:
        return choices.activate(work, actor, wish, shelf=parts_of(request).shelf, tau=_tau(tau))

    return _decide(request, work, actor, ("activate", name, version, reason, seen), verb, flash="model-activated")


@router.post("/admin/models/{name}/{version}/shadow", dependencies=CSRF)
def shadow(
    request: Request, name: Name, version: Name, work: WorkDep, actor: ActorDep, reason: Text = "", seen: Text = ""
) -> Response:
    """Run this version silently beside the one that speaks."""

    def verb(work: Work, actor: Actor, wish: Wish) -> ModelChoice:
        return choices.start_shadow(work, actor, wish, shelf=parts_of(request).shelf)

    return _decide(request, work, actor, ("shadow", name, version, reason, seen), verb, flash="shadow-started")


@router.post("/admin/models/{name}/{version}/stop-shadow", dependencies=CSRF)
def stop_shadow(
    request: Request, name: Name, version: Name, work: WorkDep, actor: ActorDep, reason: Text = "", seen: Text = ""
) -> Response:
    """Run this version no longer."""

    def verb(work: Work, actor: Actor, wish: Wish) -> ModelChoice:
        return choices.stop_shadow(work, actor, wish, shelf=parts_of(request).shelf)

    return _decide(request, work, actor, ("stop-shadow", name, version, reason, seen), verb, flash="shadow-stopped")


@router.post("/admin/models/{name}/{version}/roll-back", dependencies=CSRF)
def roll_back(
    request: Request, name: Name, version: Name, work: WorkDep, actor: ActorDep, reason: Text = "", seen: Text = ""
) -> Response:
    """Let the version speak again that was active before."""

    def verb(work: Work, actor: Actor, wish: Wish) -> ModelChoice:
        return choices.roll_back(work, actor, wish, shelf=parts_of(request).shelf)

    return _decide(request, work, actor, ("roll-back", name, version, reason, seen), verb, flash="model-rolled-back")


@router.get("/admin/models/{name}/{version}/agreement")
def agreement(request: Request, name: Name, version: Name, work: WorkDep, actor: ActorDep) -> Response:
    """Show how a shadow agreed with the versions it ran beside."""
    require(actor, Action.MANAGE_MODELS)
    place = choices.standing(work).of(name)
    found = shadowed.agreements(work, model=name, version=version)
    return page(
        request,
        "admin/agreement.html",
        now=work.clock.now(),
        name=name,
        version=version,
        running=place.shadow == version,
        tally=shadowed.tally(work, model=name, version=version),
        agreements=[row for row in found if row.scans >= FEWEST_SCANS],
        too_few=[row for row in found if row.scans < FEWEST_SCANS],
        fewest=FEWEST_SCANS,
        disagreements=shadowing.disagreements(work, actor, model=name, version=version, limit=DISAGREEMENTS)
        if sum(row.scans for row in found) >= FEWEST_SCANS
        else [],
        on_shelf=find(parts_of(request).shelf, name, version) is not None,
    )


def _decide(
    request: Request, work: Work, actor: Actor, wished: tuple[str, str, str, str, str], verb: Verb, *, flash: str
) -> Response:
    require(actor, Action.MANAGE_MODELS)
    step, name, version, reason, seen = wished
    form = f"{step}-{name}-{version}"
    keep_form(request, form, lambda work, refusal: _models_page(request, work, actor, refusal=refusal))
    known = parse_id(seen, "The page is incomplete. Load it again.") if seen else None
    verb(work, actor, Wish(name, version, reason, known))
    return go(request, "/admin/models", flash=flash)


def _tau(text: str) -> float | None:
    """Return the threshold that was typed, as a share or in per cent; None for nothing."""
    cleaned = text.strip().replace(",", ".")
    if not cleaned:
        return None
    percent = cleaned.endswith("%")
    try:
        number = float(cleaned.removesuffix("%"))
    except ValueError:
        raise Unprocessable("Enter the threshold as a number such as 0.85.", code="threshold-out-of-range") from None
    return number / 100 if percent else number


def _models_page(request: Request, work: Work, actor: Actor, *, refusal: Refusal | None = None) -> Response:
    require(actor, Action.MANAGE_MODELS)
    parts = parts_of(request)
    now = choices.standing(work)
    names = {model.card.name for model in parts.shelf.models} | set(now.places)
    lines = [_line(parts, now, name) for name in sorted(names)]
    return page(
        request,
        "admin/models.html",
        now=work.clock.now(),
        lines=lines,
        orphan=refusal is not None and refusal.form not in {form for line in lines for form in _forms(line)},
        problems=parts.shelf.problems,
        root=str(parts.shelf.root),
        decisions=choices.history(work, limit=HISTORY),
        shown=HISTORY,
        kinds=KINDS,
        seen=now.newest_id or "",
        refusal=refusal,
        status=refusal.error.status if refusal else 200,
    )


def _forms(line: ModelLine) -> Iterator[str]:
    """The names of the forms that the page has for a model: a refused one that is gone is told above them all."""
    for row in () if line.gate else line.versions:
        if row.card:
            yield f"activate-{line.name}-{row.version}"
        if row.shadow:
            yield f"stop-shadow-{line.name}-{row.version}"
        elif row.may_shadow:
            yield f"shadow-{line.name}-{row.version}"
        if row.version == line.back_to:
            yield f"roll-back-{line.name}-{row.version}"


def _line(parts: Parts, now: Standing, name: str) -> ModelLine:
    shelf, place = parts.shelf, now.of(name)
    served = {model.card.version: model.card for model in shelf.models if model.card.name == name}
    speaking = spoken(now, shelf, name)
    known = {*served, *(filter(None, (speaking, place.shadow)))}
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
                shadow=version == place.shadow,
                site_tau=site_tau if version == speaking else None,
                may_shadow=version in served and (version != speaking or read != examinations(served[version])),
            )
            for version in sorted(known, key=version_order, reverse=True)
        ),
        gate=gate,
        decided=place.active is not None,
        speaks_for=_words(read),
        back_to=_back_to(place, served),
        trouble=trouble,
    )


def _back_to(place: Place, served: dict[str, ModelCard]) -> str | None:
    return place.before.version if place.before and place.before.version in served else None


def _trouble(
    parts: Parts, now: Standing, name: str, speaking: str | None, gate: bool
) -> tuple[str | None, float | None]:
    """Why this model's scans are not analysed (None when they are), and the site's threshold for who speaks."""
    if gate or speaking is None:
        return None, None
    if find(parts.shelf, name, speaking) is None:
        return f"Version {speaking} is to speak, but is not served here. Its scans are not analysed.", None
    try:
        return None, site_threshold(now, parts.settings.thresholds(), name, speaking)
    except CsssError as problem:
        return problem.message, None


def _words(pairs: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Examinations in words, by part of the body."""
    kinds: dict[str, list[str]] = {}
    for modality, body_part in pairs:
        kinds.setdefault(body_part.replace("_", " ").lower(), []).append(modality)
    return tuple(f"{' and '.join(names)} of {part}" for part, names in kinds.items())
