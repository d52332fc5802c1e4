"""Decisions about versions: who may take them, what they refuse, that one of two wins, and that they stay."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tiny_model import rework

from csss import audit
from csss.check import _findings
from csss.findings import choices, proposals
from csss.findings.choices import ChoiceKind, ChoiceStale, ModelChoice, Wish
from csss.findings.tables import Analysis
from csss.foundation.clock import SetClock
from csss.foundation.errors import CsssError
from csss.imaging.sandbox import Sandbox
from csss.inference.shelf import Shelf
from csss.pathway import reading
from csss.pathway.states import State
from mailbox_server import Mailbox
from model_shelves import exchange_golden, make_version
from pathway.records import CALM_GREY, all_of, audited, band_png, everything, last_audited, new_picture
from pathway.versions import decide, make_shelf, newest
from sites import Site, open_site


@pytest.fixture
def site_with(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, two_versions: Path, mailbox: Mailbox
) -> Any:
    def opened(models: Path = two_versions, **settings: str) -> Any:
        return open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox, **settings)

    return opened


def analysed(site: Site, seed: int = 1) -> str:
    site.in_care()
    case_id: str = site.upload(data=band_png(CALM_GREY, seed)).json()["id"]
    site.run_jobs()
    return case_id


def outcome(site: Site, case_id: str) -> tuple[State, str | None]:
    return site.state(case_id), site.case(case_id).reason_code


def said(site: Site, case_id: str) -> tuple[str, str, float]:
    """Version, label and threshold of a case's analysis."""
    key = site.case(case_id).analysis_id
    [row] = [row for row in all_of(site, Analysis) if row.id == key]
    return row.model_version, row.label, row.tau


def refused(site: Site, *args: Any, **options: Any) -> tuple[int, str]:
    """The refusal of a decision that leaves nothing behind."""
    before, seq = everything(site), last_audited(site)
    with pytest.raises(CsssError) as problem:
        decide(site, *args, **options)
    assert (everything(site), audited(site, after=seq)) == (before, [])
    return problem.value.status, problem.value.code


def test_a_decision_is_kept_whole_and_audited(versions_site: Site) -> None:
    site = versions_site
    row = decide(site, "activate", "1", tau=0.85, reason="  known here  ")
    asked, kept = sorted(all_of(site, ModelChoice), key=lambda row: row.number)
    first, second = site.person("admin").user.id, site.person("second admin").user.id
    seal = site.assembly.shelf.model("tiny", "1").seal
    assert (kept.id, kept.number, kept.kind, kept.model, kept.version) == (row.id, 2, ChoiceKind.ACTIVATE, "tiny", "1")
    assert (asked.kind, asked.by_id, asked.seal, asked.tau) == (ChoiceKind.PROPOSE, first, seal, 0.85)
    assert (kept.replaced, kept.tau, kept.by_id, kept.at) == ("2", 0.85, second, site.clock.now())
    assert (kept.seal, kept.proposal_id, asked.proposal_id) == (seal, asked.id, None)
    assert (kept.reason, kept.modalities, kept.body_parts) == (
        "known here",
        ["DX", "CR", "unstated"],
        ["CHEST", "unstated"],
    )
    proposed, activated = [event for event in audited(site) if event.action.startswith("model.")]
    assert (proposed.action, proposed.actor_id, proposed.object_id) == ("model.proposed", first, asked.id)
    assert (activated.action, activated.actor_id, activated.object_type, activated.object_id) == (
        "model.activated",
        second,
        "model_choice",
        row.id,
    )
    detail = {"model": "tiny", "version": "1", "replaced": "2", "tau": 0.85, "seal": seal}
    assert [proposed.detail, activated.detail] == [detail, detail]
    [code] = [event for event in audited(site) if event.action == "step_up.begun"]
    assert (code.object_type, code.object_id, code.revision) == ("model_choice", asked.id, 1)
    with site.assembly.shop.work() as work:
        assert audit.verify_chain(work.session).reason is None


def test_each_kind_has_an_event_of_its_own(versions_site: Site) -> None:
    for kind, version in (
        ("propose", "1"), ("withdraw", "1"), ("activate", "1"), ("shadow", "2"), ("stop-shadow", "2"),
        ("activate", "2"), ("roll-back", "1"), ("switch-off", "1"),
    ):  # fmt: skip
        decide(versions_site, kind, version)
    decide(versions_site, "propose", "2")
    decide(versions_site, "refuse", "2", who="second admin")
    rows = all_of(versions_site, ModelChoice)
    assert [(row.number, row.kind, row.version, row.replaced) for row in sorted(rows, key=lambda row: row.number)] == [
        (1, "propose", "1", "2"),
        (2, "withdraw", "1", "2"),
        (3, "propose", "1", "2"),
        (4, "activate", "1", "2"),
        (5, "shadow", "2", "1"),
        (6, "stop-shadow", "2", "1"),
        (7, "propose", "2", "1"),
        (8, "activate", "2", "1"),
        (9, "roll-back", "1", "2"),
        (10, "switch-off", "1", "1"),
        (11, "propose", "2", None),
        (12, "refuse", "2", None),
    ]
    assert [event.action for event in audited(versions_site) if event.action.startswith("model.")] == [
        "model.proposed",
        "model.proposal_withdrawn",
        "model.proposed",
        "model.activated",
        "model.shadow_started",
        "model.shadow_stopped",
        "model.proposed",
        "model.activated",
        "model.rolled_back",
        "model.switched_off",
        "model.proposed",
        "model.proposal_refused",
    ]


@pytest.mark.parametrize("statement", ["UPDATE model_choice SET version = '2'", "DELETE FROM model_choice"])
def test_a_decision_cannot_be_changed_or_removed(versions_site: Site, statement: str) -> None:
    decide(versions_site, "activate", "1")
    with pytest.raises(DBAPIError, match="append-only"), versions_site.assembly.shop.work() as work:
        work.session.execute(text(statement))
    assert [row.version for row in all_of(versions_site, ModelChoice)] == ["1", "1"]


@pytest.mark.parametrize("who", ["patient", "doctor", "pharmacist"])
def test_only_administrators_decide(sqlite_site: Site, who: str) -> None:
    sqlite_site.person(who)
    for kind in ("propose", "withdraw", "refuse", "shadow", "stop-shadow", "roll-back", "switch-off"):
        assert refused(sqlite_site, kind, "1", who=who) == (403, "wrong-role")


def test_what_cannot_be_decided_is_refused_and_leaves_nothing(site_with: Any) -> None:
    with site_with() as site:
        site.person("admin")
        assert refused(site, "activate", "9") == (404, "model-not-available")
        assert refused(site, "activate", "1", name="nobody") == (404, "model-not-available")
        assert refused(site, "shadow", "9") == (404, "model-not-available")
        assert refused(site, "activate", "1", reason=" x ") == (422, "reason-missing")
        assert refused(site, "shadow", "1", reason="") == (422, "reason-missing")
        for tau in (0.75, 0.5, 1.0, 1.2, float("nan"), float("inf")):
            assert refused(site, "propose", "1", tau=tau) == (422, "threshold-out-of-range")
        assert refused(site, "shadow", "2") == (409, "already-active")
        assert refused(site, "stop-shadow", "1") == (409, "no-shadow")
        assert refused(site, "roll-back", "1") == (409, "nothing-before")
        assert refused(site, "switch-off", "1") == (409, "not-active")
        assert refused(site, "withdraw", "1") == (409, "nothing-proposed")
        decide(site, "activate", "1", tau=0.8)
        # Nobody had let version 2 speak: it was the newest, so one alone cannot go back to it.
        assert refused(site, "roll-back", "2") == (409, "nothing-before")
        decide(site, "activate", "2")
        decide(site, "activate", "1", tau=0.8)
        assert refused(site, "activate", "1", tau=0.8) == (409, "already-active")
        assert refused(site, "roll-back", "1") == (409, "nothing-before")
        decide(site, "shadow", "2")
        assert refused(site, "shadow", "2") == (409, "already-shadow")
        gone = Shelf(site.assembly.shelf.root)
        gone.models = tuple(model for model in gone.models if model.card.version != "2")
        assert refused(site, "roll-back", "2", shelf=gone) == (404, "model-not-available")
        # A shadow that left the shelf can still be stopped.
        assert decide(site, "stop-shadow", "2", shelf=gone).number == 8


def test_a_version_that_fails_its_golden_case_cannot_be_activated(site_with: Any, tmp_path: Path) -> None:
    root = make_shelf(tmp_path / "shelf")
    exchange_golden(root / "tiny" / "2", root / "tiny" / "1")
    with site_with(root) as site:
        site.person("admin")
        problems = [(problem.folder, problem.code) for problem in site.assembly.shelf.problems]
        assert problems == [("tiny/2", "golden-differs")]
        assert refused(site, "activate", "2") == (404, "model-not-available")
        assert refused(site, "shadow", "2") == (404, "model-not-available")


def test_a_decision_on_an_older_page_is_refused(versions_site: Site) -> None:
    site = versions_site
    seen = newest(site)
    decide(site, "activate", "1")
    other, wish = site.person("other admin").actor, Wish("tiny", "2", "I did not see that", seen)
    with pytest.raises(ChoiceStale) as refused_, site.assembly.shop.work() as work:
        choices.switch_off(work, other, wish, shelf=site.assembly.shelf)
    assert (refused_.value.status, refused_.value.code) == (409, "choice-stale")
    assert [row.version for row in all_of(site, ModelChoice)] == ["1", "1"]


def test_of_two_administrators_at_once_one_wins(versions_site: Site) -> None:
    """Both have seen the same page; the second reads the decisions while the first has not committed."""
    site = versions_site
    actors = [site.person("admin").actor, site.person("other admin").actor]
    together, results = threading.Barrier(2), []

    def go(version: str, actor: Any) -> None:
        try:
            with site.assembly.shop.work() as work:
                together.wait(10)
                proposals.propose(work, actor, Wish("tiny", version, "at once", None), shelf=site.assembly.shelf)
            results.append("won")
        except ChoiceStale as lost:
            results.append(lost.code)

    threads = [threading.Thread(target=go, args=pair) for pair in zip(("1", "2"), actors, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == ["choice-stale", "won"]
    assert [row.number for row in all_of(site, ModelChoice)] == [1]


def test_the_active_version_reads_and_earlier_results_keep_theirs(versions_site: Site) -> None:
    site = versions_site
    first = analysed(site)
    assert said(site, first) == ("2", "storm", 0.75)
    decide(site, "activate", "1", tau=0.99)
    second = analysed(site, 2)
    assert said(site, second) == ("1", "Uncertain", 0.99)
    decide(site, "activate", "1")
    third = analysed(site, 3)
    assert said(site, third) == ("1", "calm", 0.75)
    decide(site, "activate", "2")
    assert said(site, analysed(site, 4)) == ("2", "storm", 0.75)
    decide(site, "roll-back", "1")
    assert said(site, analysed(site, 5)) == ("1", "calm", 0.75)
    assert [said(site, case) for case in (first, second, third)] == [
        ("2", "storm", 0.75),
        ("1", "Uncertain", 0.99),
        ("1", "calm", 0.75),
    ]
    assert site.get("doctor", f"/scans/{first}").json()["ai"]["model_version"] == "2"


def test_an_analysis_fails_closed_when_the_active_version_is_gone(versions_site: Site, two_versions: Path) -> None:
    site = versions_site
    decide(site, "activate", "1")
    site.in_care()
    case_id = site.upload(data=new_picture()).json()["id"]
    gone = Shelf(two_versions)
    gone.models = tuple(model for model in gone.models if model.card.version != "1")
    with site.assembly.shop.work() as work:
        reading.analyse(work, UUID(case_id), shelf=gone, thresholds=())
    assert outcome(site, case_id) == (State.AI_FAILED, "model-not-available")
    assert all_of(site, Analysis) == []
    assert site.case(case_id).reason == (
        "tiny 1 is to read this, but is not served here. No other version speaks in its place."
    )
    # When it is back, a doctor asks again.
    assert site.post("doctor", f"/scans/{case_id}/retry-ai").status_code == 202
    site.run_jobs()
    assert said(site, case_id)[0] == "1"


def test_a_stale_threshold_refuses_the_analysis_and_the_check_says_so_before(site_with: Any) -> None:
    with site_with(confidence_threshold="tiny/1=0.9") as site:
        assert _said_by_check(site) == (
            False,
            "This site's threshold for tiny was set for version 1, not for version 2. "
            "Set one for version 2 (CSSS_CONFIDENCE_THRESHOLD), or none.",
        )
        case_id = analysed(site)
        assert outcome(site, case_id) == (State.AI_FAILED, "threshold-stale")
        assert all_of(site, Analysis) == []
        decide(site, "activate", "1")
        assert _said_by_check(site) == (True, "tiny 1 speaks, threshold 0.9")
        assert site.post("doctor", f"/scans/{case_id}/retry-ai").status_code == 202
        site.run_jobs()
        assert said(site, case_id) == ("1", "calm", 0.9)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("", (True, "tiny 2 speaks")),
        ("tiny/2=0.5", (True, "tiny 2 speaks, threshold 0.75 (its own is higher)")),
        (
            "gone/1=0.8",
            (
                False,
                "tiny 2 speaks; CSSS_CONFIDENCE_THRESHOLD names gone, which is no model here that reads pictures. "
                "There are: tiny.",
            ),
        ),
    ],
)
def test_check_says_who_speaks_with_which_threshold(site_with: Any, setting: str, expected: tuple[bool, str]) -> None:
    with site_with(confidence_threshold=setting) as site:
        assert _said_by_check(site) == expected


def test_check_misses_an_active_version_that_left_the_shelf(site_with: Any, two_versions: Path) -> None:
    with site_with() as site:
        decide(site, "activate", "1")
        gone = Shelf(two_versions)
        gone.models = tuple(model for model in gone.models if model.card.version != "1")
        assert _said_by_check(site, gone) == (
            False,
            "tiny 1 is to speak, but is not served here; its scans are not analysed",
        )


def _said_by_check(site: Site, shelf: Shelf | None = None) -> tuple[bool, str]:
    assembly = replace(site.assembly, shelf=shelf or site.assembly.shelf)
    [found] = [finding for finding in _findings(assembly) if finding.subject == "speakers"]
    return found.good, found.words


def test_a_model_for_comparison_never_speaks_but_may_run_as_a_shadow(site_with: Any, tmp_path: Path) -> None:
    root = make_shelf(tmp_path / "shelf")
    rework(root / "tiny" / "2", purpose="comparison")
    with site_with(root) as site:
        site.person("admin")
        assert refused(site, "activate", "2") == (422, "comparison-only")
        decide(site, "shadow", "2")
        case_id = analysed(site)
        assert said(site, case_id)[:2] == ("1", "calm")


def test_a_version_that_became_one_for_comparison_cannot_be_rolled_back_to(site_with: Any, tmp_path: Path) -> None:
    root = make_shelf(tmp_path / "shelf")
    with site_with(root) as site:
        site.person("admin")
        decide(site, "activate", "1")
        decide(site, "activate", "2")
        rework(root / "tiny" / "1", purpose="comparison")
        assert refused(site, "roll-back", "1", shelf=Shelf(root)) == (422, "comparison-only")


def test_check_is_content_with_a_model_that_is_kept_for_comparison(site_with: Any, tmp_path: Path) -> None:
    root = make_shelf(tmp_path / "shelf")
    rework(make_version(root, "1", name="recipe"), purpose="comparison")
    with site_with(root) as site:
        assert _said_by_check(site) == (True, "tiny 2 speaks")
