"""Shadows: they read after the case, harm it never, and nobody comes upon what they said."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from csss.findings import shadowed
from csss.findings.shadowed import ShadowAnalysis, ShadowState
from csss.findings.tables import Analysis
from csss.foundation.clock import SetClock
from csss.foundation.jobs import JobRequest, JobStatus, RetryLater
from csss.imaging.sandbox import Sandbox
from csss.inference.shelf import Shelf
from csss.pathway import shadowing
from csss.pathway.reading import MAX_AI_ATTEMPTS
from csss.pathway.states import State
from mailbox_server import Mailbox
from model_shelves import OTHER_HEAD, make_version
from pathway.records import CALM_GREY, UNCERTAIN_GREY, all_of, audited, band_png, everything, new_picture
from pathway.versions import decide
from sites import Site, open_site


@pytest.fixture
def versions_site(
    database_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, two_versions: Path, mailbox: Mailbox
) -> Iterator[Site]:
    """Version 1 speaks, version 2 is its shadow."""
    with open_site(database_url, tmp_path, clock, sandbox, two_versions, mailbox) as opened:
        decide(opened, "activate", "1")
        decide(opened, "shadow", "2")
        yield opened


def waiting(site: Site, seed: int = 1, grey: int = CALM_GREY) -> str:
    site.in_care()
    case_id: str = site.upload(data=band_png(grey, seed)).json()["id"]
    return case_id


def run(site: Site, shadow_id: UUID, shelf: Shelf | None = None) -> None:
    with site.assembly.shop.work() as work:
        shadowing.run_shadow(work, shadow_id, shelf=shelf or site.assembly.shelf, thresholds=())


def only_shadow(site: Site) -> ShadowAnalysis:
    [row] = all_of(site, ShadowAnalysis)
    assert isinstance(row, ShadowAnalysis)
    return row


def asked(site: Site, seed: int = 1) -> ShadowAnalysis:
    """A shadow that was asked for, whose case has moved on, and that did not run yet."""
    case_id = waiting(site, seed)
    [job] = [row for row in all_of(site, JobRequest) if row.kind == "analyse" and row.status == JobStatus.REQUESTED]
    with site.assembly.shop.work() as work:
        site.assembly.handlers["analyse"](work, UUID(case_id))
        work.session.get_one(JobRequest, job.id).status = JobStatus.DONE
    assert site.state(case_id) is State.AI_ANALYZED
    return next(row for row in all_of(site, ShadowAnalysis) if row.state is ShadowState.ASKED)


def test_a_shadow_reads_the_same_picture_after_the_case_has_moved_on(versions_site: Site) -> None:
    site = versions_site
    row = asked(site)
    assert (row.model, row.model_version, row.label, row.prediction) == ("tiny", "2", None, None)
    assert site.run_jobs() == 1
    row = only_shadow(site)
    [analysis] = all_of(site, Analysis)
    assert (row.state, row.label, row.top_label, row.error) == (ShadowState.DONE, "storm", "storm", None)
    assert (row.analysis_id, analysis.model_version, analysis.label) == (analysis.id, "1", "calm")
    assert row.prediction is not None
    assert row.prediction["input_sha256"] == analysis.input_sha256
    assert sum(share for _, share in row.prediction["probabilities"]) == pytest.approx(1.0)
    assert row.confidence == max(share for _, share in row.prediction["probabilities"])
    assert row.prediction["tau"] == 0.75


def test_nothing_that_people_or_programs_read_shows_a_shadow(versions_site: Site) -> None:
    """With the shadow and without it, every answer about the case is the same to the letter."""
    site = versions_site
    case_id = site.bring_to(State.REPORT_READY, data=band_png(CALM_GREY))
    assert only_shadow(site).label == "storm"
    [analysis] = all_of(site, Analysis)
    assert site.case(case_id).analysis_id == analysis.id
    before = _all_answers(site, case_id)
    with site.assembly.shop.work() as work:
        work.session.delete(work.session.get_one(ShadowAnalysis, only_shadow(site).id))
    assert _all_answers(site, case_id) == before
    ai = site.get("patient", f"/scans/{case_id}").json()["ai"]
    assert (ai["model_version"], ai["label"]) == ("1", "calm")
    assert [event.detail for event in audited(site) if event.action == "ai.completed"] == [
        {"from": "AI_RUNNING", "to": "AI_ANALYZED", "model": "tiny", "version": "1", "uncertain": False, "tau": 0.75}
    ]


def _all_answers(site: Site, case_id: str) -> dict[str, str]:
    """What each person gets of a case in every form, without what changes at each look."""
    found = {}
    for who in ("patient", "doctor", "pharmacist", "admin"):
        person = site.person(who)
        for path in (f"/scans/{case_id}", f"/scans/{case_id}/events", "/scans"):
            found[f"{who} {path}"] = site.get(who, path).text
        page = site.client.get(f"/scans/{case_id}", headers={**person.headers, "Accept": "text/html"})
        assert (page.status_code, "calm" in page.text.lower()) == (200, True)
        shown = re.sub(r'name="csrf_token" value="[^"]*"', "", page.text)
        found[f"{who} page"] = shown
        site.client.cookies.clear()
    return {key: re.sub(r'"request_id":"[^"]*"', "", text) for key, text in found.items()}


@pytest.mark.parametrize("grey", [CALM_GREY, UNCERTAIN_GREY])
def test_a_case_is_the_same_with_a_shadow_as_without(versions_site: Site, grey: int) -> None:
    site = versions_site
    first = waiting(site, 1, grey)
    site.run_jobs()
    decide(site, "stop-shadow", "2")
    second = waiting(site, 2, grey)
    site.run_jobs()
    assert len(all_of(site, ShadowAnalysis)) == 1
    rows = {row.id: row for row in all_of(site, Analysis)}
    one, two = (rows[key] for key in (site.case(first).analysis_id, site.case(second).analysis_id) if key)
    assert (one.label, one.model_version, one.tau) == (two.label, two.model_version, two.tau)
    assert site.state(first) is site.state(second) is State.AI_ANALYZED


def test_a_failing_shadow_leaves_its_reason_and_the_case_untouched(versions_site: Site, two_versions: Path) -> None:
    site = versions_site
    row = asked(site)
    case_before = [tuple(map(str, line)) for line in everything(site)["scan_case"]]
    gone = Shelf(two_versions)
    gone.models = tuple(model for model in gone.models if model.card.version != "2")
    run(site, row.id, gone)
    row = only_shadow(site)
    assert (row.state, row.error, row.label, row.finished_at) == (
        ShadowState.FAILED,
        "model-not-available",
        None,
        site.clock.now(),
    )
    assert [tuple(map(str, line)) for line in everything(site)["scan_case"]] == case_before


def test_a_shadow_that_was_broken_off_is_not_tried_again(versions_site: Site) -> None:
    """Its worker died of it, or it raised what nobody foresaw: once is enough."""
    site = versions_site
    row = asked(site)
    with site.assembly.shop.work() as work:
        work.session.get_one(ShadowAnalysis, row.id).state = ShadowState.RUNNING
    site.run_jobs()
    assert (only_shadow(site).state, only_shadow(site).error) == (ShadowState.FAILED, "broken-off")
    assert [job.status for job in all_of(site, JobRequest) if job.kind == "shadow"] == [JobStatus.DONE]


def test_a_shadow_that_workers_die_of_is_asked_no_more_until_it_is_started_again(versions_site: Site) -> None:
    """Twice is enough: a case that was read by the same worker has an attempt left."""
    site = versions_site
    assert shadowing.MAX_CRASHES < MAX_AI_ATTEMPTS
    for seed in (1, 2, 3):
        asked(site, seed)
    rows = sorted(all_of(site, ShadowAnalysis), key=lambda row: row.id)
    for row in rows[:2]:
        with site.assembly.shop.work() as work:
            work.session.get_one(ShadowAnalysis, row.id).state = ShadowState.RUNNING
        run(site, row.id)
    run(site, rows[2].id)
    errors = {row.id: row.error for row in all_of(site, ShadowAnalysis)}
    assert [errors[row.id] for row in rows] == ["broken-off", "broken-off", "shadow-given-up"]
    case_id = waiting(site, 4)
    site.run_jobs()
    assert (site.state(case_id), len(all_of(site, ShadowAnalysis))) == (State.AI_ANALYZED, 3)
    site.clock.move(timedelta(minutes=1))
    decide(site, "stop-shadow", "2")
    decide(site, "shadow", "2")
    waiting(site, 5)
    site.run_jobs()
    assert len(all_of(site, ShadowAnalysis)) == 4


def test_a_shadow_whose_folder_was_replaced_does_not_read(versions_site: Site, tmp_path: Path) -> None:
    site = versions_site
    row = asked(site)
    make_version(tmp_path / "other", "1")
    make_version(tmp_path / "other", "2")
    run(site, row.id, Shelf(tmp_path / "other"))
    assert (only_shadow(site).state, only_shadow(site).error) == (ShadowState.FAILED, "model-replaced")


def test_a_shadow_that_was_stopped_meanwhile_does_not_run(versions_site: Site) -> None:
    site = versions_site
    row = asked(site)
    decide(site, "stop-shadow", "2")
    run(site, row.id)
    assert (only_shadow(site).state, only_shadow(site).error) == (ShadowState.FAILED, "shadow-stopped")


def test_a_shadow_gives_way_to_a_case_that_waits(versions_site: Site) -> None:
    site = versions_site
    row = asked(site)
    waiting(site, 2)
    with pytest.raises(RetryLater) as later:
        run(site, row.id)
    assert later.value.at == site.clock.now() + shadowing.GIVE_WAY
    assert only_shadow(site).state is ShadowState.ASKED
    site.run_jobs()
    site.clock.move(shadowing.GIVE_WAY + timedelta(seconds=1))
    site.run_jobs()
    assert [row.state for row in all_of(site, ShadowAnalysis)] == [ShadowState.DONE] * 2


def test_one_shadow_runs_at_a_time(versions_site: Site) -> None:
    site = versions_site
    first, second = asked(site, 1), None
    with site.assembly.shop.work() as work:
        work.session.get_one(ShadowAnalysis, first.id).state = ShadowState.RUNNING
    second = asked(site, 2)
    with pytest.raises(RetryLater):
        run(site, second.id)


def test_a_scan_that_nobody_could_read_has_no_shadow(versions_site: Site) -> None:
    site = versions_site
    site.in_care()
    site.upload(data=new_picture(), modality="CT", body_part="BRAIN")
    site.run_jobs()
    assert all_of(site, ShadowAnalysis) == []


def test_a_shadow_uses_its_own_threshold_alone(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, two_versions: Path, mailbox: Mailbox
) -> None:
    settings = {"confidence_threshold": "tiny/1=0.8,tiny/2=0.9985"}
    with open_site(sqlite_url, tmp_path, clock, sandbox, two_versions, mailbox, **settings) as site:
        decide(site, "activate", "1")
        decide(site, "shadow", "2")
        waiting(site)
        site.run_jobs()
        row, [analysis] = only_shadow(site), all_of(site, Analysis)
        assert row.prediction is not None
        assert (row.label, row.top_label, row.prediction["tau"]) == ("Uncertain", "storm", 0.9985)
        assert (analysis.label, analysis.tau) == ("calm", 0.8)


def test_another_model_can_be_the_shadow(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, mailbox: Mailbox
) -> None:
    root = tmp_path / "shelf"
    make_version(root, "1")
    make_version(root, "7", name="zeta", head_seed=OTHER_HEAD)
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox) as site:
        decide(site, "activate", "1")
        decide(site, "shadow", "7", name="zeta")
        waiting(site)
        site.run_jobs()
        assert (only_shadow(site).model, only_shadow(site).label) == ("zeta", "storm")


def test_agreement_counts_what_both_read(versions_site: Site) -> None:
    site = versions_site
    for seed in range(3):
        waiting(site, seed)
        site.run_jobs()
    waiting(site, 9, UNCERTAIN_GREY)
    site.run_jobs()
    with site.assembly.shop.work() as work:
        seal = site.assembly.shelf.model("tiny", "2").seal
        [found] = shadowed.agreements(work, model="tiny", version="2", seal=seal)
        tally = shadowed.tally(work, model="tiny", version="2", seal=seal)
        assert shadowed.agreements(work, model="tiny", version="1", seal=seal) == []
        # Another folder under the same name has said nothing.
        assert shadowed.agreements(work, model="tiny", version="2", seal="1" * 64) == []
        assert shadowed.tally(work, model="tiny", version="2", seal="1" * 64).done == 0
        assert shadowed.last_seal(work, model="tiny", version="2") == seal
        assert shadowed.last_seal(work, model="tiny", version="3") is None
    assert (found.model, found.version, found.scans, found.same_stated, found.same_top) == ("tiny", "1", 4, 0.0, 0.0)
    assert (found.labels, found.counts, found.kappa) == (("calm", "storm"), ((0, 4), (0, 0)), 0.0)
    pairs = [(row.confidence, {a.id: a for a in all_of(site, Analysis)}[row.analysis_id]) for row in _shadows(site)]
    assert found.confidence_difference == pytest.approx(sum(ours - row.confidence for ours, row in pairs) / 4)
    assert (tally.waiting, tally.done, tally.failed, tally.errors) == (0, 4, 0, ())


def test_two_folders_that_spoke_under_one_version_are_two_agreements(versions_site: Site) -> None:
    site = versions_site
    for seed in range(3):
        waiting(site, seed)
        site.run_jobs()
    first, second, third = all_of(site, Analysis)
    seals = {name: site.assembly.shelf.model("tiny", name).seal for name in ("1", "2")}
    assert {row.model_seal for row in (first, second, third)} == {seals["1"]}
    with site.assembly.shop.work() as work:
        work.session.get_one(Analysis, second.id).model_seal = "1" * 64
        work.session.get_one(Analysis, third.id).model_seal = None
    with site.assembly.shop.work() as work:
        found = shadowed.agreements(work, model="tiny", version="2", seal=seals["2"])
    assert {(row.model, row.version, row.seal, row.scans) for row in found} == {
        ("tiny", "1", seals["1"], 1),
        ("tiny", "1", "1" * 64, 1),
        ("tiny", "1", None, 1),
    }


def test_a_scan_that_was_asked_of_another_folder_is_not_read(versions_site: Site) -> None:
    site = versions_site
    row = asked(site)
    assert row.seal == site.assembly.shelf.model("tiny", "2").seal
    with site.assembly.shop.work() as work:
        work.session.get_one(ShadowAnalysis, row.id).seal = "1" * 64
    site.run_jobs()
    assert (only_shadow(site).state, only_shadow(site).error) == ("failed", "shadow-stopped")


def _shadows(site: Site) -> list[Any]:
    return all_of(site, ShadowAnalysis)


def test_disagreements_lead_only_where_an_administrator_may_go(versions_site: Site) -> None:
    site = versions_site
    private = waiting(site, 50)
    site.run_jobs()
    undecided = site.bring_to(State.PHARMACIST_COMPLETED, data=band_png(CALM_GREY, 51))
    released = site.bring_to(State.REPORT_READY, data=band_png(CALM_GREY, 52))
    site.run_jobs()
    site.person("admin")
    site.person("other admin")
    seal = site.assembly.shelf.model("tiny", "2").seal
    with site.assembly.shop.work() as work:
        rows = shadowing.disagreements(work, site.person("admin").actor, model="tiny", version="2", seal=seal, limit=10)
        nobody = shadowing.disagreements(
            work, site.person("other admin").actor, model="tiny", version="2", seal=seal, limit=10
        )
    assert ([str(row.case.id) for row in rows], nobody) == ([released], [])
    assert (site.state(private), site.state(undecided)) == (State.AI_ANALYZED, State.PHARMACIST_COMPLETED)
    assert {(row.active, row.shadow) for row in rows} == {("calm", "storm")}
    viewed = [event.detail for event in audited(site) if event.action == "model.agreement_viewed"]
    assert viewed == [{"model": "tiny", "version": "2", "count": count} for count in (1, 0)]
