"""A fitted network behind a gate becomes a folder: calibrated, with sets, measured through the gate, replayable."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny_model import GATE_GREYS, SPEC, make_gate_folder

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.archive import read_grey, read_manifest  # noqa: E402
from training.chest_card import need_gate  # noqa: E402
from training.export import export_onnx, fold_grey  # noqa: E402
from training.finetune import Epoch  # noqa: E402
from training.folder import Fitted, finish_folder  # noqa: E402
from training.pictures import cache_pictures  # noqa: E402
from training.quantise import pool  # noqa: E402

from chest_archive import LABELS, make_archive  # noqa: E402
from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.card import FLOAT_REPLAY, Ingredient, ModelCard  # noqa: E402
from csss.inference.gate import NotThisKind  # noqa: E402
from csss.inference.shelf import Shelf  # noqa: E402

pytestmark = pytest.mark.torch
WIDE = {**GATE_GREYS, "chest-xray": 90, "chest-xray-turned": 250, "chest-xray-inverted": 255, "chest-phantom": 1}
WIDE["other"] = 0
"""A gate that takes every picture of the made-up archive, and the golden one, for a chest."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelCard]:
    root = tmp_path_factory.mktemp("finished")
    make_gate_folder(root / "models", greys=WIDE)
    archive = make_archive(root / "data.zip")
    samples = read_manifest(archive)
    torch.manual_seed(1)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 8, 8), torch.nn.ReLU()).eval()
    model, spec = fold_grey(export_onnx(backbone, torch.zeros(1, 3, SPEC.height_px, SPEC.width_px)), SPEC)
    random = np.random.default_rng(2)
    shapes = ((128, 12), (128,), (len(LABELS), 128), (len(LABELS),))
    card = finish_folder(
        Fitted(
            archive=archive,
            samples=samples,
            spec=spec,
            shown=SPEC,
            model=model,
            backbone=backbone,
            pooled=pool(model, cache_pictures(archive, samples, SPEC, folder=root / "cache"), spec, 1),
            dense=tuple(random.normal(scale=0.3, size=shape).astype(np.float32) for shape in shapes),
            history=(Epoch(1, 1.0, 1.0, 0.5),),
            trials=(),
            blends=(),
            precisions=(),
            replay=FLOAT_REPLAY,
            command="python -m training chest",
            seed=3,
            ingredients=(Ingredient("weights", "random numbers", "MIT", None),),
            for_patients=True,
        ),
        out=root / "models" / "chest" / "2",
        gate=root / "models",
        foreign=archive,
        beside=None,
    )
    return root, card


def test_the_model_stands_behind_the_gate_and_replays(finished: tuple[Path, ModelCard]) -> None:
    root, card = finished
    shelf = Shelf(root / "models")
    assert (shelf.problems, shelf.replay_golden()) == ((), ())
    model = shelf.model("chest")
    assert model.card == card
    assert (card.gate, card.quality, card.purpose) == (need_gate(shelf.model("input-gate")), "chest", "patients")
    assert model.gate is shelf.model("input-gate")
    with pytest.raises(NotThisKind):
        model.predict(Volume(pixels=np.zeros((1, 64, 64), np.uint8), kind=FileKind.PNG))


def test_the_rules_of_doubt_hold_on_the_validation_split(finished: tuple[Path, ModelCard]) -> None:
    """Probabilities, sets and distance are those that serving computes: so many pictures are within each limit."""
    root, card = finished
    model, said = Shelf(root / "models").model("chest"), []
    with zipfile.ZipFile(root / "data.zip") as pictures:
        for sample in read_manifest(root / "data.zip"):
            if sample.split == "val":
                volume = Volume(pixels=read_grey(pictures, sample)[None], kind=FileKind.PNG)
                said.append((sample.label, model.predict(volume)))
    assert card.conformal is not None
    assert (card.conformal.coverage, card.conformal.fitted_on) == (0.9, "the validation split")
    for index, label in enumerate(LABELS):
        own = sorted(dict(prediction.probabilities)[label] for truth, prediction in said if truth == label)
        rank = int(0.1 * (len(own) + 1) + 1e-9)
        assert card.conformal.at_least[index] == pytest.approx(own[rank - 1] if rank else 0.0, abs=1e-4)
    assert card.calibration.method in ("temperature", "vector")
    assert sum(prediction.ood_distance > card.ood.limit for _, prediction in said) <= 1
    assert max(prediction.ood_distance for _, prediction in said) > 0.99 * card.ood.limit


def test_maps_without_evidence_are_hidden_and_the_golden_case_has_none(finished: tuple[Path, ModelCard]) -> None:
    """No lungs are found in these pictures, so no map was ever judged."""
    root, card = finished
    assert card.explanation.shown is False
    assert "That is too little to be shown: the maps are hidden." in card.explanation.evidence
    assert card.explanation.against == "Normal"
    assert card.explanation.evidence.startswith(
        "They show what speaks for the likeliest finding rather than for Normal"
    )
    assert (card.risk.plausible_from, card.risk.rule[:27]) == (0.1, "An order of attention, not ")
    grey = np.full((1, 64, 64), 90, np.uint8)
    said = Shelf(root / "models").model("chest").predict(Volume(pixels=grey, kind=FileKind.PNG))
    assert (said.heat, said.regions) == (None, ())


def test_metrics_are_of_answers_through_the_gate(finished: tuple[Path, ModelCard]) -> None:
    root, card = finished
    text = (root / "models/chest/2/METRICS.md").read_text()
    assert "Refused by the gate: 0 of 12 test pictures." in text
    assert "## Conformal sets" in text
    assert f"| this model | {card.training_data.test_accuracy:.3f} | " in text
    assert "| chest X-ray (test split) | 12 | 0 | " in text
