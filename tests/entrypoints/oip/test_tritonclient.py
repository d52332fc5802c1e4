"""The inference door proved with Triton's own client, against `csss infer` and `csss serve` as real processes."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import Server
from tiny_model import SIDE, make_picture

from csss import __version__
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.packaged import packaged_models
from csss.inference.shelf import Shelf
from entrypoints.oip.doors import BEARER, TOKEN, infer_command
from pictures import picture_png

http = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
REFUSED = pytest.importorskip("tritonclient.utils", reason="tritonclient is not installed").InferenceServerException

PICTURES = np.stack([np.full((40, 48), 9, np.uint8), make_picture(3), make_picture(4)])


def test_example_of_the_documentation_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[3] / "docs/api.md").read_text().partition("## Open Inference Protocol")[2]
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.png").write_bytes(picture_png())
    with infer_command(packaged_models(), tmp_path / "log") as url:
        exec(example.replace("127.0.0.1:8001", url.removeprefix("http://")), {})
    assert re.match(r"\[b'\w+'\] \[\[0[.\d\s]+\]\]", capsys.readouterr().out)


@pytest.fixture(scope="module", params=["infer", "serve"])
def address(
    request: pytest.FixtureRequest, tiny_models: Path, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "infer":
        with infer_command(tiny_models, folder / "log", inference_token=TOKEN) as url:
            yield url.removeprefix("http://")
        return
    shutil.copyfile(sqlite_template, folder / "csss.db")
    settings = {
        "CSSS_ENVIRONMENT": "demo",
        "CSSS_DATA_DIR": str(folder),
        "CSSS_MODEL_PATH": str(tiny_models),
        "CSSS_INFERENCE_TOKEN": TOKEN,
    }
    server = Server(settings, folder / "log")
    server.start()
    try:
        yield server.url.removeprefix("http://")
    finally:
        server.stop()


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    opened = http.InferenceServerClient(address)
    yield opened
    opened.close()


def given(values: np.ndarray, name: str, datatype: str, *, binary: bool = True) -> list[Any]:
    tensor = http.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return [tensor]


def test_client_finds_the_server_and_its_models(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready(headers=dict(BEARER))
    assert client.is_model_ready("tiny", "1", headers=dict(BEARER))
    assert not client.is_model_ready("tiny", "2", headers=dict(BEARER))
    assert not client.is_server_ready()
    told = client.get_server_metadata(headers=dict(BEARER))
    assert told == {"name": "csss", "version": __version__, "extensions": ["binary_tensor_data"]}
    listed = client.get_model_repository_index(headers=dict(BEARER))
    assert listed == [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]
    inputs = client.get_model_metadata("tiny", headers=dict(BEARER))["inputs"]
    assert [tensor["name"] for tensor in inputs] == ["pictures", "prepared"]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("version", ["", "1"])
def test_client_gets_what_the_model_says(client: Any, tiny_models: Path, binary: bool, version: str) -> None:
    names = ("probabilities", "labels", "label", "top_label", "uncertain", "reason", "distance", "tau", "phantom")
    wishes = [http.InferRequestedOutput(name, binary_data=binary) for name in names]
    asked = given(PICTURES, "pictures", "UINT8", binary=binary)
    answer = client.infer("tiny", asked, version, wishes, request_id="case 7", headers=dict(BEARER))
    model = Shelf(tiny_models).model("tiny")
    said = [model.predict(Volume(pixels=picture[None], kind=FileKind.PNG)) for picture in PICTURES[1:]]
    told = {name: answer.as_numpy(name) for name in names}
    assert answer.get_response()["id"] == "case 7"
    shares = [[0.0] * 3] + [[share for _, share in prediction.probabilities] for prediction in said]
    np.testing.assert_allclose(told["probabilities"], shares, atol=1e-5)
    np.testing.assert_allclose(told["distance"], [-1.0, *(p.ood_distance for p in said)], atol=1e-5)
    assert told["tau"].tolist() == [0.75] * 3
    assert texts(told["labels"]) == ["calm", "wave", "storm"]
    assert texts(told["label"]) == ["Refused", *(p.label for p in said)]
    assert texts(told["top_label"]) == ["", *(p.top_label for p in said)]
    assert texts(told["reason"]) == ["blank-image", *(",".join(p.uncertain_reasons) for p in said)]
    assert told["uncertain"].tolist() == [True, *(p.uncertain for p in said)]
    assert told["phantom"].tolist() == [True] * 3


def texts(values: np.ndarray) -> list[str]:
    """Triton's client gives texts as bytes when they came as binary data, and as text when they came as JSON."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def test_client_that_names_no_output_gets_all_of_them(client: Any) -> None:
    answer = client.infer("tiny", given(PICTURES, "pictures", "UINT8"), headers=dict(BEARER))
    assert answer.as_numpy("probabilities").shape == (3, 3)
    assert len(answer.get_response()["outputs"]) == 9


def test_client_gets_the_bare_features(client: Any, tiny_models: Path) -> None:
    batch = np.random.default_rng(2).normal(size=(16, 3, SIDE, SIDE)).astype(np.float32)
    answer = client.infer("tiny", given(batch, "prepared", "FP32"), headers=dict(BEARER))
    wanted = Shelf(tiny_models).model("tiny").features(batch)
    np.testing.assert_allclose(answer.as_numpy("features"), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "values", "headers", "message"),
    [
        ("tiny", PICTURES, {}, "Send the token of this door as Authorization: Bearer TOKEN."),
        ("other", PICTURES, BEARER, "There is no model other on the shelf."),
        (
            "tiny",
            np.repeat(PICTURES, 6, axis=0),
            BEARER,
            "The request cannot be used: there are more than 16 pictures in it.",
        ),
    ],
)
def test_client_reads_our_refusals(
    client: Any, model: str, values: np.ndarray, headers: dict[str, str], message: str
) -> None:
    with pytest.raises(REFUSED) as caught:
        client.infer(model, given(values, "pictures", "UINT8"), headers=dict(headers))
    assert caught.value.message() == message
