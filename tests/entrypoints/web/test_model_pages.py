"""The model pages: evidence escaped, pictures only from the card, decisions with everything typed kept."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csss import __version__
from csss.findings.choices import ModelChoice
from csss.foundation.clock import SetClock
from csss.imaging.sandbox import Sandbox
from mailbox_server import Mailbox
from model_shelves import OTHER_HEAD, make_version
from pathway.records import CALM_GREY, all_of, band_png
from pathway.versions import decide, newest
from pictures import picture_png
from sites import Site, open_site

PLOT = picture_png(7)
METRICS = b"""# tiny, version 1: what was measured

It is <b>not</b> bold: `code <i>`.

| label | F1 |
| --- | --- |
| calm | 0.5 |

![A plot](plot.png)

![Not listed](other.png)
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "shelf"
    evidence = {"METRICS.md": METRICS, "plot.png": PLOT, "notes.txt": b"inner notes", "fake.png": b"<svg>"}
    make_version(root, "1", evidence=evidence)
    make_version(root, "2", head_seed=OTHER_HEAD)
    (root / "tiny" / "1" / "stray.png").write_bytes(PLOT)
    return root


@pytest.fixture
def site(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, models: Path, mailbox: Mailbox
) -> Iterator[Site]:
    with open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox) as opened:
        yield opened


def get(site: Site, who: str, path: str) -> Any:
    return site.client.get(path, headers={**site.person(who).headers, "Accept": "text/html"})


def post(site: Site, who: str, path: str, **form: str) -> Any:
    return site.client.post(path, data=form, headers={**site.person(who).headers, "Accept": "text/html"})


def words(text: str) -> str:
    """What a page says, without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_evidence_is_shown_and_nothing_in_it_becomes_markup(site: Site) -> None:
    text = get(site, "patient", "/models/tiny/1").text
    assert '<p>It is &lt;b&gt;not&lt;/b&gt; bold: <code class="wrap">code &lt;i&gt;</code>.</p>' in text
    assert re.findall(r"<th scope=\"row\">calm</th><td class=\"number\">0.5</td>", text) != []
    assert re.findall(r'<img src="(/models/[^"?]+)\?v=([0-9a-f]{16})" alt="([^"]*)"', text) == [
        ("/models/tiny/1/plot.png", site.assembly.shelf.model("tiny", "1").card.file_sha256("plot.png")[:16], "A plot")
    ]
    assert "A picture is missing here: Not listed." in words(text)
    assert "lists no METRICS.md" in words(get(site, "doctor", "/models/tiny/2").text)


def test_a_picture_of_the_card_is_handed_out_and_may_be_kept(site: Site) -> None:
    answer = get(site, "patient", "/models/tiny/1/plot.png?v=0")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PLOT, "image/png")
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
    assert get(site, "patient", "/models/tiny/1").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "file",
    ["stray.png", "fake.png", "notes.txt", "METRICS.md", "model.onnx", "card.json", "none.png", "..%2f2%2fa.png"],
)
def test_nothing_else_of_a_folder_is_handed_out(site: Site, file: str) -> None:
    answer = site.client.get(f"/models/tiny/1/{file}", headers=site.person("admin").headers)
    assert (answer.status_code, answer.json()["code"]) in ((404, "no-such-picture"), (404, "not-found"))


def test_a_picture_that_was_changed_is_not_handed_out(site: Site, models: Path) -> None:
    (models / "tiny" / "1" / "plot.png").write_bytes(picture_png(8))
    answer = site.client.get("/models/tiny/1/plot.png", headers=site.person("admin").headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "file-altered")


def test_an_administrator_activates_shadows_stops_and_rolls_back(site: Site) -> None:
    for step, version, form in (
        ("activate", "1", {"tau": "85 %"}),
        ("shadow", "2", {}),
        ("stop-shadow", "2", {}),
        ("roll-back", "2", {}),
    ):
        seen = str(newest(site) or "")
        answer = post(site, "admin", f"/admin/models/tiny/{version}/{step}", reason=f"for {step}", seen=seen, **form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/models")
    rows = sorted(all_of(site, ModelChoice), key=lambda row: row.number)
    assert [(row.kind, row.version, row.tau, row.reason) for row in rows] == [
        ("activate", "1", 0.85, "for activate"),
        ("shadow", "2", None, "for shadow"),
        ("stop-shadow", "2", None, "for stop-shadow"),
        ("roll-back", "2", None, "for roll-back"),
    ]


def test_the_page_offers_what_can_be_done_and_no_more(site: Site) -> None:
    def offered() -> list[str]:
        return re.findall(r'action="/admin/models/tiny/([^"]+)"', get(site, "admin", "/admin/models").text)

    assert offered() == ["2/activate", "1/activate", "1/shadow"]
    decide(site, "activate", "1")
    assert offered() == ["2/activate", "2/shadow", "2/roll-back", "1/activate"]
    decide(site, "shadow", "2")
    assert offered() == ["2/activate", "2/stop-shadow", "2/roll-back", "1/activate"]


def test_the_loser_reads_why_and_finds_what_was_typed(site: Site) -> None:
    decide(site, "activate", "1")
    answer = post(site, "other admin", "/admin/models/tiny/2/shadow", reason="typed with <care>", seen="")
    said = words(answer.text)
    assert answer.status_code == 409
    assert "Another decision about models was taken meanwhile. Look at it, then decide." in said
    assert "The page shows the newest decisions now. What you typed is kept in its form." in said
    assert "typed with &lt;care&gt;</textarea>" in answer.text
    assert f'name="seen" value="{newest(site)}"' in answer.text
    # Where the form is gone from the page, the refusal stands above it.
    late = post(site, "other admin", "/admin/models/tiny/1/shadow", reason="for nothing", seen="")
    assert (late.status_code, words(late.text).count("Another decision about models was taken meanwhile.")) == (409, 1)


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"reason": ""}, "reason-missing"),
        ({"reason": "why not", "tau": "much"}, "threshold-out-of-range"),
        ({"reason": "why not", "tau": "0.6"}, "threshold-out-of-range"),
        ({"reason": "why not", "tau": "nan"}, "threshold-out-of-range"),
        ({"reason": "why not", "seen": "not a key"}, "bad-choice"),
    ],
)
def test_a_form_that_is_wrong_decides_nothing(site: Site, form: dict[str, str], code: str) -> None:
    answer = site.client.post("/admin/models/tiny/1/activate", data=form, headers=site.person("admin").headers)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert all_of(site, ModelChoice) == []


def test_problems_missing_versions_and_stale_thresholds_are_told(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, models: Path, mailbox: Mailbox
) -> None:
    settings = {"confidence_threshold": "tiny/1=0.9"}
    with open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox, **settings) as site:
        assert "This site's threshold for tiny was set for version 1, not for version 2." in (
            words(get(site, "admin", "/admin/models").text).replace("&#39;", "'")
        )
        decide(site, "activate", "2")
    (models / "tiny" / "2" / "head.npz").write_bytes(b"changed")
    with open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox) as site:
        said = words(get(site, "boss admin", "/admin/models").text)
    assert "Version 2 is to speak, but is not served here. Its scans are not analysed." in said
    assert "Version 2 active, not served here" in said
    assert "tiny/2 head.npz is not the file that the card describes. file-altered" in said


def test_agreement_is_shown_from_five_scans_on_without_a_way_to_a_person(site: Site) -> None:
    address = "/admin/models/tiny/2/agreement"
    empty = words(get(site, "admin", address).text)
    assert ("This version was never run as a shadow." in empty, f"CSSS {__version__}" in empty) == (True, True)
    decide(site, "activate", "1")
    decide(site, "shadow", "2")
    assert "Nothing to compare yet" in words(get(site, "admin", address).text)
    site.in_care()
    for seed in range(4):
        site.upload(data=band_png(CALM_GREY, seed))
        site.run_jobs()
    said = words(get(site, "admin", address).text)
    assert ("there are fewer than 5 scans yet" in said, "kappa" in said, "disagreements" in said) == (
        True,
        False,
        False,
    )
    case = site.case(site.upload(data=band_png(CALM_GREY, 9)).json()["id"])
    site.run_jobs()
    text = get(site, "admin", address).text
    assert "5 Scans" in words(re.sub(r"<dt>(.*?)</dt><dd>(.*?)</dd>", r"\2 \1", text))
    assert "Cohen's kappa" in words(text)
    assert words(text).count("not yours to open") == 5
    person = site.person("patient")
    assert person.patient is not None
    hidden = (person.user.name, person.patient.record_number, case.number, str(case.id), str(person.patient.id))
    assert [word for word in hidden if word in text] == []
