"""Activating takes two: who may confirm, what makes a proposal stale, the code, and what one may do alone."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from accounts.letters_read import mailed_code, text_of
from csss.accounts.tables import StepUpMethod, User
from csss.findings import proposals
from csss.findings.choices import ModelChoice, Wish
from csss.findings.tables import Analysis
from csss.foundation.clock import SetClock
from csss.foundation.errors import CsssError
from csss.foundation.ids import new_id
from csss.foundation.settings import Approval
from csss.imaging.sandbox import Sandbox
from csss.imaging.volume import Volume
from csss.inference.prediction import Prediction
from csss.inference.shelf import Shelf
from csss.pathway import reading
from csss.pathway.states import State
from mailbox_server import Mailbox
from model_shelves import OTHER_HEAD, make_version
from pathway.records import CALM_GREY, all_of, audited, band_png, everything, last_audited
from pathway.versions import confirm, decide, make_shelf, newest, no_mail
from sites import Site, open_site


def active(site: Site) -> tuple[str, ...]:
    return tuple(row.version for row in all_of(site, ModelChoice) if row.kind == "activate")


def refused(site: Site, call: Any, *args: Any, **options: Any) -> tuple[int, str]:
    """The refusal of a step that leaves no decision behind."""
    before, seq = everything(site), last_audited(site)
    with pytest.raises(CsssError) as problem:
        call(site, *args, **options)
    rows = {name: rows for name, rows in everything(site).items() if name not in ("step_up", "throttle")}
    assert rows == {name: rows for name, rows in before.items() if name not in ("step_up", "throttle")}
    assert [event.action for event in audited(site, after=seq) if event.action.startswith("model.")] == []
    return problem.value.status, problem.value.code


def other_shelf(folder: Path) -> Shelf:
    """Version 2 is another model than in `make_shelf`, with a card that is whole."""
    make_version(folder, "1")
    make_version(folder, "2", head_seed=OTHER_HEAD, tau=0.8)
    return Shelf(folder)


def test_a_proposal_changes_nothing_for_patients(versions_site: Site) -> None:
    site = versions_site
    decide(site, "propose", "1")
    site.in_care()
    case_id = site.upload(data=band_png(CALM_GREY, 1)).json()["id"]
    site.run_jobs()
    assert site.state(case_id) is State.AI_ANALYZED
    assert [row.model_version for row in all_of(site, Analysis)] == ["2"]
    confirm(site, "1")
    site.upload(data=band_png(CALM_GREY, 2))
    site.run_jobs()
    assert sorted(row.model_version for row in all_of(site, Analysis)) == ["1", "2"]


def test_nobody_confirms_or_refuses_an_own_proposal(versions_site: Site) -> None:
    site = versions_site
    site.person("admin")
    decide(site, "propose", "1")
    assert refused(site, confirm, "1", who="admin") == (403, "same-person")
    assert refused(site, decide, "refuse", "1") == (403, "same-person")
    site.person("second admin")
    assert refused(site, decide, "withdraw", "1", who="second admin") == (403, "not-yours")
    assert active(site) == ()
    confirm(site, "1")
    assert active(site) == ("1",)
    assert refused(site, confirm, "1") == (409, "nothing-proposed")


def test_a_confirmation_needs_a_fresh_code_for_this_very_proposal(versions_site: Site) -> None:
    site = versions_site
    decide(site, "propose", "1", tau=0.8)
    second, rules = site.person("second admin").actor, site.assembly.parts.site.approval

    def enter(site: Site, code: str) -> None:
        wish = Wish("tiny", "1", "the figures are good", newest(site))
        with site.assembly.shop.work() as work:
            proposals.confirm(work, second, wish, code=code, rules=rules, shelf=site.assembly.shelf)

    def ask() -> None:
        with site.assembly.shop.work() as work:
            proposals.begin_step_up(
                work, second, model="tiny", version="1", method="totp", rules=rules,  # type: ignore[arg-type]
                send_code=no_mail, shelf=site.assembly.shelf,
            )  # fmt: skip

    assert refused(site, enter, site.totp_code("second admin")) == (409, "no-open-code")
    ask()
    assert refused(site, enter, "000000") == (401, "wrong-code")
    site.clock.move(timedelta(minutes=11))
    assert refused(site, enter, site.totp_code("second admin")) == (401, "code-expired")
    ask()
    # Withdrawn and proposed again is another proposal: the code was asked for the first.
    decide(site, "withdraw", "1")
    decide(site, "propose", "1", tau=0.8)
    assert refused(site, enter, site.totp_code("second admin")) == (409, "no-open-code")
    ask()
    enter(site, site.totp_code("second admin"))
    assert active(site) == ("1",)


def test_a_mailed_code_says_which_version_it_is_for_and_confirms_it(versions_site: Site) -> None:
    site = versions_site
    decide(site, "propose", "1")
    second, rules = site.person("second admin").actor, Approval(email_code=True)
    with site.assembly.shop.work() as work:
        proposals.begin_step_up(
            work, second, model="tiny", version="1", method=StepUpMethod.EMAIL, rules=rules,
            send_code=site.assembly.parts.send_code, shelf=site.assembly.shelf,
        )  # fmt: skip
    assert "Your code to let tiny 1 read scans is" in text_of(site.mailbox)
    wish = Wish("tiny", "1", "the figures are good", newest(site))
    with site.assembly.shop.work() as work:
        proposals.confirm(work, second, wish, code=mailed_code(site.mailbox), rules=rules, shelf=site.assembly.shelf)
    assert active(site) == ("1",)


@pytest.mark.parametrize("change", ["roll-back", "switch-off"])
def test_a_proposal_is_stale_when_what_speaks_has_changed(versions_site: Site, change: str) -> None:
    site = versions_site
    decide(site, "activate", "1")
    decide(site, "activate", "2")
    decide(site, "propose", "2", tau=0.9)
    decide(site, change, "1" if change == "roll-back" else "2")
    assert refused(site, confirm, "2") == (409, "proposal-stale")
    # A new one takes its place, and the old one could be cleared away too.
    decide(site, "propose", "2", tau=0.95)
    confirm(site, "2")
    assert active(site) == ("1", "2", "2")


def test_a_proposal_stands_beside_a_shadow_and_one_stands_at_a_time(versions_site: Site) -> None:
    site = versions_site
    decide(site, "propose", "1")
    decide(site, "shadow", "1")
    assert refused(site, decide, "propose", "2", tau=0.9) == (409, "already-proposed")
    confirm(site, "1")
    assert active(site) == ("1",)


def test_a_proposal_is_stale_when_the_folder_or_the_proposer_is_another(versions_site: Site, tmp_path: Path) -> None:
    site = versions_site
    decide(site, "activate", "1")
    decide(site, "propose", "2")
    assert refused(site, confirm, "2", shelf=other_shelf(tmp_path / "other")) == (409, "model-replaced")
    gone = Shelf(site.assembly.shelf.root)
    gone.models = tuple(model for model in gone.models if model.card.version != "2")
    assert refused(site, confirm, "2", shelf=gone) == (404, "model-not-available")
    with site.assembly.shop.work() as work:
        work.session.get_one(User, site.person("admin").user.id).disabled_at = work.clock.now()
    assert refused(site, confirm, "2") == (409, "proposer-gone")


def test_a_proposal_is_answered_once_by_the_database_itself(versions_site: Site) -> None:
    site = versions_site
    row = decide(site, "activate", "1")
    again = {column.key: getattr(row, column.key) for column in ModelChoice.__table__.columns}
    with pytest.raises(IntegrityError), site.assembly.shop.work() as work:
        work.session.add(ModelChoice(**again | {"id": new_id(), "number": 3}))


def test_a_scan_is_not_read_with_another_folder_under_the_chosen_version(versions_site: Site, tmp_path: Path) -> None:
    site = versions_site
    decide(site, "activate", "2")
    site.in_care()
    case_id = site.upload(data=band_png(CALM_GREY, 1)).json()["id"]
    other = other_shelf(tmp_path / "other")
    with site.assembly.shop.work() as work:
        reading.analyse(work, UUID(case_id), shelf=other, thresholds=())
    case = site.case(case_id)
    assert (case.state, case.reason_code) == (State.AI_FAILED, "model-replaced")
    assert (case.reason, all_of(site, Analysis)) == (
        "The folder of tiny 2 is not the one that was chosen. "
        "Nothing is read with it until administrators choose it anew.",
        [],
    )
    # The same version can be proposed again, though it is the active one by name.
    decide(site, "activate", "2", shelf=other)
    assert site.post("doctor", f"/scans/{case_id}/retry-ai").status_code == 202
    with site.assembly.shop.work() as work:
        reading.analyse(work, UUID(case_id), shelf=other, thresholds=())
    assert [(row.model_version, row.tau) for row in all_of(site, Analysis)] == [("2", 0.8)]


@pytest.mark.parametrize(("step", "version"), [("roll-back", "1"), ("switch-off", "2")])
def test_an_answer_that_came_after_another_decision_is_not_kept(
    versions_site: Site, step: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = versions_site
    decide(site, "activate", "1")
    decide(site, "activate", "2")
    model = site.assembly.shelf.model("tiny", "2")
    predict = model.predict

    def meanwhile(volume: Volume) -> Prediction:
        decide(site, step, version)
        return predict(volume)

    monkeypatch.setattr(model, "predict", meanwhile)
    site.in_care()
    case_id = site.upload(data=band_png(CALM_GREY, 3)).json()["id"]
    site.run_jobs()
    reasons = {"roll-back": "chosen-anew", "switch-off": "model-switched-off"}
    assert (site.state(case_id), site.case(case_id).reason_code) == (State.AI_FAILED, reasons[step])
    assert all_of(site, Analysis) == []


def test_a_model_whose_newest_folder_is_broken_keeps_its_scans_when_it_is_switched_off(
    database_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, mailbox: Mailbox
) -> None:
    root = make_shelf(tmp_path / "shelf")
    (root / "tiny" / "2" / "head.npz").write_bytes(b"another head")
    with open_site(database_url, tmp_path, clock, sandbox, root, mailbox) as site:
        decide(site, "switch-off", "2")
        (row,) = all_of(site, ModelChoice)
        card = site.assembly.shelf.model("tiny", "1").card
        assert (row.modalities, row.body_parts) == (list(card.modalities), list(card.body_parts))


def test_one_alone_goes_back_and_switches_off_but_not_on(versions_site: Site, tmp_path: Path) -> None:
    site = versions_site
    decide(site, "activate", "1", tau=0.8)
    decide(site, "activate", "2")
    changed = tmp_path / "changed"
    make_version(changed, "1", tau=0.9)
    make_version(changed, "2", head_seed=OTHER_HEAD)
    assert refused(site, decide, "roll-back", "1", shelf=Shelf(changed)) == (503, "model-replaced")
    assert decide(site, "roll-back", "1").tau == 0.8
    decide(site, "switch-off", "1")
    assert refused(site, decide, "switch-off", "1") == (409, "not-active")
    site.in_care()
    case_id = site.upload(data=band_png(CALM_GREY, 1)).json()["id"]
    site.run_jobs()
    assert (site.state(case_id), site.case(case_id).reason_code) == (State.AI_FAILED, "model-switched-off")
    assert refused(site, decide, "roll-back", "1") == (409, "nothing-before")
    decide(site, "propose", "1")
    assert refused(site, confirm, "1", who="admin") == (403, "same-person")
    confirm(site, "1")
    assert site.post("doctor", f"/scans/{case_id}/retry-ai").status_code == 202
    site.run_jobs()
    assert [row.model_version for row in all_of(site, Analysis)] == ["1"]
