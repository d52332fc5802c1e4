"""Fitting the whole network: it learns, keeps the first blocks, and goes on after an interruption."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.archive import Sample  # noqa: E402
from training.blend import SHARES, blend_weights, choose_blend  # noqa: E402
from training.chest import SPEC  # noqa: E402
from training.fit import ChestNet  # noqa: E402
from training.mobilenetv2 import MobileNetV2  # noqa: E402
from training.randomise import vary_mildly  # noqa: E402
from training.trials import leave_out  # noqa: E402
from training.whole import FROZEN_BLOCKS, PictureData, WholePlan, fit_whole, run_pictures, to_batch  # noqa: E402

from csss.inference.prepare import prepare_grey  # noqa: E402

pytestmark = pytest.mark.torch
PLAN = WholePlan(
    sides_px=(32, 32),
    randomised=(1.0, 1.0),
    drawn=16,
    batch=8,
    head_rate=1e-3,
    blocks_rate=1e-3,
    weight_decay=0.0,
    label_smoothing=0.0,
    averaging=0.5,
    warming_steps=1,
    seed=3,
)
SMALL = replace(SPEC, width_px=48, height_px=48)


def make_data() -> PictureData:
    random = np.random.default_rng(2)
    truth = np.arange(24) % 2
    pictures = (random.integers(0, 60, (24, 48, 48)) + 150 * truth[:, None, None]).astype(np.uint8)
    train = np.arange(16)
    return PictureData(pictures, truth, np.arange(24) % 3, train, np.full(16, 1 / 16), np.arange(16, 24))


def make_network() -> ChestNet:
    """Untrained, but with statistics of batch norm that let signals through, as ImageNet's would."""
    torch.manual_seed(1)
    network = ChestNet(MobileNetV2().features, 2, 0.0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(to_batch(make_data().pictures, SMALL))
    return network


def make_sample(label: str, source: str, split: str) -> Sample:
    return Sample("file", label, source, split, "group", "MIT", "0" * 64)


def test_to_batch_is_what_serving_prepares() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (48, 48)).astype(np.uint8)
    np.testing.assert_array_equal(to_batch(grey[None], SMALL).numpy(), prepare_grey(grey, SMALL))


def test_fit_whole_tunes_all_blocks_but_the_first_and_no_statistics_of_batch_norm() -> None:
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    history = fit_whole(network, make_data(), PLAN, SMALL)
    assert [epoch.number for epoch in history] == [1, 2]
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    blocks = {int(name.split(".")[1]) for name in moved if name.startswith("upper.")}
    assert blocks == set(range(FROZEN_BLOCKS, 19))
    assert [name for name in moved if "running" in name] == []
    assert {"dense1.weight", "dense2.weight"} <= moved


def test_fit_whole_learns_what_it_is_shown() -> None:
    data, seen = make_data(), []

    def show(grey: np.ndarray, style: np.ndarray, side_px: int, random: np.random.Generator) -> np.ndarray:
        seen.append(side_px)
        return grey[:side_px, :side_px]

    network = make_network()
    plan = replace(PLAN, sides_px=(40, 48, 48), randomised=(1.0, 1.0, 1.0), drawn=96, blocks_rate=2e-4)
    history = fit_whole(network, data, plan, SMALL, change=show)
    assert seen == [40] * 96 + [48] * 192
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    answers = run_pictures(network, data.pictures, data.train_rows, SMALL).argmax(axis=1)
    np.testing.assert_array_equal(answers, data.truth[data.train_rows])


def test_fit_whole_goes_on_after_an_interruption_as_if_there_was_none(tmp_path: Path) -> None:
    data, whole, second = make_data(), make_network(), make_network()
    history = fit_whole(whole, data, PLAN, SMALL, change=vary_mildly)

    class Stopped(Exception):
        pass

    changed = 0

    def stop(grey: np.ndarray, style: np.ndarray, side_px: int, random: np.random.Generator) -> np.ndarray:
        nonlocal changed
        changed += 1
        if changed > PLAN.drawn + 3:
            raise Stopped
        return vary_mildly(grey, style, side_px, random)

    with pytest.raises(Stopped):
        fit_whole(make_network(), data, PLAN, SMALL, checkpoint=tmp_path / "state.pt", change=stop)
    resumed = fit_whole(second, data, PLAN, SMALL, checkpoint=tmp_path / "state.pt", change=vary_mildly)
    assert resumed == history
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value)


def test_a_plan_is_named_by_all_of_it() -> None:
    assert PLAN.key == replace(PLAN).key
    assert len({PLAN.key, replace(PLAN, drawn=17).key, replace(PLAN, randomised=(1.0, 0.0)).key}) == 3


def test_leave_out_keeps_a_source_out_of_everything_and_sets_unknown_labels_aside() -> None:
    samples = tuple(
        make_sample(*row)
        for row in (
            ("COVID", "east", "train"),
            ("Normal", "west", "train"),
            ("COVID", "hannover", "train"),
            ("NIH_MERGED", "hannover", "test"),
            ("Normal", "east", "val"),
            ("Normal", "hannover", "val"),
            ("Normal", "east", "test"),
        )
    )
    kept = leave_out(samples, ("hannover",))
    assert (kept.train.tolist(), kept.validation.tolist(), kept.outside.tolist()) == ([0, 1], [4], [2, 5])
    assert kept.chance.tolist() == [0.5, 0.5]


def test_blend_weights_lies_between_its_ends() -> None:
    start, end = (
        {"w": torch.tensor([0.0, 8.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([4.0, 0.0]), "n": torch.tensor(5)},
    )
    blended = blend_weights(start, end, 0.25)
    assert (blended["w"].tolist(), int(blended["n"])) == ([1.0, 6.0], 5)


def test_choose_blend_leaves_the_best_on_validation() -> None:
    data, network = make_data(), make_network()
    start = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        network.dense2.bias.add_(torch.tensor([40.0, -40.0]))
    end = {name: value.clone() for name, value in network.state_dict().items()}
    tried = choose_blend(network, start, data, ("a", "b"), SMALL)
    assert [choice.share for choice in tried] == list(SHARES)
    assert tried[-1].validation.confusion[:, 1].sum() == 0
    best = max(tried, key=lambda choice: choice.validation.macro_f1 + choice.over_sources)
    wanted = blend_weights(start, end, best.share)
    torch.testing.assert_close(network.state_dict()["dense2.bias"], wanted["dense2.bias"])
    answers = run_pictures(network, data.pictures, data.val_rows, SMALL).argmax(axis=1)
    assert (answers == data.truth[data.val_rows]).mean() == best.validation.accuracy
