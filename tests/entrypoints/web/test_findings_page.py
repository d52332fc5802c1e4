"""The page of a model of several findings: a threshold for each label, no button to choose it."""

import re
from pathlib import Path
from typing import Any

from tiny_model import make_folder, rework

from csss.foundation.clock import SetClock
from csss.imaging.sandbox import Sandbox
from csss.inference.card import Calibration
from csss.inference.findings_rule import FindingsRule
from mailbox_server import Mailbox
from model_shelves import make_version
from sites import Site, open_site

SEVERAL: dict[str, Any] = {
    "task": "findings",
    "purpose": "comparison",
    "findings": FindingsRule((0.5, 0.4, 0.6), (0.2, 0.1, 0.25), "Half of each"),
    "calibration": Calibration("identity", 1.0, (), (), "nothing"),
}


def get(site: Site, who: str, path: str) -> str:
    answer = site.client.get(path, headers={**site.person(who).headers, "Accept": "text/html"})
    assert answer.status_code == 200
    text: str = answer.text
    return text


def test_the_pages_of_a_model_of_several_findings(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, mailbox: Mailbox
) -> None:
    root = tmp_path / "shelf"
    make_version(root, "1")
    rework(make_folder(root, name="several"), **SEVERAL)
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox) as site:
        several, plain = (get(site, "doctor", f"/models/{name}/1") for name in ("several", "tiny"))
        admin = get(site, "admin", "/admin/models")
    rows = re.findall(r'<tr><th scope="row">(\w+)<.*?class="number">([\d.]+) %</td>.*?>([\d.]+) %</td></tr>', several)
    assert rows[:3] == [("Calm", "50.0", "20.0"), ("Wave", "40.0", "10.0"), ("Storm", "60.0", "25.0")]
    assert "it reads for no patient" in several
    assert ("One for each label" in several, "One for each label" in plain) == (True, False)
    assert ("it reads for no patient" in plain, "Present from" in plain) == (False, False)
    assert re.findall(r'action="/admin/models/several/[^"]+"', admin) == []
    assert re.findall(r'action="/admin/models/tiny/1/[^"]+"', admin) != []
