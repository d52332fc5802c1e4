"""A site whose network runs at another: the settings, the real processes, and the same predictions."""

import json
from pathlib import Path

import numpy as np
import pytest

from csss.cli import main
from csss.foundation.clock import SetClock
from csss.imaging.phantom import phantom_chest
from csss.imaging.sandbox import Sandbox
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.engines import EngineChoice
from csss.inference.engines.remote import RemoteEngine
from csss.inference.packaged import packaged_models
from csss.inference.shelf import Shelf
from csss.pathway.states import State
from entrypoints.oip.doors import TOKEN, infer_command
from mailbox_server import Mailbox
from pictures import picture_png
from sites import open_site


def test_site_reads_scans_with_a_network_at_another(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> None:
    settings = {"remote_tokens": f"tiny={TOKEN}"}
    with infer_command(tiny_models, tmp_path / "log", inference_token=TOKEN) as url:
        settings["remote_models"] = f"tiny={url}"
        with open_site(sqlite_url, tmp_path, clock, sandbox, tiny_models, mailbox, **settings) as site:
            model = site.assembly.shelf.model("tiny")
            opened = model._opened
            assert opened is not None
            assert isinstance(opened.engine._engine, RemoteEngine)  # type: ignore[attr-defined]
            scan = site.bring_to(State.AI_ANALYZED)
            told = site.get("doctor", f"/scans/{scan}").json()["ai"]
    own = Shelf(tiny_models).model("tiny").predict(sandbox.decode(picture_png(), FileKind.PNG))
    assert (told["label"], told["model"]) == (own.label, "tiny")
    assert told["probabilities"] == pytest.approx(dict(own.probabilities), abs=1e-5)


def test_site_does_not_start_reading_with_a_network_that_is_not_there(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> None:
    settings = {"remote_models": "tiny=http://127.0.0.1:1"}
    with open_site(sqlite_url, tmp_path, clock, sandbox, tiny_models, mailbox, **settings) as site:
        assert site.assembly.shelf.models == ()
        problems = [(problem.folder, problem.code) for problem in site.assembly.shelf.problems]
    assert problems == [("tiny/1", "remote-unreachable")]


def test_shipped_models_run_elsewhere_as_here(tmp_path: Path) -> None:
    here = Shelf(packaged_models())
    names = [model.card.name for model in here.models]
    volume = Volume(pixels=phantom_chest(1, size=(299, 299))[np.newaxis], kind=FileKind.PNG)
    with infer_command(packaged_models(), tmp_path / "log") as url:
        there = Shelf(packaged_models(), engines=EngineChoice.of("onnx", dict.fromkeys(names, url), {}))
        assert (names != [], there.take_off_failing()) == (True, ())
        own = here.model("chest-mobilenetv2").predict(volume)
        other = there.model("chest-mobilenetv2").predict(volume)
    assert dict(other.probabilities) == pytest.approx(dict(own.probabilities), abs=1e-5)
    assert (other.label, other.uncertain_reasons) == (own.label, own.uncertain_reasons)
    assert own.heat is not None
    assert other.heat is not None
    np.testing.assert_allclose(other.heat, own.heat, atol=1e-5)


def test_predict_command_asks_the_network_elsewhere(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scan.png").write_bytes(picture_png())
    command = ["predict", "--json", "--model", "tiny", "--models", str(tiny_models), str(tmp_path / "scan.png")]
    assert main(command) == 0
    own = json.loads(capsys.readouterr().out)
    with infer_command(tiny_models, tmp_path / "log", inference_token=TOKEN) as url:
        monkeypatch.setenv("CSSS_REMOTE_MODELS", f"tiny={url}")
        assert main(command) == 2
        assert capsys.readouterr().err == "csss: The server of the model refused (401).\n"
        monkeypatch.setenv("CSSS_REMOTE_TOKENS", f"tiny={TOKEN}")
        assert main(command) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["label"] == own["label"]
    assert other["probabilities"] == pytest.approx(own["probabilities"], abs=1e-5)
