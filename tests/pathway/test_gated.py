"""A site whose model stands behind a gate: what becomes of a case, of its row, of the API, the page and the report."""

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from tiny_model import make_folder, make_gate_folder, need_of, rework

from csss.entrypoints.web.present import percent
from csss.findings import analyse
from csss.findings.tables import Analysis
from csss.foundation.clock import SetClock
from csss.imaging.quality import QualityCheck, QualityFinding, words
from csss.imaging.sandbox import Sandbox
from csss.inference.card import Conformal
from csss.pathway import facts
from csss.pathway.states import State
from csss.pathway.tables import Case
from csss.reports.content import content_sha256
from csss.studies.tables import Instance
from mailbox_server import Mailbox
from pathway.records import all_of
from pictures import encode
from sites import Site, open_site

CHEST, TURNED, PHANTOM, OTHER = 165, 205, 60, 10
"""Greys of pictures that the tiny gate takes for a chest, a turned one, a phantom, something else."""


@pytest.fixture(scope="module")
def gated_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gated")
    make_gate_folder(root)
    rework(make_folder(root), gate=need_of(root), conformal=Conformal(0.9, (0.0, 0.2, 0.2), "made-up pictures", False))
    return root


@pytest.fixture
def gated(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, gated_models: Path, mailbox: Mailbox
) -> Iterator[Site]:
    with open_site(sqlite_url, tmp_path, clock, sandbox, gated_models, mailbox) as opened:
        yield opened


def plain_png(grey: int) -> bytes:
    pixels = np.full((40, 48), grey, np.uint8)
    pixels[0, 0] += 1
    return encode(pixels, "PNG")


def analysed(site: Site, grey: int) -> str:
    """The case of a picture of one grey after the AI had its turn."""
    site.in_care()
    answer = site.upload(data=plain_png(grey))
    assert answer.status_code in (200, 202), answer.text
    site.run_jobs()
    scan_id: str = answer.json()["id"]
    return scan_id


def row_of(site: Site, scan_id: str) -> Analysis:
    with site.assembly.shop.work() as work:
        return work.session.get_one(Analysis, site.case(scan_id).analysis_id)


def page(site: Site, who: str, path: str) -> str:
    """What a page says, without its markup."""
    text: str = site.client.get(path, headers={**site.person(who).headers, "Accept": "text/html"}).text
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_a_picture_of_another_kind_is_not_read(gated: Site) -> None:
    scan_id = analysed(gated, OTHER)
    case = gated.case(scan_id)
    assert (case.state, case.analysis_id, case.reason_code) == (State.AI_FAILED, None, "not-this-kind")
    assert case.reason == (
        "The picture looks like a picture called other. No model here reads that, so none was asked."
    )
    assert all_of(gated, Analysis) == []
    shown = gated.get("doctor", f"/scans/{scan_id}").json()
    assert (shown["ai"], shown["reason_code"]) == (None, "not-this-kind")
    assert "looks like a picture called other." in page(gated, "doctor", f"/scans/{scan_id}")


def test_what_the_gate_and_the_rule_said_is_kept_and_read_back(gated: Site) -> None:
    scan_id = analysed(gated, CHEST)
    row, model = row_of(gated, scan_id), gated.assembly.shelf.model("tiny")
    with gated.assembly.shop.work() as work:
        [instance] = all_of(gated, Instance)
        said = analyse.predict(work, instance, model, site_tau=None)
    assert said.gate is not None
    assert row.gate == asdict(said.gate)
    assert (row.gate["label"], row.gate["sure"]) == ("chest-xray", True)
    assert (row.conformal_set, row.coverage) == (list(said.conformal_set), 0.9) == (["calm"], 0.9)
    assert (row.label, row.phantom, row.quality) == ("calm", False, [])
    assert sorted(row.stage_ms) == ["explain", "gate", "model", "prepare"]
    assert gated.case(scan_id).phantom is False


def test_a_turned_picture_is_uncertain_and_everybody_reads_why(gated: Site) -> None:
    scan_id = analysed(gated, TURNED)
    row = row_of(gated, scan_id)
    [entry] = row.quality
    found = analyse.quality_finding(entry)
    assert (found.check, found.fault) == (QualityCheck.TURNED, True)
    assert (row.label, row.top_label, row.uncertain_reasons) == ("Uncertain", "calm", ["quality"])
    ai = gated.get("doctor", f"/scans/{scan_id}").json()["ai"]
    assert ai["quality"] == [
        {"check": "turned", "fault": True, "value": found.value, "limit": 0.0, "words": found.words}
    ]
    assert (ai["label"], ai["uncertain_reasons"]) == ("Uncertain", ["quality"])
    text = page(gated, "doctor", f"/scans/{scan_id}")
    assert "The picture seems to lie on its side or upside down." in text
    assert f"Taken for a picture called chest-xray-turned, {percent(ai['gate']['share'])}" in text


def test_the_api_and_the_page_show_gate_and_set(gated: Site) -> None:
    scan_id = analysed(gated, CHEST)
    ai = gated.get("doctor", f"/scans/{scan_id}").json()["ai"]
    assert ai["gate"] == row_of(gated, scan_id).gate
    assert (ai["gate"]["model"], ai["gate"]["display"]) == ("input-gate", "a picture called chest-xray")
    assert (ai["conformal_set"], ai["coverage"], ai["phantom"], ai["quality"]) == (["calm"], 0.9, False, [])
    assert ai["calibration"] == "temperature"
    text = page(gated, "doctor", f"/scans/{scan_id}")
    assert "Taken for a picture called chest-xray, " in text
    assert re.search(r"Not ruled out Calm \( ?set with 90\.0 % coverage per class\)", text)
    assert "no picture of a person" not in text


def test_a_phantom_is_called_one_everywhere(gated: Site) -> None:
    scan_id = analysed(gated, PHANTOM)
    assert row_of(gated, scan_id).phantom is True
    assert gated.case(scan_id).phantom is True
    shown = gated.get("doctor", f"/scans/{scan_id}").json()
    assert (shown["phantom"], shown["ai"]["phantom"]) == (True, True)
    assert "This is a drawn phantom and no picture of a person." in page(gated, "doctor", f"/scans/{scan_id}")
    case = gated.case(scan_id)
    with gated.assembly.shop.work() as work:
        content = facts.gather(work, case, hospital_name="Test Hospital")
    assert content.phantom is True
    assert content_sha256(content) != content_sha256(replace(content, phantom=False))


def test_what_was_called_a_phantom_at_the_door_stays_one(gated: Site) -> None:
    """A gate that takes a drawing for a chest does not make it one."""
    gated.in_care()
    scan_id = gated.upload(data=plain_png(CHEST)).json()["id"]
    with gated.assembly.shop.work() as work:
        work.session.get_one(Case, UUID(scan_id)).phantom = True
    gated.run_jobs()
    assert (row_of(gated, scan_id).phantom, gated.case(scan_id).phantom) == (False, True)


def test_the_report_says_what_was_found(gated: Site) -> None:
    turned, plain = analysed(gated, TURNED), analysed(gated, CHEST)
    cases = [gated.case(each) for each in (turned, plain)]
    with gated.assembly.shop.work() as work:
        first, second = (facts.gather(work, case, hospital_name="Test Hospital").ai for case in cases)
    assert first is not None
    assert second is not None
    assert first.quality == ("The picture seems to lie on its side or upside down.",)
    assert first.uncertain_reasons == ("Uncertain: the picture has a fault.",)
    assert (second.quality, second.not_ruled_out, second.coverage) == ((), ("Calm",), 0.9)


def test_every_quality_finding_is_read_back_as_it_was_kept(gated: Site) -> None:
    findings = tuple(
        QualityFinding(check, fault=index % 2 == 0, value=0.5 + index, limit=1.25)
        for index, check in enumerate(QualityCheck)
    )
    scan_id = analysed(gated, CHEST)
    model = gated.assembly.shelf.model("tiny")
    with gated.assembly.shop.work() as work:
        [instance] = all_of(gated, Instance)
        said = replace(
            analyse.predict(work, instance, model, site_tau=None), quality=findings, gate=None, coverage=None
        )
        key = analyse.keep(work, instance, model, said).id
    with gated.assembly.shop.work() as work:
        row = work.session.get_one(Analysis, key)
        kept = [analyse.quality_finding(entry) for entry in row.quality]
        assert [(row.check, row.fault, row.value, row.limit, row.words) for row in kept] == [
            (row.check, row.fault, row.value, row.limit, words(row)) for row in findings
        ]
        assert (row.gate, row.coverage) == (None, None)
    assert gated.case(scan_id).analysis_id != key


def test_a_result_with_a_check_that_is_not_made_any_more_still_opens(gated: Site) -> None:
    scan_id = analysed(gated, CHEST)
    with gated.assembly.shop.work() as work:
        work.session.get_one(Analysis, row_of(gated, scan_id).id).quality = [["left-shoe", True, 1.5, 2.0]]
    said = "left-shoe: 1.5 (limit 2), by a check that is not made any more."
    assert gated.get("doctor", f"/scans/{scan_id}").json()["ai"]["quality"] == [
        {"check": "left-shoe", "fault": True, "value": 1.5, "limit": 2.0, "words": said}
    ]
    assert said in page(gated, "doctor", f"/scans/{scan_id}")
    with gated.assembly.shop.work() as work:
        content = facts.gather(work, work.session.get_one(Case, UUID(scan_id)), hospital_name="Test Hospital")
    assert content.ai is not None
    assert content.ai.quality == (said,)
