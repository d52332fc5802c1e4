"""Teachers: what they say together, who may teach, and that a taught course listens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import SIDE, SPEC

from model_shelves import OTHER_HEAD, make_version

torch = pytest.importorskip("torch")

from training.aims import OneLabel  # noqa: E402
from training.archive import Sample, fingerprint  # noqa: E402
from training.chest_net import ChestNet  # noqa: E402
from training.finetune import Course, Pictures, _Run, fit_course, run_pictures  # noqa: E402
from training.ranks import Ranks  # noqa: E402
from training.teaching import Teachers  # noqa: E402
from training.vary_batch import show_batch  # noqa: E402

from csss.foundation.errors import Unprocessable  # noqa: E402
from csss.imaging.sniff import FileKind  # noqa: E402
from csss.imaging.volume import Volume  # noqa: E402
from csss.inference.card import Label, Risk, TrainingData  # noqa: E402
from csss.inference.shelf import Shelf  # noqa: E402

pytestmark = pytest.mark.torch
SAMPLES = tuple(
    Sample(f"{label}.png", label, "s", "train", label, "MIT", "a" * 64) for label in ("calm", "wave", "storm")
)
ALONE = Ranks(0, 1, torch.device("cpu"))
COURSE = Course(
    stages=((SIDE, 256),) * 3, head_rate=3e-2, rate=1e-2, batch=16, averaging=0.9, cell_power=1.0, strong=0.0,
    mixed=0.0, mixing=0.3, weight_decay=0.0, label_smoothing=0.0, warming_steps=3, seed=4, dropout=0.0,
)  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    for version, head_seed in (("1", 2), ("2", OTHER_HEAD)):
        make_version(tmp_path, version, head_seed=head_seed, changes=taught_by(SAMPLES))
    return tmp_path


def taught_by(samples: tuple[Sample, ...]) -> dict[str, Any]:
    """What a card says of a model that was fitted on these pictures; its labels in the order of their names."""
    data = TrainingData(fingerprint(samples), "made up", 1, 1, 1, 0.5, 0.5, 0.5, 0.5, ())
    names = ("calm", "storm", "wave")
    return {"training_data": data, "labels": tuple(Label(name, name, None, Risk.LOW) for name in names)}


def greys(count: int = 5) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, SIDE, SIDE)).astype(np.uint8)


def served(shelf: Path, version: str, pictures: np.ndarray) -> np.ndarray:
    """What a version says of pictures where it is served."""
    model = Shelf(shelf).model("tiny", version)
    predictions = [model.predict(Volume(pixels=grey[None], kind=FileKind.PNG)) for grey in pictures]
    return np.array([[share for _, share in prediction.probabilities] for prediction in predictions])


def teachers(*folders: Path) -> Teachers:
    return Teachers(folders, SAMPLES, SPEC, 1)


def test_teachers_say_the_geometric_mean_of_what_they_say_where_they_are_served(shelf: Path) -> None:
    pictures = greys()
    batch = show_batch(pictures, SPEC, SIDE)
    first, second = served(shelf, "1", pictures), served(shelf, "2", pictures)
    one = teachers(shelf / "tiny/1").answer(batch).numpy()
    np.testing.assert_allclose(one, first, atol=1e-5)
    both = teachers(shelf / "tiny/1", shelf / "tiny/2")
    mean = np.sqrt(first * second)
    np.testing.assert_allclose(both.answer(batch).numpy(), mean / mean.sum(axis=1, keepdims=True), atol=1e-5)
    seals = [Shelf(shelf).model("tiny", version).seal for version in ("1", "2")]
    assert both.names == tuple(f"tiny {at} (seal {seal[:12]})" for at, seal in enumerate(seals, start=1))
    assert [part.sha256 for part in both.ingredients] == seals


def test_a_teacher_is_shown_pictures_of_its_own_size(shelf: Path) -> None:
    flat = np.full((2, 3 * SIDE, 3 * SIDE), 90, np.uint8)
    said = teachers(shelf / "tiny/1").answer(show_batch(flat, SPEC, 3 * SIDE)).numpy()
    np.testing.assert_allclose(said, served(shelf, "1", flat), atol=1e-5)


def test_who_states_other_labels_or_sees_another_part_cannot_teach(shelf: Path) -> None:
    moved = (replace(SAMPLES[0], split="test"), *SAMPLES[1:])
    for samples, spec, reason in (
        (SAMPLES[:2], SPEC, "other labels"),
        (moved, SPEC, "other data or another split"),
        (SAMPLES, replace(SPEC, framing="lungs"), "another part of the picture"),
    ):
        with pytest.raises(Unprocessable, match=f"tiny 1 cannot teach: .*{reason}") as caught:
            Teachers([shelf / "tiny/1"], samples, spec, 1)
        assert caught.value.code == "teacher-unfit"


def make_network() -> ChestNet:
    torch.manual_seed(1)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    return ChestNet(body, 8, 3, 0.0)


def shades(count: int = 48) -> Pictures:
    """Pictures of all shades, of which teachers think differently; every label is the same wrong one or another."""
    pictures = np.repeat(np.linspace(5, 250, count), SIDE * SIDE).reshape(count, SIDE, SIDE).astype(np.uint8)
    rows = np.arange(count)
    return Pictures(pictures, rows % 3, np.zeros(count, np.int64), rows, rows)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_taught_course_learns_what_its_teachers_say_and_not_the_labels(
    shelf: Path, tmp_path: Path, bfloat16: bool
) -> None:
    known, pictures = teachers(shelf / "tiny/1"), shades()
    wanted = known.answer(show_batch(pictures.greys, SPEC, SIDE)).numpy()
    found = {}
    for taught in (0.0, 1.0):
        network, course = make_network(), replace(COURSE, taught=taught, bfloat16=bfloat16)
        fit_course(network, pictures, course, SPEC, checkpoint=tmp_path / str(taught), ranks=ALONE, teachers=known)
        logits = torch.from_numpy(run_pictures(network, pictures.greys, SPEC, SIDE, ALONE.device))
        found[taught] = float(-(wanted * torch.log_softmax(logits, 1).numpy()).sum(1).mean())
    # The labels are spread evenly over the shades, so who listens to them knows nothing: log 3.
    assert found[0.0] == pytest.approx(np.log(3), abs=0.2)
    assert found[1.0] < 0.7 * found[0.0]


def test_a_taught_course_without_teachers_is_no_course() -> None:
    with pytest.raises(ValueError, match="needs teachers"):
        _Run(make_network(), shades(), replace(COURSE, taught=0.5), ALONE)


def test_joined_pictures_are_the_left_of_one_and_the_right_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _Run(make_network(), shades(), replace(COURSE, joined=1.0), ALONE)
    batch = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 30, 30)
    wanted = torch.eye(6)
    torch.manual_seed(5)
    seen, shares = run._mix(batch, wanted, np.random.default_rng(6))
    torch.manual_seed(5)
    other = torch.randperm(6)
    seam = int((seen[0, 0, 0] == 0.0).sum()) if other[0] != 0 else None
    assert seam is not None
    assert 10 <= seam <= 20
    assert torch.equal(seen[..., :seam], batch[..., :seam])
    assert torch.equal(seen[..., seam:], batch[other][..., seam:])
    share = float(shares[0, 0])
    assert round(share * 30) == seam
    torch.testing.assert_close(shares, share * wanted + (1.0 - share) * wanted[other])


class Listening(Teachers):
    """Teachers that remember what they were shown and what they said."""

    def __init__(self, shelf: Path) -> None:
        super().__init__([shelf / "tiny/1"], SAMPLES, SPEC, 1)
        self.shown: list[Any] = []
        self.said: list[Any] = []

    def answer(self, batch: Any) -> Any:
        self.shown.append(batch.clone())
        self.said.append(super().answer(batch))
        return self.said[-1]


class Noting(OneLabel):
    """The usual aim, and what came by."""

    def __init__(self) -> None:
        self.smoothed: list[Any] = []
        self.wanted_in_loss: list[Any] = []

    def smooth(self, wanted: Any, share: float) -> Any:
        self.smoothed.append(super().smooth(wanted, share))
        return self.smoothed[-1]

    def loss(self, logits: Any, wanted: Any) -> Any:
        self.wanted_in_loss.append(wanted)
        return super().loss(logits, wanted)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_teachers_are_shown_what_the_pupil_is_shown_mixed_and_joined(
    shelf: Path, tmp_path: Path, bfloat16: bool
) -> None:
    known, aim, network = Listening(shelf), Noting(), make_network()
    shown: list[Any] = []
    inside: list[Any] = []

    def see(module: Any, given: Any) -> None:
        if module.training:  # and not while the average is judged
            shown.append(given[0].clone())

    def look_inside(module: Any, _: Any, out: Any) -> None:
        if module.training:
            inside.append(out.dtype)

    network.register_forward_pre_hook(see)
    network.backbone[0].register_forward_hook(look_inside)
    course = replace(
        COURSE, stages=((SIDE, 128),), mixed=0.5, joined=0.5, label_smoothing=0.1, taught=0.4, bfloat16=bfloat16
    )
    fit_course(network, shades(), course, SPEC, checkpoint=tmp_path / "a.pt", ranks=ALONE, aim=aim, teachers=known)
    assert len(shown) == len(known.shown) == len(aim.wanted_in_loss) == 128 // 16
    for ours, theirs in zip(shown, known.shown, strict=True):
        assert torch.equal(ours, theirs)
    assert set(inside) == {torch.bfloat16 if bfloat16 else torch.float32}
    for smoothed, said, wanted in zip(aim.smoothed, known.said, aim.wanted_in_loss, strict=True):
        torch.testing.assert_close(wanted, 0.6 * smoothed + 0.4 * said)
        # Every batch was mixed or joined: what is wanted of most pictures is more than one label.
        assert ((smoothed > 0.04).sum(dim=1) > 1).float().mean() > 0.3


class Fixed:
    """A generator of numbers whose next ones are known."""

    def __init__(self, lot: float) -> None:
        self.lot = lot

    def random(self) -> float:
        return self.lot

    def beta(self, *_: float) -> float:
        return 0.25

    def uniform(self, *_: float) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("lot", "kind"), [(0.0, "mixed"), (0.39, "mixed"), (0.41, "joined"), (0.79, "joined"), (0.81, "")]
)
def test_the_lot_falls_on_mixed_then_joined_then_plain(lot: float, kind: str) -> None:
    run = _Run(make_network(), shades(), replace(COURSE, mixed=0.4, joined=0.4), ALONE)
    batch = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 8, 8)
    torch.manual_seed(5)
    seen, wanted = run._mix(batch, torch.eye(6), Fixed(lot))
    own = {"mixed": 0.25, "joined": 0.5, "": 1.0}[kind]
    torch.manual_seed(5)
    torch.testing.assert_close(wanted, own * torch.eye(6) + (1.0 - own) * torch.eye(6)[torch.randperm(6)])
    flat = (seen == seen[..., :1]).all()
    assert bool(flat) is (kind != "joined")
    assert torch.equal(seen, batch) is (kind == "")
