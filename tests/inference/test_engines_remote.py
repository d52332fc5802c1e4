"""The remote engine: the network runs elsewhere, and nothing of an answer is believed unchecked."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strangers import BATCH, DESCRIPTION, FEATURES, answer, listening, output
from tiny_model import SIDE, make_folder, make_network, make_volume

from csss.inference.card import CardError, ModelCard
from csss.inference.engines import EngineChoice, RemoteModel
from csss.inference.engines import remote as remote_module
from csss.inference.engines.remote import open_remote
from csss.inference.prediction import InferenceRefused
from csss.inference.shelf import Shelf
from entrypoints.oip.doors import TOKEN, served_models


class Stranger:
    """A server that describes a model and answers inference as it is told; it keeps what it was asked."""

    def __init__(self) -> None:
        self.description: Any = DESCRIPTION
        self.status = 200
        self.body, self.headers = answer()
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, path, headers, body))
        if method == "GET":
            return 200, {}, json.dumps(self.description).encode()
        return self.status, self.headers, self.body


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    told = Stranger()
    with listening(told.reply) as url:
        told.url = url
        yield told


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    root = tmp_path_factory.mktemp("shelf")
    make_folder(root)
    return Shelf(root).model("tiny").card


def test_remote_sends_one_binary_tensor_and_reads_one_back(stranger: Stranger, card: ModelCard) -> None:
    engine = open_remote(RemoteModel(stranger.url, TOKEN), card)
    np.testing.assert_array_equal(engine.run(BATCH), FEATURES)
    (got, path, _, _), (sent, infer_path, headers, body) = stranger.asked
    assert (got, path) == ("GET", "/v2/models/tiny/versions/1")
    assert (sent, infer_path) == ("POST", "/v2/models/tiny/versions/1/infer")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    size = int(headers["inference-header-content-length"])
    assert json.loads(body[:size]) == {
        "inputs": [
            {
                "name": "x",
                "shape": [2, 3, SIDE, SIDE],
                "datatype": "FP32",
                "parameters": {"binary_data_size": 4 * BATCH.size},
            }
        ],
        "outputs": [{"name": "features", "parameters": {"binary_data": True}}],
    }
    assert body[size:] == BATCH.tobytes()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://h:1", "http://h:1/v2/models/tiny/versions/1"),
        ("https://h/gpu/", "https://h/gpu/v2/models/tiny/versions/1"),
        ("https://h/v2/models/other/versions/7", "https://h/v2/models/other/versions/7"),
    ],
)
def test_remote_address_may_name_the_server_or_the_model(card: ModelCard, address: str, url: str) -> None:
    assert RemoteModel(address).url(card) == url


def wide(*shape: int) -> list[dict[str, Any]]:
    return [output(shape=list(shape))]


FULL = struct.pack("<f", float("inf"))
BAD_ANSWERS: list[tuple[str, tuple[bytes, dict[str, str]]]] = [
    ("no header length", (answer()[0], {})),
    ("a header length that is no number", (answer()[0], {"Inference-Header-Content-Length": "-5"})),
    ("a header length beyond the body", (answer()[0], {"Inference-Header-Content-Length": "99999"})),
    ("no JSON", (b"[" * 2000, {"Inference-Header-Content-Length": "2000"})),
    ("no object", (b"[]", {"Inference-Header-Content-Length": "2"})),
    ("no outputs", answer([])),
    ("two outputs", answer([output(), output()])),
    ("an output that is no object", answer(["features"])),
    ("another output", answer([output(name="logits")])),
    ("another type", answer([output(datatype="FP64")])),
    ("fewer pictures", answer(wide(1, 6, 4, 4), FEATURES[:1].tobytes())),
    ("pictures folded into channels", answer(wide(1, 12, 4, 4))),
    ("another number of axes", answer(wide(2, 96))),
    ("a side of zero", answer(wide(2, 0, 4, 4), b"")),
    ("a negative side", answer(wide(2, -6, -4, 4))),
    ("a side that is no whole number", answer([output(shape=[2, 6.0, 4, 4])])),
    ("a shape that is none", answer([output(shape="2644")])),
    ("a byte too few", answer(tensor=FEATURES.tobytes()[:-1])),
    ("a byte too many", answer(tensor=FEATURES.tobytes() + b"\0")),
    ("infinity", answer(tensor=FEATURES.tobytes()[:-4] + FULL)),
    ("NaN", answer(tensor=FEATURES.tobytes()[:-4] + struct.pack("<f", float("nan")))),
    ("data as JSON", (json.dumps({"outputs": [output(data=FEATURES.ravel().tolist())]}).encode(), {})),
    ("compressed", (answer()[0], answer()[1] | {"Content-Encoding": "gzip"})),
]


@pytest.mark.parametrize("told", [pytest.param(told, id=name) for name, told in BAD_ANSWERS])
def test_remote_believes_no_answer_that_is_not_whole(
    stranger: Stranger, card: ModelCard, told: tuple[bytes, dict[str, str]]
) -> None:
    engine = open_remote(RemoteModel(stranger.url), card)
    stranger.body, stranger.headers = told
    with pytest.raises(InferenceRefused) as caught:
        engine.run(BATCH)
    assert caught.value.code == "remote-answer-invalid"


def test_remote_stops_reading_an_answer_that_is_too_large(
    stranger: Stranger, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "HEADER_BYTES", 1024)
    monkeypatch.setattr(remote_module, "FEATURE_BYTES", 384)
    engine = open_remote(RemoteModel(stranger.url), card)
    np.testing.assert_array_equal(engine.run(BATCH), FEATURES)
    stranger.body += b" " * 2000
    with pytest.raises(InferenceRefused) as caught:
        engine.run(BATCH)
    assert caught.value.message == "The answer of the model's server is too large."


@pytest.mark.parametrize("status", [301, 307, 308, 204, 400, 401, 404, 500, 503])
def test_remote_follows_no_redirect_and_takes_no_refusal(stranger: Stranger, card: ModelCard, status: int) -> None:
    engine = open_remote(RemoteModel(stranger.url), card)
    elsewhere: list[str] = []

    def note(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> tuple[int, dict[str, str], bytes]:
        elsewhere.append(path)
        return 200, answer()[1], answer()[0]

    with listening(note) as url:
        stranger.status, stranger.headers = status, answer()[1] | {"Location": url}
        with pytest.raises(InferenceRefused) as caught:
            engine.run(BATCH)
    assert (caught.value.code, elsewhere) == ("remote-refused", [])
    assert caught.value.message == f"The server of the model refused ({status})."


def test_remote_goes_by_no_proxy_of_the_environment(
    stranger: Stranger, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    np.testing.assert_array_equal(open_remote(RemoteModel(stranger.url), card).run(BATCH), FEATURES)


def test_remote_that_went_away_is_a_refusal(card: ModelCard) -> None:
    told = Stranger()
    with listening(told.reply) as url:
        engine = open_remote(RemoteModel(url), card)
    with pytest.raises(InferenceRefused) as caught:
        engine.run(BATCH)
    assert (caught.value.code, caught.value.message) == (
        "remote-unreachable",
        "The server of the model does not answer.",
    )


def test_remote_that_drips_is_given_up(stranger: Stranger, card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_remote(RemoteModel(stranger.url), card)
    monkeypatch.setattr(remote_module, "TOTAL_SECONDS", -1.0)
    with pytest.raises(InferenceRefused) as caught:
        engine.run(BATCH)
    assert (caught.value.code, caught.value.message) == ("remote-unreachable", "The server of the model is too slow.")


@pytest.mark.parametrize(
    ("description", "code"),
    [
        ([], "remote-answer-invalid"),
        ({}, "remote-mismatch"),
        (DESCRIPTION | {"inputs": DESCRIPTION["inputs"][:1]}, "remote-mismatch"),
        (DESCRIPTION | {"inputs": [DESCRIPTION["inputs"][1]] * 2}, "remote-mismatch"),
        (DESCRIPTION | {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 64, 64]}]}, "remote-mismatch"),
        (DESCRIPTION | {"inputs": [{"name": "x", "datatype": "FP16", "shape": [-1, 3, 32, 32]}]}, "remote-mismatch"),
        (DESCRIPTION | {"inputs": [{"name": 5, "datatype": "FP32", "shape": [-1, 3, 32, 32]}]}, "remote-mismatch"),
        (DESCRIPTION | {"inputs": "x"}, "remote-mismatch"),
        (DESCRIPTION | {"outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 5]}]}, "remote-mismatch"),
    ],
)
def test_remote_model_that_does_another_thing_is_not_served(
    stranger: Stranger, tmp_path: Path, description: Any, code: str
) -> None:
    make_folder(tmp_path)
    stranger.description = description
    shelf = Shelf(tmp_path, engines=EngineChoice.of("onnx", {"tiny": stranger.url}, {}))
    assert [(problem.folder, problem.code) for problem in shelf.take_off_failing()] == [("tiny/1", code)]
    assert shelf.models == ()


def test_remote_that_does_not_answer_at_the_start_takes_the_model_off_the_shelf(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with listening(Stranger().reply) as url:
        pass
    shelf = Shelf(tmp_path, engines=EngineChoice.of("onnx", {"tiny": url}, {}))
    assert [(problem.code, problem.message) for problem in shelf.take_off_failing()] == [
        ("remote-unreachable", "The server of the model does not answer.")
    ]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_one_site_predicts_by_the_door_of_another_as_by_itself(tmp_path: Path, token: str | None) -> None:
    make_folder(tmp_path)
    here = Shelf(tmp_path)
    with served_models(tmp_path, token) as url:
        there = Shelf(tmp_path, engines=EngineChoice.of("onnx", {"tiny": url}, {"tiny": token} if token else {}))
        assert there.take_off_failing() == ()
        pairs = [
            (here.model("tiny").predict(make_volume(seed)), there.model("tiny").predict(make_volume(seed)))
            for seed in range(3)
        ]
    for own, other in pairs:
        assert other.label == own.label
        assert dict(other.probabilities) == pytest.approx(dict(own.probabilities), abs=1e-5)
        assert other.ood_distance == pytest.approx(own.ood_distance, abs=1e-5)
        assert (other.heat is None) is (own.heat is None)
        if own.heat is not None:
            np.testing.assert_allclose(other.heat, own.heat, atol=1e-5)
    assert any(own.heat is not None for own, _ in pairs)


def test_site_refuses_the_other_weights_of_another(tmp_path: Path) -> None:
    make_folder(tmp_path / "here")
    make_folder(tmp_path / "there", network=make_network(99))
    with served_models(tmp_path / "there") as url:
        shelf = Shelf(tmp_path / "here", engines=EngineChoice.of("onnx", {"tiny": url}, {}))
        problems = shelf.take_off_failing()
    message = "tiny 1 does not give its golden result on this machine."
    assert [(problem.folder, problem.code, problem.message) for problem in problems] == [
        ("tiny/1", "golden-differs", message)
    ]
    assert shelf.models == ()


def test_site_without_the_others_token_gets_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with served_models(tmp_path, TOKEN) as url:
        shelf = Shelf(tmp_path, engines=EngineChoice.of("onnx", {"tiny": url}, {"tiny": "another" * 6}))
        problems = shelf.take_off_failing()
    assert [(problem.code, problem.message) for problem in problems] == [
        ("remote-refused", "The server of the model refused (401).")
    ]


def test_model_that_is_opened_alone_is_proved_too(tmp_path: Path) -> None:
    make_folder(tmp_path / "here")
    make_folder(tmp_path / "there", network=make_network(99))
    with served_models(tmp_path / "there") as url:
        model = Shelf(tmp_path / "here", engines=EngineChoice.of("onnx", {"tiny": url}, {})).model("tiny")
        with pytest.raises(CardError) as caught:
            model.open()
    assert caught.value.code == "golden-differs"


def test_an_address_that_cannot_be_asked_is_a_problem_of_the_shelf(tmp_path: Path) -> None:
    make_folder(tmp_path)
    choice = EngineChoice(remote={"tiny": RemoteModel("https://\u2028x")})
    with pytest.raises(CardError) as refused:
        Shelf(tmp_path, engines=choice).model("tiny").open()
    assert refused.value.code == "remote-unreachable"
