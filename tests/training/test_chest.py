"""The whole recipe on made-up pictures: archive in, a model folder out that the shelf serves."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.archive import Sample, fingerprint, read_manifest  # noqa: E402
from training.chest import SPEC, Recipe, train_chest  # noqa: E402
from training.chest_whole import WholeRecipe, train_whole  # noqa: E402
from training.mobilenetv2 import MobileNetV2  # noqa: E402
from training.whole import to_batch  # noqa: E402

from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.prepare import prepare_grey  # noqa: E402
from csss.inference.shelf import Shelf  # noqa: E402

pytestmark = pytest.mark.torch
LABELS = ("COVID", "Normal")


def make_archive(path: Path, *, sources: tuple[str, str] = ("west", "east")) -> Path:
    random = np.random.default_rng(1)
    names = tuple(Sample.__dataclass_fields__)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(48):
            label, split = LABELS[index % 2], ("train", "train", "val", "test")[index // 2 % 4]
            buffer = io.BytesIO()
            grey = random.integers(0, 120, (64, 64)) + (100 if label == "COVID" else 0)
            Image.fromarray(grey.astype(np.uint8)).save(buffer, "PNG")
            archive.writestr(f"{index}.png", buffer.getvalue())
            source = sources[1] if index % 3 else sources[0]
            writer.writerow((f"{index}.png", label, source, split, f"p{index}", "MIT", f"{index:064x}"))
        archive.writestr("manifest.csv", text.getvalue())
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    torch.manual_seed(2)
    train_chest(
        make_archive(root / "data.zip"),
        root / "models" / "chest-mobilenetv2" / "7",
        weights={**MobileNetV2().state_dict(), "classifier.1.bias": torch.zeros(1000)},
        cache=root / "cache",
        foreign=root / "data.zip",
        recipe=Recipe(epochs=1, variants=1, seed=3),
    )
    return root


def test_train_chest_writes_a_folder_that_the_shelf_serves(trained: Path) -> None:
    shelf = Shelf(trained / "models")
    assert shelf.replay_golden() == ()
    card = shelf.model("chest-mobilenetv2").card
    data = card.training_data
    assert [label.name for label in card.labels] == list(LABELS)
    assert (card.version, card.threshold.tau, card.phantom_trained) == ("7", 0.75, False)
    assert (data.train_images, data.validation_images, data.test_images) == (24, 12, 12)
    assert data.fingerprint_sha256 == fingerprint(read_manifest(trained / "data.zip"))
    assert {figures.source: figures.images for figures in data.sources} == {"east": 8, "west": 4}
    folder = trained / "models" / "chest-mobilenetv2" / "7"
    row = f"| this model | {data.test_accuracy:.3f} | {data.test_balanced_accuracy:.3f} | {data.test_macro_f1:.3f} |"
    assert row in (folder / "METRICS.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted(["card.json", *(file.name for file in card.files)])


def test_train_chest_measures_what_is_served(trained: Path) -> None:
    model = Shelf(trained / "models").model("chest-mobilenetv2")
    right = []
    with zipfile.ZipFile(trained / "data.zip") as pictures:
        for sample in read_manifest(trained / "data.zip"):
            if sample.split == "test":
                grey = np.asarray(Image.open(io.BytesIO(pictures.read(sample.file))))
                volume = Volume(pixels=grey[None], kind=FileKind.PNG)
                right.append(model.predict(volume).top_label == sample.label)
    assert model.card.training_data.test_accuracy == pytest.approx(np.mean(right))


def test_cached_activations_are_those_of_each_picture(trained: Path) -> None:
    (path,) = (trained / "cache").glob("activations-*.npy")
    rows = np.load(path)
    assert rows.shape == (72, 96, 14, 14)
    torch.manual_seed(2)
    lower = MobileNetV2().eval().features[:14]
    with zipfile.ZipFile(trained / "data.zip") as pictures:
        batch = [prepare_grey(np.asarray(Image.open(io.BytesIO(pictures.read(f"{i}.png")))), SPEC) for i in (0, 47)]
    with torch.inference_mode():
        wanted = lower(torch.from_numpy(np.concatenate(batch))).numpy()
    np.testing.assert_allclose(rows[[0, 47]], wanted, rtol=2e-3, atol=2e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    torch.manual_seed(2)
    train_whole(
        make_archive(root / "data.zip", sources=("hannover", "west")),
        root / "models" / "chest-mobilenetv2" / "8",
        weights={**MobileNetV2().state_dict(), "classifier.1.bias": torch.zeros(1000)},
        cache=root / "cache",
        foreign=None,
        recipe=WholeRecipe(Recipe(epochs=1, variants=1, seed=3), (32, 48), (1.0, 0.5), 32, (32,), 32),
    )
    return root


def test_train_whole_writes_a_folder_that_the_shelf_serves(whole: Path) -> None:
    shelf = Shelf(whole / "models")
    assert shelf.replay_golden() == ()
    card = shelf.model("chest-mobilenetv2").card
    data = card.training_data
    assert (card.version, card.threshold.for_model_version) == ("8", "8")
    assert (data.train_images, data.validation_images, data.test_images) == (24, 12, 12)
    metrics = (whole / "models" / "chest-mobilenetv2" / "8" / "METRICS.md").read_text()
    rows = [line for line in metrics.splitlines() if line.startswith(("| whole network, ", "| head on frozen"))]
    assert len(rows) == 6
    row = f"| this model | {data.test_accuracy:.3f} | {data.test_balanced_accuracy:.3f} | {data.test_macro_f1:.3f} |"
    assert row in metrics


def test_cached_pictures_are_what_serving_prepares(whole: Path) -> None:
    (path,) = (whole / "cache").glob("pictures-*.npy")
    rows = np.load(path)
    assert rows.shape == (48, 224, 224)
    with zipfile.ZipFile(whole / "data.zip") as pictures:
        greys = [np.asarray(Image.open(io.BytesIO(pictures.read(f"{index}.png")))) for index in (0, 47)]
    wanted = np.concatenate([prepare_grey(grey, SPEC) for grey in greys])
    np.testing.assert_array_equal(to_batch(rows[[0, 47]], SPEC).numpy(), wanted)
