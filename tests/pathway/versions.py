"""Sites with several versions of a model, and short ways to decide about them."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from csss.accounts.tables import StepUpMethod
from csss.findings import choices, proposals
from csss.findings.choices import ModelChoice, Wish
from csss.inference.shelf import Shelf
from model_shelves import OTHER_HEAD, make_version
from sites import Site


def make_shelf(root: Path) -> Path:
    """Versions 1 and 2 of "tiny": the first calls a calm picture calm, the second calls everything a storm."""
    make_version(root, "1")
    make_version(root, "2", head_seed=OTHER_HEAD)
    return root


def newest(site: Site) -> UUID | None:
    with site.assembly.shop.work() as work:
        return choices.standing(work).newest_id


def decide(
    site: Site,
    kind: str,
    version: str,
    *,
    name: str = "tiny",
    who: str = "admin",
    tau: float | None = None,
    reason: str = "tried at the other site",
    shelf: Shelf | None = None,
) -> ModelChoice:
    """Take a decision from what is known now; to "activate" is to propose as ``who`` and to confirm as a second one."""
    wish = Wish(name, version, reason, newest(site))
    actor, on = site.person(who).actor, shelf or site.assembly.shelf
    with site.assembly.shop.work() as work:
        if kind in ("activate", "propose"):
            row = proposals.propose(work, actor, wish, shelf=on, tau=tau)
        else:
            row = PLAIN[kind](work, actor, wish, shelf=on)
    return confirm(site, version, name=name, reason=reason, shelf=on) if kind == "activate" else row


def confirm(
    site: Site,
    version: str,
    *,
    name: str = "tiny",
    who: str = "second admin",
    reason: str = "the figures are good",
    shelf: Shelf | None = None,
) -> ModelChoice:
    """Confirm what is proposed, with a code that was not used before."""
    actor, on, rules = site.person(who).actor, shelf or site.assembly.shelf, site.assembly.parts.site.approval
    ask_for_code(site, version, name=name, who=who, shelf=shelf)
    wish = Wish(name, version, reason, newest(site))
    with site.assembly.shop.work() as work:
        return proposals.confirm(work, actor, wish, code=site.totp_code(who), rules=rules, shelf=on)


def ask_for_code(site: Site, version: str, *, name: str = "tiny", who: str, shelf: Shelf | None = None) -> None:
    """Open the second factor of a confirmation, at a time whose code was not used yet."""
    actor, on, rules = site.person(who).actor, shelf or site.assembly.shelf, site.assembly.parts.site.approval
    site.clock.move(timedelta(seconds=31))
    with site.assembly.shop.work() as work:
        proposals.begin_step_up(
            work, actor, model=name, version=version, method=StepUpMethod.TOTP, rules=rules, send_code=no_mail, shelf=on
        )


def no_mail(*_: object) -> None:
    """Nobody is mailed a code where an authenticator is used."""


PLAIN: dict[str, Callable[..., ModelChoice]] = {
    "withdraw": proposals.withdraw,
    "refuse": proposals.refuse,
    "shadow": choices.start_shadow,
    "stop-shadow": choices.stop_shadow,
    "roll-back": choices.roll_back,
    "switch-off": choices.switch_off,
}
