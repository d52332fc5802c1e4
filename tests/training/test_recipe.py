"""papers-recipe end to end on made-up pictures, and its early stopping."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.archive import fingerprint, read_grey, read_manifest  # noqa: E402
from training.mobilenetv2 import FEATURE_CHANNELS, MobileNetV2  # noqa: E402
from training.recipe import PATIENCE, SPEC, train_recipe  # noqa: E402

from chest_archive import LABELS, make_archive  # noqa: E402
from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.card import Calibration  # noqa: E402
from csss.inference.prepare import prepare_grey  # noqa: E402
from csss.inference.shelf import Shelf  # noqa: E402
from training import recipe  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recipe")
    torch.manual_seed(2)
    make_archive(root / "data.zip")
    weights, out = MobileNetV2().state_dict(), root / "models" / "papers-recipe" / "1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "MOST_EPOCHS", 3)
        train_recipe(root / "data.zip", weights, out=out, cache=root / "cache", foreign=None, seed=3)
    return root


def test_the_recipe_is_a_folder_that_the_shelf_holds_for_comparison_only(trained: Path) -> None:
    shelf = Shelf(trained / "models")
    assert shelf.replay_golden() == ()
    card = shelf.model("papers-recipe").card
    assert (card.purpose, card.task, card.gate, card.quality, card.conformal) == (
        "comparison", "classify", None, None, None,
    )  # fmt: skip
    assert card.calibration == Calibration("identity", 1.0, (), (), "not calibrated, as in the papers")
    assert (card.threshold.tau, card.explanation.shown) == (0.75, False)
    assert (card.input.mean, card.input.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert card.training_data.fingerprint_sha256 == fingerprint(read_manifest(trained / "data.zip"))
    assert [model.card.name for model in shelf.fitting("DX", "CHEST")] == []


def test_its_figures_are_those_of_its_served_answers(trained: Path) -> None:
    model = Shelf(trained / "models").model("papers-recipe")
    answers = []
    with zipfile.ZipFile(trained / "data.zip") as pictures:
        for sample in read_manifest(trained / "data.zip"):
            if sample.split == "test":
                said = model.predict(Volume(pixels=read_grey(pictures, sample)[None], kind=FileKind.PNG))
                answers.append((sample.label, said.top_label))
    right = float(np.mean([truth == said for truth, said in answers]))
    assert model.card.training_data.test_accuracy == pytest.approx(right)
    text = (trained / "models/papers-recipe/1/METRICS.md").read_text()
    for label in LABELS:
        own = [said == label for truth, said in answers if truth == label]
        assert f"| {label} | {len(own)} | {np.mean(own):.3f} |" in text
    assert "## Conformal sets" not in text


def test_its_features_are_of_grey_levels_from_0_to_1(trained: Path) -> None:
    (path,) = (trained / "cache").glob("recipe-*.npy")
    pooled = np.load(path)
    assert pooled.shape == (48, FEATURE_CHANNELS)
    samples = read_manifest(trained / "data.zip")
    model = Shelf(trained / "models").model("papers-recipe")
    with zipfile.ZipFile(trained / "data.zip") as pictures:
        grey = read_grey(pictures, samples[5])
    batch = prepare_grey(grey, SPEC)
    assert 0.0 <= batch.min() < batch.max() <= 1.0
    np.testing.assert_allclose(pooled[5], model.features(batch)[0].mean(axis=(1, 2)), rtol=1e-3, atol=1e-5)


def test_a_second_run_reads_its_features_back(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "pool", None)
    monkeypatch.setattr(recipe, "finish_folder", lambda fitted, **_: seen.append(fitted))
    seen: list = []
    weights = MobileNetV2().state_dict()
    train_recipe(trained / "data.zip", weights, out=tmp_path / "r" / "1", cache=trained / "cache", foreign=None, seed=3)
    (path,) = (trained / "cache").glob("recipe-*.npy")
    np.testing.assert_array_equal(seen[0].pooled, np.load(path))


def make_rows() -> recipe._Rows:
    """What is learned from the first forty rows is wrong of every third of the others."""
    random = np.random.default_rng(1)
    truth = np.arange(60) % 2
    inputs = random.normal(size=(60, FEATURE_CHANNELS)) + truth[:, None]
    truth = np.where((np.arange(60) >= 40) & (np.arange(60) % 3 == 0), 1 - truth, truth)
    rows = np.arange(60)
    return recipe._Rows(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(truth), rows[:40], rows[40:])


def test_the_fit_stops_three_epochs_after_its_best_and_returns_that() -> None:
    rows = make_rows()
    dense, history = recipe._fit(rows, 2, 4)
    losses = [epoch.val_loss for epoch in history]
    best = int(np.argmin(losses))
    assert len(history) - 1 - best == PATIENCE
    with torch.inference_mode():
        logits = dense(rows.inputs[rows.validation])
        loss = torch.nn.functional.cross_entropy(logits, rows.truth[rows.validation]).item()
    assert loss == pytest.approx(losses[best], rel=1e-5)
    assert loss < min(losses[:best] + losses[best + 1 :])
    assert [tuple(layer.weight.shape) for layer in (dense[0], dense[2])] == [(128, FEATURE_CHANNELS), (2, 128)]


def test_the_fit_repeats_itself_for_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "MOST_EPOCHS", 2)
    first, again, other = (recipe._fit(make_rows(), 2, seed)[1] for seed in (4, 4, 5))
    assert first == again != other
