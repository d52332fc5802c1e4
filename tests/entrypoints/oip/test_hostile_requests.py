"""A request that is not exactly in order gets one plain error, and nothing runs."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_model import SIDE, make_folder

from csss.entrypoints.oip import bodies as bodies_module
from csss.entrypoints.oip import requests as requests_module
from csss.entrypoints.oip.alone import create_app
from csss.entrypoints.oip.routes import Served
from csss.inference.shelf import Model, Shelf
from entrypoints.oip.doors import tensor

INFER = "/v2/models/tiny/infer"
HEADER = "Inference-Header-Content-Length"
GOOD = tensor("pictures", [1, 2, 3, 4], "UINT8", [1, 2, 2])
PREPARED = tensor("prepared", [0.5] * (3 * SIDE * SIDE), "FP32", [1, 3, SIDE, SIDE])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("shelf")
    make_folder(root)
    with TestClient(create_app(Served(Shelf(root), None))) as opened:
        yield opened


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise AssertionError("a bad request reached the model")

    monkeypatch.setattr(Model, "predict", run)
    monkeypatch.setattr(Model, "features", run)


def check_refused(answer: Any, message: str, status: int = 400) -> None:
    assert (answer.status_code, answer.json()) == (status, {"error": message})


def test_the_requests_that_are_varied_below_are_good(client: TestClient) -> None:
    assert [client.post(INFER, json=body).status_code for body in (GOOD, PREPARED)] == [200, 200]


def given(body: dict[str, Any] = GOOD, **changes: Any) -> dict[str, Any]:
    return {"inputs": [body["inputs"][0] | changes]}


CANNOT = "The request cannot be used: "
SHAPE = CANNOT + "the shape of pictures is no list of whole numbers from 1 on."
THREE = CANNOT + "the shape of pictures must be [-1, -1, -1], where -1 is any size."
ONE = CANNOT + "it must have exactly one input: pictures or prepared."
NO_SUCH = CANNOT + "the model has no such input; it takes pictures or prepared."
NUMBERS = CANNOT + "the data of pictures are not all whole numbers."
RANGE = CANNOT + "the data of pictures are not all from 0 to 255."
NESTED = CANNOT + "the data of pictures are not nested as its shape says."
OUTPUTS = CANNOT + "outputs is no list of different outputs."
EITHER = CANNOT + "pictures must have either data or binary_data_size, and nothing may follow data."
SIZE = CANNOT + "pictures says another binary_data_size than came, or has data as well."
ONLY = CANNOT + (
    "pictures gives probabilities, labels, label, top_label, uncertain, reason, distance, tau, phantom, "
    "and no other output."
)
FINITE = CANNOT + "prepared holds values that are not finite FP32 numbers."
JSON = CANNOT + "it is not valid JSON."
HUGE = 2**31 - 1


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], CANNOT + "it is no JSON object."),
        ({}, ONE),
        ({"inputs": {}}, ONE),
        ({"inputs": []}, ONE),
        ({"inputs": ["pictures"]}, ONE),
        ({"inputs": GOOD["inputs"] * 2}, ONE),
        (GOOD | {"extra": 1}, CANNOT + "the request has members that are not id, inputs, outputs, parameters."),
        (given(extra=1), CANNOT + "the input has members that are not data, datatype, name, parameters, shape."),
        (GOOD | {"id": 7}, CANNOT + "its id is no text of at most 256 characters."),
        (GOOD | {"id": "x" * 257}, CANNOT + "its id is no text of at most 256 characters."),
        (given(name="picture"), NO_SUCH),
        (given(name=["pictures"]), NO_SUCH),
        (given(name=None), NO_SUCH),
        (given(datatype="INT8"), CANNOT + "pictures is of the type UINT8."),
        (given(datatype=None), CANNOT + "pictures is of the type UINT8."),
        (given(PREPARED, datatype="FP64"), CANNOT + "prepared is of the type FP32."),
        (given(shape=None), SHAPE),
        (given(shape="122"), SHAPE),
        (given(shape=[1, 2, -2]), SHAPE),
        (given(shape=[1, 0, 2]), SHAPE),
        (given(shape=[1, 2.0, 2]), SHAPE),
        (given(shape=[True, 2, 2]), SHAPE),
        (given(shape=[1, 2, 2**63]), SHAPE),
        (given(shape=[]), THREE),
        (given(shape=[2, 2]), THREE),
        (given(shape=[1, 1, 2, 2]), THREE),
        (given(shape=[17, 2, 2]), CANNOT + "there are more than 16 pictures in it."),
        (given(shape=[1, HUGE, HUGE]), CANNOT + f"pictures needs {HUGE * HUGE} values and 4 came."),
        (given(shape=[1, 2, 3]), CANNOT + "pictures needs 6 values and 4 came."),
        (
            given(PREPARED, shape=[1, 3, SIDE, SIDE + 1]),
            CANNOT + f"the shape of prepared must be [-1, 3, {SIDE}, {SIDE}], where -1 is any size.",
        ),
        (given(data=None), CANNOT + "the data of pictures is no list."),
        (given(data={"0": 1}), CANNOT + "the data of pictures is no list."),
        (given(data=[]), CANNOT + "pictures needs 4 values and 0 came."),
        (given(data=[1, 2, 3, 4, 5]), CANNOT + "pictures needs 4 values and 5 came."),
        (given(data=[1, 2, 3, 256]), RANGE),
        (given(data=[1, 2, 3, -1]), RANGE),
        (given(data=[1, 2, 3, 2**70]), RANGE),
        (given(data=[1, 2, 3, 4.0]), NUMBERS),
        (given(data=[1, 2, 3, True]), NUMBERS),
        (given(data=[1, 2, 3, "4"]), NUMBERS),
        (given(data=[1, 2, 3, None]), NUMBERS),
        (given(data=[1, [2], 3, 4]), NUMBERS),
        (given(data=[[1, 2], [3, 4]]), NESTED),
        (given(data=[[[1, 2], [3]]]), NESTED),
        (given(data=[[[1, 2], 3]]), NESTED),
        (given(data=[[[1, 2], [3, 4]]] * 2), NESTED),
        (given(data=[[[[1], [2]], [[3], [4]]]]), NUMBERS),
        (given(PREPARED, data=[1e39, *[0.5] * (3 * SIDE * SIDE - 1)]), FINITE),
        (given(PREPARED, data=[10**400, *[0.5] * (3 * SIDE * SIDE - 1)]), FINITE),
        (given(parameters=[]), CANNOT + "the parameters of pictures are no object."),
        (given(parameters={"classification": 3}), CANNOT + "the only parameter of pictures is binary_data_size."),
        (given(parameters={"binary_data_size": 4}), SIZE),
        ({"inputs": [{key: GOOD["inputs"][0][key] for key in ("name", "shape", "datatype")}]}, EITHER),
        (GOOD | {"parameters": 1}, CANNOT + "the parameters of the request are no object."),
        (
            GOOD | {"parameters": {"sequence_id": 1}},
            CANNOT + "the only parameter of the request is binary_data_output.",
        ),
        (
            GOOD | {"parameters": {"binary_data_output": 1}},
            CANNOT + "binary_data_output is neither true nor false.",
        ),
        (GOOD | {"outputs": {}}, OUTPUTS),
        (GOOD | {"outputs": ["label"]}, OUTPUTS),
        (GOOD | {"outputs": [{"name": "label"}] * 2}, OUTPUTS),
        (GOOD | {"outputs": [{"name": "label"}] * 99}, OUTPUTS),
        (GOOD | {"outputs": [{"name": "features"}]}, ONLY),
        (GOOD | {"outputs": [{"name": ["label"]}]}, ONLY),
        (GOOD | {"outputs": [{}]}, ONLY),
        (PREPARED | {"outputs": [{"name": "label"}]}, CANNOT + "prepared gives features, and no other output."),
        (
            GOOD | {"outputs": [{"name": "label", "parameters": {"classification": 2}}]},
            CANNOT + "the only parameter of label is binary_data.",
        ),
        (
            GOOD | {"outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]},
            CANNOT + "binary_data is neither true nor false.",
        ),
        (
            GOOD | {"outputs": [{"name": "label", "data": []}]},
            CANNOT + "an output has members that are not name, parameters.",
        ),
    ],
)
def test_json_request_that_is_not_in_order_is_refused(client: TestClient, body: Any, message: str) -> None:
    check_refused(client.post(INFER, json=body), message)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"inputs":' * 50_000,
        b'{"inputs": NaN}',
        b'{"inputs": [{"data": [Infinity]}]}',
        b'{"id": ' + b"9" * 5000 + b"}",
        json.dumps(GOOD).encode() + b"x",
    ],
)
def test_text_that_is_no_json_is_refused(client: TestClient, text: bytes) -> None:
    check_refused(client.post(INFER, content=text), JSON)


def binary(header: dict[str, Any], data: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(header).encode()
    return text + data, {HEADER: str(len(text)) if length is None else length}


def sized(size: Any, name: str = "pictures", **changes: Any) -> dict[str, Any]:
    whole = {"name": name, "shape": [1, 2, 2], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
    return {"inputs": [whole | changes]}


FLOATS: dict[str, Any] = {"name": "prepared", "datatype": "FP32", "shape": [1, 3, SIDE, SIDE]}
NANS = np.full(3 * SIDE * SIDE, np.nan, "<f4").tobytes()


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (binary(sized(4), b"123"), SIZE),
        (binary(sized(4), b"12345"), SIZE),
        (binary(sized(5), b"12345"), CANNOT + "pictures needs 4 bytes and 5 came."),
        (binary(sized(3), b"123"), CANNOT + "pictures needs 4 bytes and 3 came."),
        (binary(sized(0), b""), CANNOT + "pictures needs 4 bytes and 0 came."),
        (binary(sized(-4), b"1234"), SIZE),
        (binary(sized("4"), b"1234"), SIZE),
        (binary(sized(True), b"1"), SIZE),
        (binary(sized(4, shape=[1, HUGE, HUGE]), b"1234"), CANNOT + f"pictures needs {HUGE**2} bytes and 4 came."),
        (binary(sized(4, data=[1, 2, 3, 4]), b"1234"), SIZE),
        (binary(GOOD, b"1234"), EITHER),
        (binary(sized(len(NANS), **FLOATS), NANS), FINITE),
        (binary(sized(4), b"1234", "0"), CANNOT + f"{HEADER} is not within the body."),
        (binary(sized(4), b"1234", "9999"), CANNOT + f"{HEADER} is not within the body."),
        (binary(sized(4), b"1234", "-1"), CANNOT + f"{HEADER} is no number."),
        (binary(sized(4), b"1234", "1e2"), CANNOT + f"{HEADER} is no number."),
        (binary(sized(4), b"1234", "9" * 5000), CANNOT + f"{HEADER} is no number."),
        (binary(sized(4), b"1234", "7"), JSON),
    ],
)
def test_binary_request_that_is_not_in_order_is_refused(
    client: TestClient, asked: tuple[bytes, dict[str, str]], message: str
) -> None:
    body, headers = asked
    check_refused(client.post(INFER, content=body, headers=headers), message)


@pytest.mark.usefixtures("nothing_runs")
def test_json_part_may_not_be_large(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "The JSON part of the request is too large; send the tensor as binary data."
    body, headers = binary(sized(4) | {"id": "x" * requests_module.HEADER_BYTES}, b"1234")
    check_refused(client.post(INFER, content=body, headers=headers), message, 413)
    monkeypatch.setattr(requests_module, "JSON_BYTES", 1000)
    check_refused(client.post(INFER, content=b" " * 1001), message, 413)
    check_refused(client.post(INFER, content=b" " * 1000), JSON)


@pytest.fixture
def full_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many large requests are being read as may be at once."""
    monkeypatch.setattr(requests_module, "LANE_SECONDS", 0.01)
    lane = threading.BoundedSemaphore(requests_module.LARGE_AT_ONCE)
    monkeypatch.setattr(requests_module, "_LARGE", lane)
    for _ in range(requests_module.LARGE_AT_ONCE):
        lane.acquire()


@pytest.mark.usefixtures("nothing_runs", "full_lane")
def test_large_json_waits_its_turn_and_is_turned_away_while_small_and_binary_requests_go_on(client: TestClient) -> None:
    limit = requests_module.LARGE_JSON_BYTES
    check_refused(client.post(INFER, content=b" " * limit), JSON)
    body, headers = binary(sized(4), b"1234" + b"x" * limit)
    check_refused(client.post(INFER, content=body, headers=headers), SIZE)
    full = "Too many large requests are being read just now. Send this one again, or its tensor as binary data."
    check_refused(client.post(INFER, content=b" " * (limit + 1)), full, 503)
    check_refused(client.post(INFER, content=b" " * (limit + 1), headers={HEADER: str(limit + 1)}), full, 503)


def test_a_large_request_gives_its_turn_back(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "LARGE_JSON_BYTES", 10)
    monkeypatch.setattr(requests_module, "LANE_SECONDS", 0.01)
    for _ in range(requests_module.LARGE_AT_ONCE + 1):
        assert client.post(INFER, json=GOOD).json()["outputs"][1]["data"] == ["calm", "wave", "storm"]
        check_refused(client.post(INFER, content=b" " * 100), JSON)


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size):
        yield b" "


@pytest.mark.usefixtures("nothing_runs")
def test_body_is_bounded_while_it_comes_in(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies_module, "BODY_BYTES", 1000)
    message = "The request is larger than the 0 MB that are accepted."
    check_refused(client.post(INFER, content=pieces(1001)), message, 413)
    check_refused(client.post(INFER, content=b" " * 1001), message, 413)
    check_refused(client.post(INFER, content=pieces(1000)), JSON)


@pytest.mark.usefixtures("nothing_runs")
def test_compressed_body_is_refused(client: TestClient) -> None:
    answer = client.post(INFER, json=GOOD, headers={"Content-Encoding": "gzip"})
    check_refused(answer, CANNOT + "compressed bodies are not accepted.")


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v2/models/other", 404, "There is no model other on the shelf."),
        ("GET", "/v2/models/other/ready", 404, "There is no model other on the shelf."),
        ("POST", "/v2/models/other/infer", 404, "There is no model other on the shelf."),
        ("GET", "/v2/models/tiny/versions/7", 404, "There is no model tiny on the shelf."),
        ("GET", "/v2/models/..%2f..%2fetc", 404, "There is nothing at this address, or not by this method."),
        ("GET", "/v2/models", 404, "There is nothing at this address, or not by this method."),
        ("GET", "/v2/models/tiny/infer", 405, "There is nothing at this address, or not by this method."),
        ("GET", "/", 404, "There is nothing at this address, or not by this method."),
    ],
)
def test_what_is_not_there_is_said_in_one_form(
    client: TestClient, method: str, path: str, status: int, message: str
) -> None:
    check_refused(client.request(method, path), message, status)


def test_fault_of_ours_tells_nothing(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path_factory.mktemp("shelf")
    make_folder(root)

    def burst(*_: object) -> None:
        raise RuntimeError("patient Jane Doe")

    monkeypatch.setattr(Model, "predict", burst)
    with TestClient(create_app(Served(Shelf(root), None)), raise_server_exceptions=False) as client:
        check_refused(client.post(INFER, json=GOOD), "Something went wrong on the server.", 500)


def test_model_that_cannot_be_opened_any_more_is_a_fault_and_no_result(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("shelf")
    folder = make_folder(root)
    with TestClient(create_app(Served(Shelf(root), None))) as client:
        (folder / "model.onnx").write_bytes(b"other")
        message = "model.onnx is not the file that the card describes."
        check_refused(client.post(INFER, json=GOOD), message, 500)
        check_refused(client.post(INFER, json=PREPARED), message, 500)


def test_an_id_that_is_no_text_of_any_encoding_comes_back_as_it_was(client: TestClient) -> None:
    answer = client.post(INFER, content=json.dumps(GOOD | {"id": "\ud800"}))
    assert (answer.status_code, answer.json()["id"]) == (200, "\ud800")


@pytest.mark.parametrize("binary", [True, False])
def test_features_that_are_no_numbers_are_refused(client: TestClient, binary: bool) -> None:
    body = given(PREPARED, data=[3e38] * (3 * SIDE * SIDE)) | {"parameters": {"binary_data_output": binary}}
    check_refused(client.post(INFER, json=body), "The model's answer is not a number.", 422)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("header", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}])
def test_without_a_token_no_browser_is_served(client: TestClient, header: dict[str, str]) -> None:
    answer = client.post(INFER, content=json.dumps(GOOD), headers=header)
    check_refused(answer, "Without a token this door is for programs, not for browsers.", 403)
