"""A network elsewhere is believed on the strength of its golden case, and only for a while."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from strangers import BATCH, DESCRIPTION, listening, output
from tiny_model import make_folder, make_gate_folder, make_network, make_volume, need_of, rework

from csss.foundation.errors import CsssError
from csss.inference.card import CardError
from csss.inference.engines import EngineChoice
from csss.inference.engines import proof as proof_module
from csss.inference.engines.onnx import open_onnx
from csss.inference.engines.proof import Proof
from csss.inference.shelf import Model, Shelf


class Swapped:
    """A server whose network can be exchanged, or that can be away, while a site asks it."""

    def __init__(self, version: object = "1") -> None:
        self.engine = open_onnx(make_network(), 1)
        self.version, self.away, self.asked = version, False, 0

    def reply(self, method: str, _path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.away:
            return 503, {}, b""
        if method == "GET":
            return 200, {}, json.dumps(DESCRIPTION).encode()
        self.asked += 1
        size = int(headers["inference-header-content-length"])
        shape = json.loads(body[:size])["inputs"][0]["shape"]
        features = self.engine.run(np.frombuffer(body[size:], "<f4").reshape(shape))
        header = {"model_version": self.version, "outputs": [output(shape=list(features.shape))]}
        head = json.dumps(header).encode()
        return 200, {"Inference-Header-Content-Length": str(len(head))}, head + features.tobytes()

    def swap(self) -> None:
        self.engine = open_onnx(make_network(99), 1)


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[tuple[Swapped, Model]]:
    """The server, and the model of a site that has just proved it."""
    make_folder(tmp_path)
    server = Swapped()
    with listening(server.reply) as url:
        shelf = Shelf(tmp_path, engines=EngineChoice.of("onnx", {"tiny": url}, {}))
        assert shelf.take_off_failing() == ()
        yield server, shelf.model("tiny")


def refusal(model: Model) -> str:
    with pytest.raises(CsssError) as caught:
        model.predict(make_volume())
    return caught.value.code


def test_a_network_elsewhere_is_asked_once_for_each_answer_while_its_proof_holds(
    swapped: tuple[Swapped, Model],
) -> None:
    server, model = swapped
    before = server.asked
    for seed in range(3):
        model.predict(make_volume(seed))
    assert server.asked == before + 3


def test_an_exchanged_network_is_noticed_when_the_proof_has_grown_old(
    swapped: tuple[Swapped, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, model = swapped
    server.swap()
    assert model.predict(make_volume()).model == "tiny"  # what remains unproved: docs/deployment.md says so
    monkeypatch.setattr(proof_module, "PROOF_SECONDS", -1.0)
    assert refusal(model) == "golden-differs"
    monkeypatch.setattr(proof_module, "PROOF_SECONDS", 600.0)
    # It is not believed from then on, until the right network is back.
    assert refusal(model) == "golden-differs"
    server.engine = open_onnx(make_network(), 1)
    monkeypatch.setattr(proof_module, "RETRY_SECONDS", -1.0)
    assert model.predict(make_volume()).model == "tiny"


def test_a_server_that_says_another_version_is_proved_before_it_is_believed(swapped: tuple[Swapped, Model]) -> None:
    server, model = swapped
    server.version = "2"
    assert refusal(model) == "remote-changed"
    assert model.predict(make_volume()).model == "tiny"  # the same network by its golden case, whatever its version
    server.version = "3"
    server.swap()
    assert [refusal(model), refusal(model)] == ["remote-changed", "golden-differs"]


def test_a_server_that_was_away_is_proved_when_it_is_back(
    swapped: tuple[Swapped, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_module, "RETRY_SECONDS", -1.0)
    server, model = swapped
    server.away = True
    assert [refusal(model), refusal(model)] == ["remote-refused", "remote-refused"]
    server.away = False
    server.swap()
    assert refusal(model) == "golden-differs"
    with pytest.raises(CardError):
        model.features(BATCH)


def test_who_waits_for_a_proof_that_was_refused_is_told_at_once(swapped: tuple[Swapped, Model]) -> None:
    server, model = swapped
    server.version = "2"
    server.swap()
    assert [refusal(model), refusal(model)] == ["remote-changed", "golden-differs"]
    before = server.asked
    assert [refusal(model) for _ in range(3)] == ["golden-differs"] * 3
    assert server.asked == before


def test_a_gate_elsewhere_is_proved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_gate_folder(tmp_path)
    rework(make_folder(tmp_path), gate=need_of(tmp_path))
    server = Swapped()
    server.engine = open_onnx((tmp_path / "input-gate" / "1" / "model.onnx").read_bytes(), 1)
    with listening(server.reply) as url:
        shelf = Shelf(tmp_path, engines=EngineChoice.of("onnx", {"input-gate": url}, {}))
        assert shelf.take_off_failing() == ()
        model = shelf.model("tiny")
        glaring = np.zeros((6, 3, 1, 1), np.float32)
        glaring[0] = 20.0
        server.engine = open_onnx(make_network(weights=glaring), 1)
        monkeypatch.setattr(proof_module, "PROOF_SECONDS", -1.0)
        assert refusal(model) == "golden-differs"


def test_a_proof_that_was_lost_while_it_was_given_is_lost() -> None:
    proof = Proof()
    begun = proof.begin()
    proof.lose()
    proof.give(begun)
    assert proof.is_due()
    proof.give(proof.begin())
    assert not proof.is_due()
