"""The whole way on drawn pictures: an NIH folder in, a model folder out that the shelf serves and predict measures."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from training.archive import Sample  # noqa: E402
from training.chest_card import demand_labels  # noqa: E402
from training.datasets.mapping import UnknownClass  # noqa: E402
from training.findings import SPEC, FindingsWishes, plan_findings, train_findings  # noqa: E402
from training.findings_data import read_findings  # noqa: E402
from training.finetune import Course  # noqa: E402
from training.mobilenetv2 import MobileNetV2  # noqa: E402

from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.shelf import Shelf, may_speak  # noqa: E402
from csss.predict.command import PredictOptions, run_predict  # noqa: E402
from nih_folder import LABELS, draw_chest, make_nih  # noqa: E402

pytestmark = pytest.mark.torch

QUICK = Course(
    stages=((32, 32), (32, 32)), head_rate=3e-3, rate=1e-4, batch=8, averaging=0.9, cell_power=1.0, strong=0.5,
    mixed=0.0, mixing=0.3, weight_decay=0.01, label_smoothing=0.0, warming_steps=2, seed=3,
)  # fmt: skip


def wish(root: Path, *courses: Course) -> FindingsWishes:
    return FindingsWishes(
        out=root / "models" / "nih-findings" / "1",
        cache=root / "cache",
        gate=None,
        foreign=None,
        backbone="mobilenetv2",
        courses=courses,
        seed=42,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    make_nih(root / "nih")
    torch.manual_seed(2)
    weights = {**MobileNetV2().state_dict(), "classifier.1.bias": torch.zeros(1000)}
    train_findings(root / "nih", weights, wish(root, QUICK))
    return root


def test_the_folder_is_whole_and_the_shelf_replays_it(trained: Path) -> None:
    shelf = Shelf(trained / "models")
    assert (shelf.problems, shelf.replay_golden()) == ((), ())
    card = shelf.model("nih-findings").card
    data = read_findings(trained / "nih", seed=42)
    assert (card.task, card.purpose, may_speak(card)) == ("findings", "comparison", False)
    assert tuple(label.name for label in card.labels) == LABELS
    assert card.training_data.fingerprint_sha256 == data.fingerprint_sha256
    counts = (card.training_data.train_images, card.training_data.validation_images, card.training_data.test_images)
    assert counts == tuple(len(data.of(split)) for split in ("train", "val", "test"))
    folder = trained / "models" / "nih-findings" / "1"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["card.json", *(file.name for file in card.files)])
    assert {"METRICS.md", "auroc.png", "reliability.png", "learning.png"} < {file.name for file in card.files}


def test_predict_measures_what_training_wrote(trained: Path) -> None:
    data = read_findings(trained / "nih", seed=42)
    rows = ["file,label,source,patient_id,split"]
    rows += [f"{each.file},{each.label},{each.source},{each.split_group},{each.split}" for each in data.samples]
    (trained / "truth.csv").write_text("\n".join(rows) + "\n")
    output = io.StringIO()
    options = PredictOptions(
        paths=(trained / "nih" / "images_001",), model="nih-findings", models=trained / "models",
        labels=trained / "truth.csv", split="test", json=True, summary=trained / "summary.json",
    )  # fmt: skip
    assert run_predict(options, output, io.StringIO()) == 0
    summary = json.loads((trained / "summary.json").read_text())
    card = Shelf(trained / "models").model("nih-findings").card
    figures = summary["figures"]
    assert (figures["images"], figures["refused"]) == (24, 0)
    kept = card.training_data
    assert [figures["exact"], figures["balanced_accuracy"], figures["macro_f1"], figures["mean_ece"]] == pytest.approx(
        [kept.test_accuracy, kept.test_balanced_accuracy, kept.test_macro_f1, kept.test_ece]
    )
    metrics = (trained / "models" / "nih-findings" / "1" / "METRICS.md").read_text()
    for entry, ends in zip(figures["classes"], summary["intervals_95"]["classes"], strict=True):
        row = f"| {entry['label']} | {entry['auroc']:.3f} | {ends['auroc']['low']:.3f} to {ends['auroc']['high']:.3f} |"
        assert row in metrics
        assert f"| {entry['label']} | {entry['support']} | {entry['present_from']:.3f} |" in metrics


def test_the_card_says_what_is_weak(trained: Path) -> None:
    limits = Shelf(trained / "models").model("nih-findings").card.limits
    assert any("mined from the text of reports" in limit for limit in limits)
    # Fewer than nineteen validation pictures of a label cannot promise 95 %.
    assert 'It never rules out Effusion, Mass, so it never states "No Finding".' in limits


def test_a_drawn_chest_gets_each_probability_by_itself(trained: Path) -> None:
    model = Shelf(trained / "models").model("nih-findings")
    said = model.predict(Volume(pixels=draw_chest(7, "Effusion|Mass")[None], kind=FileKind.PNG))
    assert tuple(name for name, _ in said.probabilities) == LABELS
    assert all(0.0 <= share <= 1.0 for _, share in said.probabilities)
    rule = model.card.findings
    reached = {name for (name, share), low in zip(said.probabilities, rule.present_from, strict=True) if share >= low}
    assert set(said.findings) == reached


def test_a_second_run_goes_on_from_its_files_and_gives_the_same_weights(trained: Path, tmp_path: Path) -> None:
    before = asdict(Shelf(trained / "models").model("nih-findings").card)
    checkpoints = {path: path.stat().st_mtime_ns for path in (trained / "cache").iterdir()}
    weights = {**MobileNetV2().state_dict(), "classifier.1.bias": torch.zeros(1000)}
    train_findings(trained / "nih", weights, replace(wish(trained, QUICK), out=tmp_path / "nih-findings" / "1"))
    after = asdict(Shelf(tmp_path).model("nih-findings").card)
    assert {path: path.stat().st_mtime_ns for path in (trained / "cache").iterdir()} == checkpoints
    assert (after["findings"], after["threshold"]) == (before["findings"], before["threshold"])


def test_the_plan_draws_the_data_as_they_lie_and_can_be_shortened() -> None:
    whole, short = plan_findings(42), plan_findings(42, 0.01)
    assert {(course.cell_power, course.label_smoothing) for course in whole} == {(1.0, 0.0)}
    drawn = [sum(count for _, count in course.stages) for course in (*whole, *short)]
    assert drawn == [160_000, 320_000, 1600, 3200]
    assert whole[-1].stages[-1][0] == SPEC.width_px


def test_chest_refuses_several_labels_and_names_this_command() -> None:
    sample = Sample("a.png", "COVID|Normal", "west", "train", "p", "", "")
    with pytest.raises(UnknownClass, match="`python -m training findings` fits"):
        demand_labels((sample,))
