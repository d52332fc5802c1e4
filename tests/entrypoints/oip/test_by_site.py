"""The inference door of a site: what administrators decided about its models holds for programs too."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_model import SIDE

from csss.foundation.clock import SetClock
from csss.imaging.sandbox import Sandbox
from csss.imaging.volume import Volume
from csss.inference.prediction import Prediction
from csss.inference.shelf import Shelf
from entrypoints.oip.doors import BEARER, TOKEN, tensor
from mailbox_server import Mailbox
from model_shelves import OTHER_HEAD, make_version
from pathway.records import CALM_GREY
from pathway.versions import decide, make_shelf
from sites import Site, open_site

CALM = tensor("pictures", [CALM_GREY] * 1599 + [CALM_GREY + 1], "UINT8", [1, 40, 40])
PREPARED = tensor("prepared", [0.5] * (3 * SIDE * SIDE), "FP32", [1, 3, SIDE, SIDE])
VERSION_2 = "/v2/models/tiny/versions/2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_shelf(tmp_path / "shelf")


@pytest.fixture
def site(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, root: Path, mailbox: Mailbox
) -> Iterator[Site]:
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox, inference_token=TOKEN) as opened:
        yield opened


def told(site: Site, path: str = "/v2/models/tiny") -> Any:
    content = site.client.get(path, headers=BEARER).json()
    return content.get("versions"), content.get("parameters", {}).get("version_from")


def asked(site: Site, path: str = "/v2/models/tiny", body: Any = CALM) -> tuple[int, Any]:
    answer = site.client.post(f"{path}/infer", json=body, headers=BEARER)
    content = answer.json()
    if answer.status_code != 200:
        return answer.status_code, content["error"]
    outputs = {output["name"]: output["data"] for output in content["outputs"]}
    return 200, (content["model_version"], *(outputs[name][0] for name in ("label", "tau") if name in outputs))


def test_an_address_without_a_version_means_the_one_that_speaks(site: Site) -> None:
    assert (told(site), asked(site)) == ((["2"], "newest"), (200, ("2", "storm", 0.75)))
    decide(site, "activate", "1", tau=0.8)
    assert (told(site), asked(site)) == ((["1"], "site"), (200, ("1", "calm", 0.8)))
    assert (told(site, VERSION_2), asked(site, VERSION_2)) == ((["2"], "address"), (200, ("2", "storm", 0.75)))
    # The activation's threshold belongs to its version also where the address names that.
    assert asked(site, "/v2/models/tiny/versions/1") == (200, ("1", "calm", 0.8))
    decide(site, "activate", "1", tau=0.9999)
    assert asked(site, "/v2/models/tiny/versions/1") == (200, ("1", "Uncertain", 0.9999))


def test_a_proposal_and_a_shadow_change_nothing_for_programs(site: Site) -> None:
    decide(site, "activate", "1")
    decide(site, "propose", "2")
    decide(site, "shadow", "2")
    assert told(site) == (["1"], "site")


def test_a_model_that_was_switched_off_says_nothing_to_programs_either(site: Site) -> None:
    decide(site, "activate", "2")
    decide(site, "switch-off", "2")
    off = (503, "tiny was switched off by an administrator. Nothing speaks in its place.")
    assert (asked(site), asked(site, VERSION_2)) == (off, off)
    for address in ("/v2/models/tiny", "/v2/models/tiny/versions/1", VERSION_2):
        answer = site.client.get(f"{address}/ready", headers=BEARER)
        assert (answer.status_code, answer.json()["error"]) == off
    # Nor does another version of it, asked for by name; features are no statement.
    assert asked(site, "/v2/models/tiny/versions/1") == off
    assert asked(site, VERSION_2, PREPARED) == (200, ("2",))


@pytest.mark.parametrize(
    ("step", "version", "wanted"),
    [
        ("roll-back", "1", "tiny was decided about anew while it was asked. Ask again."),
        ("switch-off", "2", "tiny was switched off by an administrator. Nothing speaks in its place."),
    ],
)
def test_an_answer_of_what_no_longer_speaks_is_not_given(
    site: Site, step: str, version: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(site, "activate", "1")
    decide(site, "activate", "2")
    model = site.assembly.shelf.model("tiny", "2")
    predict = model.predict

    def meanwhile(volume: Volume) -> Prediction:
        decide(site, step, version)
        return predict(volume)

    monkeypatch.setattr(model, "predict", meanwhile)
    assert asked(site) == (503, wanted)


def test_another_folder_under_the_active_version_says_nothing(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, root: Path, mailbox: Mailbox
) -> None:
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox) as site:
        decide(site, "activate", "2")
    shutil.rmtree(root / "tiny" / "2")
    make_version(root, "2", head_seed=OTHER_HEAD, tau=0.8)
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox, inference_token=TOKEN) as site:
        refusals = [asked(site), asked(site, VERSION_2)]
    assert [status for status, _ in refusals] == [503, 503]
    assert all("is not the one that was chosen" in text for _, text in refusals)


def test_no_older_version_answers_for_a_newest_one_that_failed_its_checks(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, root: Path, mailbox: Mailbox
) -> None:
    (root / "tiny" / "2" / "head.npz").write_bytes(b"another head")
    assert [model.card.version for model in Shelf(root).models] == ["1"]
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox, inference_token=TOKEN) as site:
        assert asked(site)[0] == 503
        decide(site, "activate", "1")
        assert asked(site) == (200, ("1", "calm", 0.75))


def test_the_setting_and_the_activation_both_count(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, root: Path, mailbox: Mailbox
) -> None:
    settings = {"inference_token": TOKEN, "confidence_threshold": "tiny/1=0.9"}
    with open_site(sqlite_url, tmp_path, clock, sandbox, root, mailbox, **settings) as site:
        assert asked(site)[0] == 422
        decide(site, "activate", "1", tau=0.8)
        assert asked(site) == (200, ("1", "calm", 0.9))
