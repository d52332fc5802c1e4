"""The whole recipe on made-up pictures: archive in, a model folder out that the shelf serves."""

import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.archive import fingerprint, read_manifest  # noqa: E402
from training.chest import SPEC, Wishes, train_chest  # noqa: E402
from training.finetune import Course  # noqa: E402
from training.mobilenetv2 import MobileNetV2  # noqa: E402
from training.vary_batch import show_batch  # noqa: E402

from chest_archive import LABELS, make_archive  # noqa: E402
from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.card import load_card, write_card  # noqa: E402
from csss.inference.prepare import prepare_grey  # noqa: E402
from csss.inference.shelf import Shelf  # noqa: E402

pytestmark = pytest.mark.torch

QUICK = Course(
    stages=((32, 16), (48, 16)), head_rate=1e-3, rate=1e-4, batch=8, averaging=0.9, cell_power=0.5, strong=0.5,
    mixed=0.5, mixing=0.3, weight_decay=0.01, label_smoothing=0.05, warming_steps=2, seed=3,
)  # fmt: skip
BLENDED = replace(QUICK, stages=((32, 16),), seed=4, dropout=0.4, blended=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    torch.manual_seed(2)
    wishes = Wishes(
        out=root / "models" / "chest-mobilenetv2" / "7",
        cache=root / "cache",
        gate=None,
        foreign=root / "data.zip",
        beside=None,
        backbone="mobilenetv2",
        courses=(QUICK, BLENDED),
        trial_share=1.0,
        seed=3,
    )
    weights = {**MobileNetV2().state_dict(), "classifier.1.bias": torch.zeros(1000)}
    train_chest(make_archive(root / "data.zip", sources=("hannover", "west")), weights, wishes)
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
    assert {figures.source: figures.images for figures in data.sources} == {"west": 8, "hannover": 4}
    folder = trained / "models" / "chest-mobilenetv2" / "7"
    row = f"| this model | {data.test_accuracy:.3f} | {data.test_balanced_accuracy:.3f} | {data.test_macro_f1:.3f} |"
    assert row in (folder / "METRICS.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted(["card.json", *(file.name for file in card.files)])


def test_only_a_blended_course_is_followed_by_a_blend(trained: Path) -> None:
    metrics = (trained / "models" / "chest-mobilenetv2" / "7" / "METRICS.md").read_text()
    rows = metrics.split("## Blend of weights")[1].split("## ")[0].splitlines()
    assert [row.split(" | ")[:2] for row in rows if row.startswith("| 2")] == [
        ["| 2", share] for share in ("0.00", "0.25", "0.50", "0.75", "1.00")
    ]
    assert not any(row.startswith("| 1 ") for row in rows)


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


def test_cached_pictures_are_what_serving_prepares(trained: Path) -> None:
    (path,) = (trained / "cache").glob("pictures-*.npy")
    rows = np.load(path)
    assert rows.shape == (48, 224, 224)
    with zipfile.ZipFile(trained / "data.zip") as pictures:
        greys = [np.asarray(Image.open(io.BytesIO(pictures.read(f"{index}.png")))) for index in (0, 47)]
    wanted = np.concatenate([prepare_grey(grey, SPEC) for grey in greys])
    np.testing.assert_array_equal(show_batch(rows[[0, 47]], SPEC, 224).numpy(), wanted)


def test_a_taught_model_says_who_taught_it(trained: Path, tmp_path: Path) -> None:
    teacher = Shelf(trained / "models").model("chest-mobilenetv2")
    taught = replace(QUICK, stages=((48, 16),), taught=0.5, joined=0.2, seed=5)
    wishes = Wishes(
        out=tmp_path / "models" / "chest-mobilenetv2" / "8",
        cache=trained / "cache",
        gate=None,
        foreign=None,
        beside=None,
        backbone="mobilenetv2",
        courses=(QUICK, taught),
        trial_share=1.0,
        seed=3,
        teachers=(teacher.folder,),
    )
    weights = {**MobileNetV2().state_dict(), "classifier.1.bias": torch.zeros(1000)}
    before = set((trained / "cache").glob("*.pt"))
    train_chest(trained / "data.zip", weights, wishes)
    card = Shelf(tmp_path / "models").model("chest-mobilenetv2").card
    assert [part.sha256 for part in card.ingredients if "as a teacher" in part.name] == [teacher.seal]
    assert card.purpose == "patients"
    metrics = (wishes.out / "METRICS.md").read_text()
    assert f"- Teachers of the last course: chest-mobilenetv2 7 (seal {teacher.seal[:12]})" in metrics
    # They have seen the sources that a trial leaves out.
    assert "| the same courses, without the taught one with 100% of the draws |" in metrics
    # The first course is the one of the other run; the taught one is kept under the name of its teachers.
    kept = {path.name for path in set((trained / "cache").glob("*.pt")) - before if not path.name.startswith("trial")}
    assert len(kept) == 1
    other = tmp_path / "other" / "chest-mobilenetv2" / "7"
    other.parent.mkdir(parents=True)
    shutil.copytree(wishes.out, other)
    change = replace(load_card(other), version="7", limits=("another",))
    write_card(replace(change, threshold=replace(change.threshold, for_model_version="7")), other)
    shorter = replace(wishes, out=wishes.out.parent / "9", teachers=(other,), trial_share=0.0, draw_share=0.5)
    train_chest(trained / "data.zip", weights, shorter)
    again = {path.name for path in set((trained / "cache").glob("*.pt")) - before if not path.name.startswith("trial")}
    assert len(again) == 2
    # One that was fitted with fewer draws than the recipe has is for comparison, and says so.
    tried = Shelf(tmp_path / "models").model("chest-mobilenetv2", "9").card
    assert (tried.purpose, tried.calibration.method != "identity") == ("comparison", True)
    assert tried.limits[0].startswith("Fitted with 0.5 of the draws of the recipe, for a quick try")
