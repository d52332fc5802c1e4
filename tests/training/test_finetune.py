"""A fit in courses: what is drawn, how it goes on after a stop, what the average is, and which rate each part has."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import SPEC

torch = pytest.importorskip("torch")

from training.chest_net import ChestNet  # noqa: E402
from training.finetune import Course, Epoch, Pictures, _Run, chances, fit_course, run_pictures  # noqa: E402
from training.ranks import Ranks  # noqa: E402
from training.vary_batch import show_batch  # noqa: E402

from training import finetune  # noqa: E402

pytestmark = pytest.mark.torch
ALONE = Ranks(0, 1, torch.device("cpu"))
COURSE = Course(
    stages=((32, 32), (40, 32), (32, 32)), head_rate=1e-2, rate=1e-3, batch=8, averaging=0.9, cell_power=0.5,
    strong=0.5, mixed=0.5, mixing=0.3, weight_decay=0.05, label_smoothing=0.05, warming_steps=3, seed=4,
    framing="whole",
)  # fmt: skip


def make_network(seed: int = 1) -> ChestNet:
    torch.manual_seed(seed)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, 4), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    return ChestNet(body, 4, 2, 0.2)


def make_pictures() -> Pictures:
    """Thirty noisy pictures, every second one brighter; the last ten are for validation."""
    random = np.random.default_rng(2)
    truth = np.arange(30) % 2
    greys = random.integers(0, 100, (30, 32, 32)) + 110 * truth[:, None, None]
    rows = np.arange(30)
    return Pictures(greys.astype(np.uint8), truth, np.arange(30) % 3 // 2, rows[:20], rows[20:])


def fit(path: Path, course: Course = COURSE, seed: int = 1, pictures: Pictures | None = None) -> tuple:
    network = make_network(seed)
    history = fit_course(network, pictures or make_pictures(), course, SPEC, checkpoint=path, ranks=ALONE)
    return network.state_dict(), history


def equal(first: dict, second: dict) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


class Stopped(Exception):
    """Somebody ends the run."""


def stop_in_stage(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a fit after the training of a stage, before it is judged and kept."""
    asked = []

    def judge(*given: object) -> np.ndarray:
        asked.append(given)
        if len(asked) == number:
            raise Stopped
        return run_pictures(*given)

    monkeypatch.setattr(finetune, "run_pictures", judge)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_fit_that_was_stopped_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    weights, history = fit(tmp_path / "whole.pt")
    with monkeypatch.context() as patch:
        stop_in_stage(stage, patch)
        with pytest.raises(Stopped):
            fit(tmp_path / "stopped.pt")
    assert (tmp_path / "stopped.pt").exists() is (stage > 1)
    torch.rand(7)  # another process has drawn other numbers by then
    resumed, whole_history = fit(tmp_path / "stopped.pt", seed=1 if stage == 1 else 99)
    assert [replace(epoch) for epoch in whole_history] == list(history)
    assert equal(weights, resumed)


def test_a_finished_fit_is_read_back_and_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, history = fit(tmp_path / "a.pt")
    stop_in_stage(1, monkeypatch)
    again, same = fit(tmp_path / "a.pt", seed=99)
    assert same == history
    assert [epoch.number for epoch in same] == [1, 2, 3]
    assert equal(weights, again)


def test_a_fit_learns_what_can_be_seen_and_another_seed_gives_another(tmp_path: Path) -> None:
    longer = replace(COURSE, stages=((32, 160), (32, 160)))
    weights, history = fit(tmp_path / "a.pt", longer)
    assert history[-1].val_macro_f1 == 1.0
    assert history[-1].val_loss < 0.69
    other, _ = fit(tmp_path / "b.pt", replace(longer, seed=5))
    assert not equal(weights, other)


def test_validation_pictures_are_judged_and_never_drawn(tmp_path: Path) -> None:
    pictures = make_pictures()
    greys, truth = pictures.greys.copy(), pictures.truth.copy()
    greys[20:], truth[20:] = 255 - greys[20:], 1 - truth[20:]
    other = replace(pictures, greys=greys, truth=truth)
    weights, history = fit(tmp_path / "a.pt")
    same, judged = fit(tmp_path / "b.pt", pictures=other)
    assert equal(weights, same)
    assert [epoch.train_loss for epoch in history] == [epoch.train_loss for epoch in judged]
    assert [epoch.val_loss for epoch in history] != [epoch.val_loss for epoch in judged]


@pytest.mark.parametrize("part", ["strong", "mixed", "label_smoothing", "cell_power", "weight_decay", "warming_steps"])
def test_each_part_of_a_course_changes_the_fit_and_its_key(tmp_path: Path, part: str) -> None:
    course = replace(COURSE, stages=((32, 24),))
    changed = replace(course, **{part: 0.0 if part != "warming_steps" else 30})
    assert course.key != changed.key
    assert not equal(fit(tmp_path / "a.pt", course)[0], fit(tmp_path / "b.pt", changed)[0])


def test_the_key_names_every_field() -> None:
    keys = {COURSE.key}
    for field in fields(COURSE):
        value = getattr(COURSE, field.name)
        other = {"stages": ((32, 8),), "framing": "lungs"}
        keys.add(replace(COURSE, **{field.name: other[field.name] if field.name in other else value + 1}).key)
    assert len(keys) == len(fields(COURSE)) + 1
    assert replace(COURSE).key == COURSE.key


TRUTH, SOURCE = np.array([0, 0, 0, 0, 1, 1, 0]), np.array([0, 0, 0, 0, 0, 0, 1])
"""Cells of label x source of 4, 2 and 1 pictures."""


@pytest.mark.parametrize(
    ("power", "cells"), [(0.0, (1, 1, 1)), (1.0, (4, 2, 1)), (0.5, (2.0, math.sqrt(2.0), 1.0)), (-1.0, (0.25, 0.5, 1))]
)
def test_chances_of_cells_go_by_the_power_of_their_size(power: float, cells: tuple[float, ...]) -> None:
    chance = chances(TRUTH, SOURCE, power)
    wanted = np.array(cells) / sum(cells)
    np.testing.assert_allclose([chance[:4].sum(), chance[4:6].sum(), chance[6]], wanted)
    np.testing.assert_allclose(chance[:4], chance[0])


def test_pictures_are_drawn_by_their_chance(tmp_path: Path) -> None:
    """With equal cells the one picture of a rare cell is drawn as often as all of a common one."""
    pictures = make_pictures()
    source = np.zeros(30, dtype=np.int64)
    source[0] = 1
    run = _Run(make_network(), replace(pictures, source=source), replace(COURSE, cell_power=0.0), ALONE)
    np.testing.assert_allclose([run.chance[0], run.chance[1::2].sum()], [1 / 3, 1 / 3])
    assert len(run.chance) == len(pictures.train_rows)


def make_run(**changes: object) -> _Run:
    return _Run(make_network(), make_pictures(), replace(COURSE, **changes), ALONE)


@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_mixing_keeps_the_mass_of_labels_and_stays_between_two_pictures(mixed: float) -> None:
    run = make_run(mixed=mixed, mixing=1.0)
    torch.manual_seed(3)
    batch = torch.rand(8, 3, 4, 4)
    wanted = torch.nn.functional.one_hot(torch.arange(8) % 2, 2).float()
    pictures, labels = run._mix(batch, wanted, np.random.default_rng(1))
    torch.testing.assert_close(labels.sum(1), torch.ones(8))
    assert torch.equal(pictures, batch) is (mixed == 0.0)
    assert labels.unique().tolist() == [0.0, 1.0] if mixed == 0.0 else len(labels.unique()) > 2
    if mixed:
        shares = labels[(labels > 0.0) & (labels < 1.0)].unique().tolist()
        pairs = [a * batch + (1.0 - a) * batch[[other]] for a in shares for other in range(8)]
        apart = torch.stack([(pair - pictures).abs().amax((1, 2, 3)) for pair in pairs]).amin(0)
        assert apart.max() < 1e-5


@pytest.mark.parametrize(("averaging", "steps", "weight"), [(0.0, 50, 1.0), (0.9, 1, 10 / 11), (0.9, 1000, 0.1)])
def test_the_average_follows_quickly_at_first_and_slowly_later(averaging: float, steps: int, weight: float) -> None:
    run = make_run(averaging=averaging)
    before = {name: value.clone() for name, value in run.average.state_dict().items()}
    with torch.no_grad():
        for value in run.network.state_dict().values():
            value.add_(1)
    run.steps = steps
    run._average()
    for name, value in run.average.state_dict().items():
        moved = weight if value.is_floating_point() else 0.0
        torch.testing.assert_close(value, before[name] + torch.tensor(moved, dtype=value.dtype))


def test_the_network_is_left_at_the_average(tmp_path: Path) -> None:
    weights, _ = fit(tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert equal(weights, state["average"])
    assert not equal(weights, state["network"])


def test_rates_warm_up_fall_by_half_a_cosine_and_differ_by_part() -> None:
    run = make_run(stages=((32, 40),), warming_steps=2)
    seen = []
    run.optimizer.register_step_pre_hook(lambda optimizer, *_: seen.append([g["lr"] for g in optimizer.param_groups]))
    run.step(SPEC)
    falls = [0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * start / 40)) for start in range(0, 40, 8)]
    shares = [fall * min(1.0, (index + 1) / 2) for index, fall in enumerate(falls)]
    np.testing.assert_allclose(seen, [[1e-2 * share, 1e-3 * share, 1e-3 * share] for share in shares])
    assert [group["weight_decay"] for group in run.optimizer.param_groups] == [0.05, 0.05, 0.0]
    parts = [[len(parameter.shape) for parameter in group["params"]] for group in run.optimizer.param_groups]
    assert parts == [[2, 1, 2, 1], [4], [1, 1, 1]]


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(stages=((32, 8),))
    for group in run.optimizer.param_groups:
        group["lr"] = 0.0
    loss = 1e6 * run.network(torch.rand(4, 3, 32, 32)).square().mean()
    run._descend(loss, 0)
    norm = torch.stack([parameter.grad.norm() for parameter in run.network.parameters()]).norm().item()
    assert norm == pytest.approx(2.0, rel=1e-4)


def test_run_pictures_shows_them_as_they_are_in_their_order() -> None:
    network = make_network().eval()
    greys = np.random.default_rng(3).integers(0, 256, (70, 32, 32)).astype(np.uint8)
    with torch.inference_mode():
        wanted = network(show_batch(greys, SPEC, 24)).numpy()
    network.train()
    answers = run_pictures(network, greys, SPEC, 24, torch.device("cpu"))
    np.testing.assert_allclose(answers, wanted, atol=1e-5)
    assert (answers.shape, network.training) == ((70, 2), False)


def test_an_epoch_says_what_the_validation_split_says(tmp_path: Path) -> None:
    network, pictures = make_network(), make_pictures()
    course = replace(COURSE, stages=((32, 16),))
    (epoch,) = fit_course(network, pictures, course, SPEC, checkpoint=tmp_path / "a.pt", ranks=ALONE)
    logits = run_pictures(network, pictures.greys[20:], SPEC, 32, torch.device("cpu")).astype(float)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -np.log(shares[np.arange(10), pictures.truth[20:]]).mean()
    right = logits.argmax(1) == pictures.truth[20:]
    assert epoch == Epoch(1, epoch.train_loss, pytest.approx(loss, rel=1e-5), epoch.val_macro_f1)
    assert (epoch.val_macro_f1 == 1.0) is bool(right.all())
