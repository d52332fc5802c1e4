"""A model of several findings reads nothing at a site: it neither speaks nor runs as a shadow."""

from pathlib import Path
from typing import Any

import pytest
from tiny_model import rework

from csss.foundation.clock import SetClock
from csss.foundation.errors import CsssError
from csss.imaging.sandbox import Sandbox
from csss.inference.card import Calibration
from csss.inference.findings_rule import FindingsRule
from mailbox_server import Mailbox
from pathway.versions import decide, make_shelf
from sites import open_site


@pytest.mark.parametrize("kind", ["activate", "shadow"])
def test_a_model_of_several_findings_is_not_chosen(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, mailbox: Mailbox, kind: str
) -> None:
    root = make_shelf(tmp_path / "shelf")
    several: dict[str, Any] = {
        "task": "findings",
        "purpose": "comparison",
        "findings": FindingsRule((0.5, 0.4, 0.6), (0.2, 0.2, 0.2), "made up"),
        "calibration": Calibration("identity", 1.0, (), (), "nothing"),
    }
    rework(root / "tiny" / "2", **several)
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox) as site:
        site.person("admin")
        with pytest.raises(CsssError) as caught:
            decide(site, kind, "2")
        assert caught.value.code == "findings-not-chosen"
