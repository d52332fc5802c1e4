"""The model pages: evidence escaped, pictures only from the card, decisions with everything typed kept."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from csss import __version__
from csss.findings.choices import ModelChoice
from csss.findings.shadowed import ShadowAnalysis, ShadowState
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

## Per class

| label | F1 |
| --- | --- |
| calm | 0.5 |

## Plots

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
    assert "Temperature 1.5, fitted on made-up pictures." in words(text)
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


def test_two_administrators_decide_on_the_page(site: Site) -> None:
    for who, step, version, form in (
        ("admin", "propose", "1", {"tau": "85 %"}),
        ("other admin", "step-up", "1", {"method": "totp"}),
        ("other admin", "confirm", "1", {}),
        ("admin", "shadow", "2", {}),
        ("admin", "stop-shadow", "2", {}),
        ("admin", "propose", "2", {}),
        ("other admin", "refuse", "2", {}),
        ("admin", "propose", "2", {}),
        ("admin", "withdraw", "2", {}),
        ("admin", "switch-off", "1", {}),
    ):
        more = {"reason": f"for {step}", "seen": str(newest(site) or "")} if step != "step-up" else {}
        if step == "confirm":
            more["code"] = site.totp_code(who)
        answer = post(site, who, f"/admin/models/tiny/{version}/{step}", **form, **more)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/admin/models"), words(answer.text)
    rows = sorted(all_of(site, ModelChoice), key=lambda row: row.number)
    assert [(row.kind, row.version, row.tau, row.reason) for row in rows] == [
        ("propose", "1", 0.85, "for propose"),
        ("activate", "1", 0.85, "for confirm"),
        ("shadow", "2", None, "for shadow"),
        ("stop-shadow", "2", None, "for stop-shadow"),
        ("propose", "2", None, "for propose"),
        ("refuse", "2", None, "for refuse"),
        ("propose", "2", None, "for propose"),
        ("withdraw", "2", None, "for withdraw"),
        ("switch-off", "1", None, "for switch-off"),
    ]


def offered(site: Site, who: str = "admin") -> list[str]:
    return re.findall(r'action="/admin/models/tiny/([^"]+)"', get(site, who, "/admin/models").text)


def test_the_page_offers_what_can_be_done_and_no_more(site: Site) -> None:
    assert offered(site) == ["2/propose", "2/switch-off", "1/propose", "1/shadow"]
    decide(site, "activate", "1")
    assert offered(site) == ["2/propose", "2/shadow", "1/propose", "1/switch-off"]
    decide(site, "activate", "2")
    decide(site, "shadow", "1")
    assert offered(site) == ["2/propose", "2/switch-off", "1/propose", "1/stop-shadow", "1/roll-back"]
    decide(site, "switch-off", "2")
    assert offered(site) == ["2/propose", "2/shadow", "1/propose", "1/stop-shadow", "1/roll-back"]
    said = words(get(site, "admin", "/admin/models").text)
    assert "until two administrators activate a version, or one goes back to an earlier one." in said


def test_a_proposal_reads_otherwise_for_its_maker_and_for_a_second_administrator(site: Site) -> None:
    decide(site, "activate", "1")
    decide(site, "propose", "2", tau=0.8, reason="better <figures>")
    own = get(site, "admin", "/admin/models").text
    assert "You proposed this version" in words(own)
    assert "Another administrator confirms or refuses it. Until then nothing changes." in words(own)
    assert offered(site, "admin") == ["2/withdraw", "2/shadow", "1/propose", "1/switch-off"]
    assert offered(site, "other admin") == ["2/step-up", "2/refuse", "2/shadow", "1/propose", "1/switch-off"]
    said = get(site, "other admin", "/admin/models").text
    assert "tiny 2 is proposed by Admin and waits for you or another administrator." in words(said)
    assert ("with the threshold 80" in words(said), "better &lt;figures&gt;" in said) == (True, True)
    assert post(site, "other admin", "/admin/models/tiny/2/step-up", method="totp").status_code == 303
    assert offered(site, "other admin") == [
        "2/confirm",
        "2/step-up",
        "2/refuse",
        "2/shadow",
        "1/propose",
        "1/switch-off",
    ]
    wrong = post(
        site, "other admin", "/admin/models/tiny/2/confirm", reason="typed", code="000000", seen=str(newest(site))
    )
    assert (wrong.status_code, "The code is wrong." in words(wrong.text), "typed</textarea>" in wrong.text) == (
        401,
        True,
        True,
    )
    late = post(site, "admin", "/admin/models/tiny/2/confirm", reason="my own", code="1", seen=str(newest(site)))
    assert (late.status_code, "You proposed this yourself. Another administrator" in words(late.text)) == (403, True)


def test_a_stale_proposal_says_why_and_can_be_put_away_or_made_anew(site: Site) -> None:
    decide(site, "activate", "1")
    decide(site, "propose", "2")
    decide(site, "switch-off", "1")
    why = "It cannot be confirmed any more. What speaks has changed since this was proposed. It is to be proposed anew."
    for who, ways in (("admin", "2/withdraw"), ("other admin", "2/refuse")):
        assert why in words(get(site, who, "/admin/models").text)
        assert offered(site, who) == [ways, "2/propose", "2/shadow", "1/propose", "1/shadow"]


def test_another_folder_under_the_active_version_is_told(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, models: Path, mailbox: Mailbox
) -> None:
    with open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox) as site:
        decide(site, "activate", "1")
        decide(site, "activate", "2")
        decide(site, "shadow", "1")
    for version in ("1", "2"):
        shutil.rmtree(models / "tiny" / version)
        make_version(models, version, tau=0.8)
    with open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox) as site:
        said = words(get(site, "boss admin", "/admin/models").text)
        assert offered(site, "boss admin") == [
            "2/propose",
            "2/switch-off",
            "2/shadow",
            "1/propose",
            "1/stop-shadow",
        ]
    assert "tiny: The folder of tiny 2 is not the one that was chosen. Nothing is read with it until" in said
    assert "Version 2 active, not reading" in said
    assert "Its folder is not the one that was started. Stop it; the new one can be started." in said


def test_a_shadow_that_workers_died_of_is_told(site: Site) -> None:
    decide(site, "activate", "1")
    decide(site, "shadow", "2")
    site.in_care()
    for seed in (1, 2):
        site.upload(data=band_png(CALM_GREY, seed))
        site.run_jobs()
    with site.assembly.shop.work() as work:
        for row in work.session.scalars(select(ShadowAnalysis)):
            row.state, row.error = ShadowState.FAILED, "broken-off"
    said = words(get(site, "admin", "/admin/models").text)
    assert "Its process died 2 times over it, so it is asked no more. The cases went on." in said


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


def test_a_refused_second_factor_is_told_on_the_page(site: Site) -> None:
    decide(site, "propose", "2")
    address = "/admin/models/tiny/2/step-up"
    for method in ("", "pigeon"):
        answer = post(site, "other admin", address, method=method)
        assert (answer.status_code, "Choose how you prove that it is you." in words(answer.text)) == (422, True)
    own = post(site, "admin", address, method="totp")
    assert (own.status_code, "Another administrator confirms or refuses it." in words(own.text)) == (403, True)
    assert "proposed this version just now" in words(own.text)
    stranger = site.client.post(address, data={"method": "totp"}, headers=site.person("doctor").headers)
    assert (stranger.status_code, stranger.json()["code"]) == (403, "wrong-role")


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
    answer = site.client.post("/admin/models/tiny/1/propose", data=form, headers=site.person("admin").headers)
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
    assert f"Beside tiny 1 (folder {site.assembly.shelf.model('tiny', '1').seal[:8]}) there are fewer" in said
    assert ("there are fewer than 5 scans yet" in said, "kappa" in said, "disagreements" in said) == (
        True,
        False,
        False,
    )
    case = site.case(site.upload(data=band_png(CALM_GREY, 9)).json()["id"])
    site.run_jobs()
    text = get(site, "admin", address).text
    figures = words(re.sub(r"<dt>(.*?)</dt><dd>(.*?)</dd>", r"\1: \2;", text))
    folder = site.assembly.shelf.model("tiny", "1").seal[:8]
    assert f"Beside tiny 1 folder {folder}" in figures
    assert "Scans: 5+; Same stated result: at most 80 %; Same likeliest label: at most 80 %;" in figures
    assert "Cohen's kappa: not shown" in figures.replace("&#39;", "'")
    assert "None among the released scans that you approved." in figures
    person = site.person("patient")
    assert person.patient is not None
    hidden = (person.user.name, person.patient.record_number, case.number, str(case.id), str(person.patient.id))
    assert [word for word in hidden if word in text] == []


def test_a_threshold_of_no_model_is_logged_by_its_name_and_shown(
    sqlite_url: str,
    tmp_path: Path,
    clock: SetClock,
    sandbox: Sandbox,
    models: Path,
    mailbox: Mailbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = "CSSS_CONFIDENCE_THRESHOLD names tiyn, which is no model here that reads pictures. There are: tiny."
    for who, setting, wrong in (("admin", "tiyn/1=0.9", True), ("other admin", "tiny/1=0.9", False)):
        caplog.clear()
        with open_site(sqlite_url, tmp_path, clock, sandbox, models, mailbox, confidence_threshold=setting) as opened:
            assert (told in words(get(opened, who, "/admin/models").text)) is wrong
        logged = [
            (row.__dict__.get("code"), row.__dict__.get("models"))
            for row in caplog.records
            if "threshold" in row.message
        ]
        assert logged == [("threshold-unknown", ["tiyn"])] * wrong


def test_the_first_part_of_the_evidence_is_open_and_tables_have_names(site: Site) -> None:
    text = get(site, "patient", "/models/tiny/1").text
    titles = re.findall(r"<details( open)?><summary><h3>(.*?)</h3>", text)
    assert [bool(mark) for mark, _ in titles] == [True] + [False] * (len(titles) - 1)
    assert [title for _, title in titles] == ["Per class", "Plots"]
    assert 'aria-label="Table 1 of Per class"' in text
