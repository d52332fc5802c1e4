"""A model of several findings answers at the inference door with all of them and with the threshold of each."""

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_model import make_folder, make_picture, rework

from csss.entrypoints.oip.alone import create_app
from csss.entrypoints.oip.routes import Served
from csss.inference.card import Calibration
from csss.inference.findings_rule import FindingsRule
from csss.inference.shelf import Shelf
from entrypoints.oip.doors import tensor

RULE = FindingsRule((0.5, 0.4, 0.6), (0.2, 0.2, 0.2), "made up")
PICTURES = np.stack([make_picture(seed) for seed in range(6)])


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    root: Path = tmp_path_factory.mktemp("shelf")
    soft = Calibration("temperature", 6.0, (), (), "made up")
    rework(make_folder(root), task="findings", purpose="comparison", findings=RULE, calibration=soft)
    with TestClient(create_app(Served(Shelf(root), None))) as client:
        body = tensor("pictures", PICTURES.tolist(), "UINT8", list(PICTURES.shape))
        content = client.post("/v2/models/tiny/versions/1/infer", json=body).json()
    return {each["name"]: np.reshape(each["data"], each["shape"]).tolist() for each in content["outputs"]}


def test_all_findings_over_their_thresholds_are_named(answers: dict[str, list]) -> None:
    assert answers["thresholds"] == list(RULE.present_from)
    for shares, found in zip(answers["probabilities"], answers["findings"], strict=True):
        reached = {
            name for name, share, low in zip(answers["labels"], shares, RULE.present_from, strict=True) if share >= low
        }
        assert set(found.split("|")) - {""} == reached


def test_the_probabilities_are_each_of_its_own(answers: dict[str, list]) -> None:
    sums = np.sum(answers["probabilities"], axis=1)
    assert (len(sums), bool(np.abs(sums - 1.0).max() > 0.05)) == (6, True)
    tau = dict(zip(answers["labels"], answers["thresholds"], strict=True))
    assert answers["tau"] == [tau[label] for label in answers["top_label"]]
