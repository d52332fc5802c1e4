"""What administrators do on the page of models: propose, confirm, refuse, withdraw, go back, switch off, shadow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

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


@dataclass(frozen=True, slots=True)
class StepForm:
    """What every form of the page carries; ``seen`` is the last decision that was on the page when it was loaded."""

    request: Request
    name: Name
    version: Name
    work: WorkDep
    actor: ActorDep
    parts: PartsDep
    reason: Text = ""
    seen: Text = ""

    def decide(self, kind: str, verb: Verb, *, flash: str) -> Response:
        """Take the decision ``kind``; a refusal shows the page again with everything that was typed."""
        self.begin(kind)
        known = parse_id(self.seen, "The page is incomplete. Load it again.") if self.seen else None
        verb(Wish(self.name, self.version, self.reason, known))
        return go(self.request, "/admin/models", flash=flash)

    def begin(self, kind: str) -> None:
        """Demand the right to decide, and keep what was typed for the page that a refusal shows."""
        require(self.actor, Action.MANAGE_MODELS)
        keep_form(
            self.request,
            f"{kind}-{self.name}-{self.version}",
            lambda work, refusal: models_page(self.request, work, self.actor, refusal=refusal),
        )


StepDep = Annotated[StepForm, Depends()]


@router.post("/propose")
def propose(step: StepDep, tau: Text = "") -> Response:
    """Ask that this version speaks; another administrator confirms it."""

    def verb(wish: Wish) -> ModelChoice:
        return proposals.propose(step.work, step.actor, wish, shelf=step.parts.shelf, tau=_tau(tau))

    return step.decide("propose", verb, flash="model-proposed")


@router.post("/step-up")
def step_up(step: StepDep, method: Text = "") -> Response:
    """Ask for the fresh second factor of a confirmation."""
    step.begin("step-up")
    if method not in set(StepUpMethod):
        raise Unprocessable("Choose how you prove that it is you.", code="bad-method")
    proposals.begin_step_up(
        step.work,
        step.actor,
        model=step.name,
        version=step.version,
        method=StepUpMethod(method),
        rules=step.parts.site.approval,
        send_code=step.parts.send_code,
        shelf=step.parts.shelf,
    )
    return go(step.request, "/admin/models", flash="code-open")


@router.post("/confirm")
def confirm(step: StepDep, code: Text = "") -> Response:
    """Let the proposed version speak from now on."""
    parts = step.parts

    def verb(wish: Wish) -> ModelChoice:
        return proposals.confirm(step.work, step.actor, wish, code=code, rules=parts.site.approval, shelf=parts.shelf)

    return step.decide("confirm", verb, flash="model-activated")


def _add_plain_steps() -> None:
    """The steps that need a reason and nothing else."""
    for kind, plain in (
        ("refuse", proposals.refuse),
        ("withdraw", proposals.withdraw),
        ("roll-back", choices.roll_back),
        ("switch-off", choices.switch_off),
        ("shadow", choices.start_shadow),
        ("stop-shadow", choices.stop_shadow),
    ):
        router.post(f"/{kind}")(_plain_step(kind, plain))


def _plain_step(kind: str, plain: Callable[..., ModelChoice]) -> Callable[..., Response]:
    def take(step: StepDep) -> Response:
        def verb(wish: Wish) -> ModelChoice:
            return plain(step.work, step.actor, wish, shelf=step.parts.shelf)

        return step.decide(kind, verb, flash=_FLASHES[kind])

    return take


_add_plain_steps()


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
