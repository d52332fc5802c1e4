"""The inference door answers as the protocol says, in JSON and in binary data, what the model says itself."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_model import SIDE, make_folder, make_picture

from csss import __version__
from csss.entrypoints.oip.alone import create_app
from csss.entrypoints.oip.choosing import ByShelf
from csss.entrypoints.oip.routes import Served
from csss.foundation.thresholds import SiteThreshold
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import OutOfDistribution, Risk, load_card, write_card
from csss.inference.prediction import raise_threshold
from csss.inference.shelf import Shelf
from entrypoints.oip.doors import tensor

INFER = "/v2/models/tiny/infer"
NAMES = ["probabilities", "labels", "label", "top_label", "uncertain", "reason", "distance", "tau", "phantom"]
PICTURES = np.stack([make_picture(seed) for seed in (3, 4)])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    root = tmp_path_factory.mktemp("shelf")
    for version in ("1", "2"):
        make_folder(root, version=version)
    return Shelf(root)


@pytest.fixture(scope="module")
def client(shelf: Shelf) -> Iterator[TestClient]:
    with TestClient(create_app(Served(shelf, None))) as opened:
        yield opened


def ask(client: TestClient, body: dict[str, Any], path: str = INFER) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    content: dict[str, Any] = answer.json()
    return content


def values(content: dict[str, Any]) -> dict[str, Any]:
    return {output["name"]: np.reshape(output["data"], output["shape"]).tolist() for output in content["outputs"]}


def check_same(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Assert that two answers say the same; the last digits of a sum depend on where in memory it was made."""
    for name in ("probabilities", "distance"):
        np.testing.assert_allclose(got.pop(name), wanted.pop(name), atol=1e-5)
    assert got == wanted


def as_json(pictures: np.ndarray, **more: Any) -> dict[str, Any]:
    return tensor("pictures", pictures.tolist(), "UINT8", list(pictures.shape)) | more


def as_binary(pictures: np.ndarray, name: str, datatype: str, **more: Any) -> tuple[bytes, dict[str, str]]:
    data = pictures.tobytes()
    given = {
        "name": name,
        "shape": list(pictures.shape),
        "datatype": datatype,
        "parameters": {"binary_data_size": len(data)},
    }
    header = json.dumps({"inputs": [given]} | more).encode()
    return header + data, {"Inference-Header-Content-Length": str(len(header))}


def test_door_says_who_it_is_and_what_it_has(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json() == {"name": "csss", "version": __version__, "extensions": ["binary_tensor_data"]}
    for path, version in (("", "2"), ("/versions/1", "1"), ("/versions/2", "2")):
        assert client.get(f"/v2/models/tiny{path}/ready").json() == {"name": "tiny", "ready": True}
        assert client.get(f"/v2/models/tiny{path}").json()["versions"] == [version]


def test_door_describes_a_model(client: TestClient) -> None:
    each = [-1]
    outputs = [("probabilities", "FP64", [-1, 3]), ("labels", "BYTES", [3]), ("label", "BYTES", each)]
    outputs += [("top_label", "BYTES", each), ("uncertain", "BOOL", each), ("reason", "BYTES", each)]
    outputs += [("distance", "FP64", each), ("tau", "FP64", each), ("phantom", "BOOL", each)]
    outputs += [("features", "FP32", [-1, -1, -1, -1])]
    assert client.get("/v2/models/tiny/versions/1").json() == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "csss_classify",
        "inputs": [
            {"name": "pictures", "datatype": "UINT8", "shape": [-1, -1, -1]},
            {"name": "prepared", "datatype": "FP32", "shape": [-1, 3, SIDE, SIDE]},
        ],
        "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in outputs],
        "parameters": {"max_batch": 16, "purpose": "patients", "version_from": "address"},
    }


def test_door_lists_what_is_served_and_why_the_rest_is_not(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (make_folder(tmp_path, name="bad") / "model.onnx").write_bytes(b"other")
    with TestClient(create_app(Served(Shelf(tmp_path), None))) as client:
        listed = client.post("/v2/repository/index", json={}).json()
        assert client.get("/v2/models/bad").json() == {"error": "There is no model bad on the shelf."}
    reason = "model.onnx is not the file that the card describes."
    assert listed == [
        {"name": "tiny", "version": "1", "state": "READY", "reason": ""},
        {"name": "bad", "version": "1", "state": "UNAVAILABLE", "reason": reason},
    ]


def test_door_without_a_model_is_not_ready(tmp_path: Path) -> None:
    with TestClient(create_app(Served(Shelf(tmp_path), None))) as client:
        answer = client.get("/v2/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"error": "No model can be served."})
        assert client.get("/v2/health/live").status_code == 200


def test_infer_says_of_pictures_what_the_model_says(client: TestClient, shelf: Shelf) -> None:
    content = ask(client, as_json(PICTURES, id="case 7"))
    said = [shelf.model("tiny").predict(Volume(pixels=p[None], kind=FileKind.PNG)) for p in PICTURES]
    assert {name: content[name] for name in ("id", "model_name", "model_version")} == {
        "id": "case 7",
        "model_name": "tiny",
        "model_version": "2",
    }
    told = values(content)
    shares = [[share for _, share in prediction.probabilities] for prediction in said]
    np.testing.assert_allclose(told.pop("probabilities"), shares, atol=1e-5)
    assert told.pop("distance") == pytest.approx([prediction.ood_distance for prediction in said], abs=1e-5)
    assert told == {
        "labels": ["calm", "wave", "storm"],
        "label": [prediction.label for prediction in said],
        "top_label": [prediction.top_label for prediction in said],
        "uncertain": [prediction.uncertain for prediction in said],
        "reason": [",".join(prediction.uncertain_reasons) for prediction in said],
        "tau": [0.75, 0.75],
        "phantom": [True, True],
    }


def test_infer_asks_the_version_of_the_address(client: TestClient) -> None:
    content = ask(client, as_json(PICTURES[:1]), "/v2/models/tiny/versions/1/infer")
    assert (content["model_version"], "id" in content) == ("1", False)


def test_infer_takes_flat_nested_and_binary_data_alike(client: TestClient) -> None:
    nested = ask(client, as_json(PICTURES))
    flat = ask(client, tensor("pictures", PICTURES.ravel().tolist(), "UINT8", list(PICTURES.shape)))
    body, headers = as_binary(PICTURES, "pictures", "UINT8")
    binary = client.post(INFER, content=body, headers=headers).json()
    for other in (flat, binary):
        check_same(values(other), values(nested))


def test_infer_gives_only_the_outputs_that_are_asked_for_in_their_order(client: TestClient) -> None:
    wanted = [{"name": "uncertain"}, {"name": "label"}]
    assert list(values(ask(client, as_json(PICTURES, outputs=wanted)))) == ["uncertain", "label"]
    assert list(values(ask(client, as_json(PICTURES, outputs=[])))) == NAMES


def read_binary(answer: Any) -> dict[str, tuple[str, list[int], bytes]]:
    """Type, shape and bytes of each output of a binary answer."""
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    found, rest = {}, answer.content[size:]
    for output in json.loads(answer.content[:size])["outputs"]:
        length = output["parameters"]["binary_data_size"]
        found[output["name"]] = (output["datatype"], output["shape"], rest[:length])
        rest = rest[length:]
    assert rest == b""
    return found


def test_infer_answers_in_binary_data_when_asked(client: TestClient) -> None:
    told = values(ask(client, as_json(PICTURES)))
    answer = client.post(INFER, json=as_json(PICTURES, parameters={"binary_data_output": True}))
    found = read_binary(answer)
    assert list(found) == NAMES
    kind, shape, data = found["probabilities"]
    assert (kind, shape) == ("FP64", [2, 3])
    np.testing.assert_allclose(np.frombuffer(data, "<f8").reshape(shape), told["probabilities"], atol=1e-5)
    assert found["uncertain"] == ("BOOL", [2], bytes(told["uncertain"]))
    texts = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in told["label"])
    assert found["label"] == ("BYTES", [2], texts)


def test_infer_answers_each_output_in_the_form_that_was_asked_for(client: TestClient) -> None:
    wishes = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "tau"}]
    body = as_json(PICTURES, outputs=wishes, parameters={"binary_data_output": True})
    answer = client.post(INFER, json=body)
    size = int(answer.headers["inference-header-content-length"])
    label, tau = json.loads(answer.content[:size])["outputs"]
    assert ("data" in label, "data" in tau, tau["parameters"]) == (True, False, {"binary_data_size": 16})
    assert answer.content[size:] == np.array([0.75, 0.75]).tobytes()


def test_infer_runs_the_bare_network_on_prepared_pictures(client: TestClient, shelf: Shelf) -> None:
    batch = np.random.default_rng(1).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    wanted = shelf.model("tiny").features(batch)
    told = values(ask(client, tensor("prepared", batch.tolist(), "FP32", list(batch.shape))))
    np.testing.assert_allclose(told["features"], wanted, atol=1e-6)
    body, headers = as_binary(
        batch, "prepared", "FP32", outputs=[{"name": "features", "parameters": {"binary_data": True}}]
    )
    assert read_binary(client.post(INFER, content=body, headers=headers)) == {
        "features": ("FP32", [2, 6, 4, 4], wanted.tobytes())
    }


def test_infer_refuses_a_picture_and_answers_the_others(client: TestClient) -> None:
    pictures = np.stack([np.full((40, 48), 9, np.uint8), PICTURES[0]])
    told = values(ask(client, as_json(pictures)))
    alone = values(ask(client, as_json(PICTURES[:1])))
    assert {name: told[name][0] for name in NAMES} == {
        "probabilities": [0.0, 0.0, 0.0],
        "labels": "calm",
        "label": "Refused",
        "top_label": "",
        "uncertain": True,
        "reason": "blank-image",
        "distance": -1.0,
        "tau": 0.75,
        "phantom": True,
    }
    del told["labels"], alone["labels"]
    check_same({name: rows[1:] for name, rows in told.items()}, alone)


def test_infer_never_states_a_class_for_a_picture_unlike_the_known(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    write_card(replace(load_card(folder), ood=OutOfDistribution("pca-mahalanobis", 1e-6, "nothing passes")), folder)
    with TestClient(create_app(Served(Shelf(tmp_path), None))) as client:
        told = values(ask(client, as_json(PICTURES)))
    assert told["label"] == ["Uncertain", "Uncertain"]
    assert [reason.split(",")[-1] for reason in told["reason"]] == ["out-of-distribution"] * 2


def test_infer_obeys_the_sites_higher_threshold_and_no_lower_one(shelf: Shelf) -> None:
    model = shelf.model("tiny")
    said = model.predict(Volume(pixels=PICTURES[:1], kind=FileKind.PNG))
    stricter = raise_threshold(said, 0.999999, floor=Risk.MODERATE)
    for tau, wanted in ((0.5, said), (0.999999, stricter)):
        with TestClient(create_app(Served(shelf, None, ByShelf(shelf, (SiteThreshold("tiny", "2", tau),))))) as client:
            told = values(ask(client, as_json(PICTURES[:1])))
        assert (told["label"], told["tau"], told["uncertain"]) == ([wanted.label], [wanted.tau], [wanted.uncertain])
    assert stricter.label == "Uncertain"


def test_infer_makes_no_statement_where_the_threshold_was_set_for_another_version(shelf: Shelf) -> None:
    """The bare network states nothing, so its features are given out."""
    prepared = tensor("prepared", [0.5] * (3 * SIDE * SIDE), "FP32", [1, 3, SIDE, SIDE])
    with TestClient(create_app(Served(shelf, None, ByShelf(shelf, (SiteThreshold("tiny", "1", 0.9),))))) as client:
        answer = client.post(INFER, json=as_json(PICTURES[:1]))
        assert ask(client, prepared)["outputs"][0]["name"] == "features"
    assert (answer.status_code, "was set for version 1, not for version 2" in answer.text) == (422, True)


def test_a_model_for_comparison_answers_by_its_version_only(tmp_path: Path) -> None:
    make_folder(tmp_path, version="1")
    for name, version in (("tiny", "2"), ("recipe", "1")):
        folder = make_folder(tmp_path, name=name, version=version)
        write_card(replace(load_card(folder), purpose="comparison"), folder)
    with TestClient(create_app(Served(Shelf(tmp_path), None))) as client:
        told = client.get("/v2/models/tiny").json()
        assert (told["versions"], told["parameters"]["version_from"]) == (["1"], "newest")
        assert client.get("/v2/models/tiny/versions/2").json()["parameters"]["purpose"] == "comparison"
        answer = client.post("/v2/models/recipe/infer", json=as_json(PICTURES[:1]))
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": "recipe is kept for comparison. Name the version that you ask: "
                      "/v2/models/recipe/versions/VERSION."},
        )  # fmt: skip
        assert ask(client, as_json(PICTURES[:1]), "/v2/models/recipe/versions/1/infer")["model_version"] == "1"


def test_infer_keeps_its_answer_out_of_caches(client: TestClient) -> None:
    answer = client.post(INFER, json=as_json(PICTURES))
    assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
