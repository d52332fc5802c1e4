"""What administrators do on the page of models: propose, confirm, refuse, withdraw, go back, switch off, shadow."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from csss.accounts.actor import Actor
from csss.accounts.permissions import Action, require
from csss.accounts.tables import StepUpMethod
from csss.entrypoints.http.actor import ActorDep
from csss.entrypoints.http.parts import PartsDep
from csss.entrypoints.http.work import WorkDep
from csss.entrypoints.web.forms import CSRF, keep_form, parse_id
from csss.entrypoints.web.model_desk import Name, models_page
from csss.entrypoints.web.rendering import go
from csss.findings import choices, proposals
from csss.findings.choices import ModelChoice, Wish
from csss.foundation.errors import Unprocessable
from csss.foundation.work import Work
from csss.inference.shelf import Shelf

router = APIRouter(prefix="/admin/models/{name}/{version}", include_in_schema=False, dependencies=CSRF)

Text = Annotated[str, Form()]
Verb = Callable[[Wish], ModelChoice]
_FLASHES = {
    "withdraw": "proposal-withdrawn",
    "refuse": "proposal-refused",
    "shadow": "shadow-started",
    "stop-shadow": "shadow-stopped",
    "roll-back": "model-rolled-back",
    "switch-off": "model-switched-off",
}


@router.post("/propose")
def propose(
    request: Request,
    name: Name,
    version: Name,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    reason: Text = "",
    tau: Text = "",
    seen: Text = "",
) -> Response:
    """Ask that this version speaks; another administrator confirms it."""

    def verb(wish: Wish) -> ModelChoice:
        return proposals.propose(work, actor, wish, shelf=parts.shelf, tau=_tau(tau))

    return _decide(request, work, actor, ("propose", name, version, reason, seen), verb, flash="model-proposed")


@router.post("/step-up")
def step_up(
    request: Request,
    name: Name,
    version: Name,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    method: Text = "",
) -> Response:
    """Ask for the fresh second factor of a confirmation."""
    require(actor, Action.MANAGE_MODELS)
    _keep(request, actor, f"step-up-{name}-{version}")
    if method not in set(StepUpMethod):
        raise Unprocessable("Choose how you prove that it is you.", code="bad-method")
    proposals.begin_step_up(
        work,
        actor,
        model=name,
        version=version,
        method=StepUpMethod(method),
        rules=parts.site.approval,
        send_code=parts.send_code,
        shelf=parts.shelf,
    )
    return go(request, "/admin/models", flash="code-open")


@router.post("/confirm")
def confirm(
    request: Request,
    name: Name,
    version: Name,
    work: WorkDep,
    actor: ActorDep,
    parts: PartsDep,
    reason: Text = "",
    code: Text = "",
    seen: Text = "",
) -> Response:
    """Let the proposed version speak from now on."""

    def verb(wish: Wish) -> ModelChoice:
        return proposals.confirm(work, actor, wish, code=code, rules=parts.site.approval, shelf=parts.shelf)

    return _decide(request, work, actor, ("confirm", name, version, reason, seen), verb, flash="model-activated")


def _add_plain_steps() -> None:
    """The steps that need a reason and nothing else."""
    for step, plain in (
        ("refuse", proposals.refuse),
        ("withdraw", proposals.withdraw),
        ("roll-back", choices.roll_back),
        ("switch-off", choices.switch_off),
        ("shadow", choices.start_shadow),
        ("stop-shadow", choices.stop_shadow),
    ):
        router.post(f"/{step}")(_plain_step(step, plain))


def _plain_step(step: str, plain: Callable[..., ModelChoice]) -> Callable[..., Response]:
    def take(
        request: Request,
        name: Name,
        version: Name,
        work: WorkDep,
        actor: ActorDep,
        parts: PartsDep,
        reason: Text = "",
        seen: Text = "",
    ) -> Response:
        def verb(wish: Wish) -> ModelChoice:
            shelf: Shelf = parts.shelf
            return plain(work, actor, wish, shelf=shelf)

        return _decide(request, work, actor, (step, name, version, reason, seen), verb, flash=_FLASHES[step])

    return take


_add_plain_steps()


def _decide(
    request: Request, work: Work, actor: Actor, wished: tuple[str, str, str, str, str], verb: Verb, *, flash: str
) -> Response:
    require(actor, Action.MANAGE_MODELS)
    step, name, version, reason, seen = wished
    _keep(request, actor, f"{step}-{name}-{version}")
    known = parse_id(seen, "The page is incomplete. Load it again.") if seen else None
    verb(Wish(name, version, reason, known))
    return go(request, "/admin/models", flash=flash)


def _keep(request: Request, actor: Actor, form: str) -> None:
    keep_form(request, form, lambda work, refusal: models_page(request, work, actor, refusal=refusal))


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
