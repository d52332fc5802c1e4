"""Sites with several versions of a model, and short ways to decide about them."""

from pathlib import Path
from uuid import UUID

from csss.findings import choices
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
    """Take a decision from what is known now."""
    wish = Wish(name, version, reason, newest(site))
    actor, on = site.person(who).actor, shelf or site.assembly.shelf
    with site.assembly.shop.work() as work:
        if kind == "activate":
            return choices.activate(work, actor, wish, shelf=on, tau=tau)
        verb = {"shadow": choices.start_shadow, "stop-shadow": choices.stop_shadow, "roll-back": choices.roll_back}
        return verb[kind](work, actor, wish, shelf=on)
