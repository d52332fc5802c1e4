"""What people are told of a heat map: what it shows, when it is of a finding that was not made, and when it is cold."""

import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
from tiny_model import make_folder, rework

from csss.findings.tables import Analysis
from csss.foundation.clock import SetClock
from csss.imaging.sandbox import Sandbox
from csss.inference.card import load_card
from csss.pathway.states import State
from csss.reports.tables import Report
from entrypoints.web.test_findings_page import get
from mailbox_server import Mailbox
from pathway.records import CALM_GREY, all_of
from pictures import encode
from sites import Site, open_site

Told = tuple[int, bool, str | None, bool]
SHOWS = 'what speaks for "{}" rather than for "{}"'


@pytest.fixture
def shown_by(sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, mailbox: Mailbox) -> Any:
    """What doctor, patient and report show of a calm picture with a dark corner, by what maps are held against."""

    def show(against: str, dark: int = 24) -> tuple[Analysis, str, str, list[str], tuple[Told, Told]]:
        grey = np.full((64, 64), CALM_GREY, np.uint8)
        grey[::2] += 6
        grey[:dark, :dark] = 0
        picture = encode(grey, "PNG")
        folder = make_folder(tmp_path / "shelf")
        explanation = load_card(folder).explanation
        rework(folder, explanation=type(explanation)(explanation.method, True, "a test", against))
        with open_site(sqlite_url, tmp_path, clock, sandbox, tmp_path / "shelf", mailbox) as site:
            case_id = site.bring_to(State.REPORT_READY, data=picture)
            doctor, patient = (unescape(get(site, who, f"/scans/{case_id}")) for who in ("doctor", "patient"))
            (analysis,), (report,) = all_of(site, Analysis), all_of(site, Report)
            with site.assembly.shop.work() as work:
                pdf = work.blobs.get(report.archive_blob)
            told = tuple(told_of(site, who, case_id) for who in ("doctor", "patient"))
        with pikepdf.open(io.BytesIO(pdf)) as document:
            described = [str(each.Alt) for each in document.objects if _is_figure(each)]
        return analysis, doctor, patient, described, told

    return show


def told_of(site: Site, who: str, case_id: str) -> Told:
    """The answer for the map's picture, and what the API says: whether there is one, of what, and any regions."""
    ai = site.get(who, f"/scans/{case_id}").json()["ai"]
    page = site.client.get(f"/scans/{case_id}/heatmap.png", headers=site.person(who).headers)
    picture = site.get(who, f"/scans/{case_id}/heatmap").status_code
    assert page.status_code == picture
    return picture, ai["has_heatmap"], ai["heatmap_of"], bool(ai["regions"])


def _is_figure(found: pikepdf.Object) -> bool:
    return isinstance(found, pikepdf.Dictionary) and found.get("/S") == "/Figure"


def words(page: str) -> list[str]:
    return re.findall(r"<dt>Heat map shows</dt><dd>(.*?)</dd>", page)


def test_a_map_of_the_result_says_so_to_everybody(shown_by: Any) -> None:
    analysis, doctor, patient, described, told = shown_by("storm")
    said = SHOWS.format("Calm", "Storm")
    assert (analysis.label, analysis.heat_of, analysis.heat_against) == ("calm", "calm", "storm")
    assert words(doctor) == words(patient) == [said]
    assert f"The heat map shows {said}; its colours are relative to the warmest place" in doctor
    assert ('class="viewer-heat"' in doctor, 'class="viewer-heat"' in patient) == (True, True)
    assert told == ((200, True, "calm", True),) * 2
    seen = f"The same scan under the AI heat map: {said}. Colours are relative to the warmest place."
    assert sorted(described)[0] == seen


def test_a_map_of_a_finding_that_was_not_made_is_for_staff_alone(shown_by: Any) -> None:
    analysis, doctor, patient, described, told = shown_by("calm")
    assert (analysis.label, analysis.heat_against) == ("calm", "calm")
    said = SHOWS.format(analysis.label_texts[analysis.heat_of], "Calm")
    assert words(doctor) == [f"{said}. This finding was not made; it is the likeliest one"]
    assert told == ((200, True, analysis.heat_of, True), (404, False, None, False))
    assert 'class="viewer-heat"' in doctor
    assert (words(patient), "eat map" in patient, "Its heat lies over" in patient) == ([], False, False)
    assert len(described) == 1


def test_a_cold_map_is_said_to_show_nothing(shown_by: Any) -> None:
    analysis, doctor, patient, described, told = shown_by("wave", dark=0)
    assert (analysis.label, analysis.heat_of, analysis.heat_blob, analysis.regions) == ("calm", "calm", None, [])
    assert words(doctor) == words(patient) == [f"{SHOWS.format('Calm', 'Wave')}: nothing in this picture does"]
    assert told == ((404, False, "calm", False),) * 2
    assert ('class="viewer-heat"' in doctor, len(described)) == (False, 1)


def test_a_cold_map_of_a_finding_that_was_not_made_is_not_told_to_the_patient(shown_by: Any) -> None:
    analysis, doctor, patient, _, told = shown_by("calm", dark=0)
    said = SHOWS.format(analysis.label_texts[analysis.heat_of], "Calm")
    assert words(doctor) == [
        f"{said}: nothing in this picture does. This finding was not made; it is the likeliest one"
    ]
    assert words(patient) == []
    assert told == ((404, False, analysis.heat_of, False), (404, False, None, False))
