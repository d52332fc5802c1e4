"""Fitting: who is drawn how often, that it learns, stops early, and goes on after an interruption."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.fit import ChestNet, FitData, FitPlan, balance, fit, run_all  # noqa: E402
from training.mobilenetv2 import FEATURE_CHANNELS  # noqa: E402

pytestmark = pytest.mark.torch
PLAN = FitPlan(
    epochs=4,
    patience=3,
    batch=16,
    head_rate=3e-3,
    blocks_rate=1e-4,
    weight_decay=0.0,
    label_smoothing=0.0,
    dropout=0.1,
    warming_steps=2,
    seed=5,
)


def make_data(rows: int = 200, *, noise: float = 1.0) -> FitData:
    random = np.random.default_rng(3)
    truth = random.integers(0, 3, rows)
    middle = random.normal(size=(3, FEATURE_CHANNELS))
    inputs = (middle[truth] + noise * random.normal(size=(rows, FEATURE_CHANNELS))).astype(np.float32)
    train = np.arange(0, rows // 2)
    return FitData(inputs, truth, train, np.full(len(train), 1 / len(train)), np.arange(rows // 2, rows), 64)


def make_network() -> ChestNet:
    torch.manual_seed(1)
    return ChestNet(None, 3, 0.1)


def test_balance_draws_each_cell_by_the_root_of_its_size() -> None:
    labels = ["a"] * 100 + ["a"] * 4 + ["b"] * 25
    sources = ["s"] * 100 + ["t"] * 4 + ["s"] * 25
    chance = balance(labels, sources)
    cells = (chance[:100].sum(), chance[100:104].sum(), chance[104:].sum())
    assert cells == (pytest.approx(10 / 17), pytest.approx(2 / 17), pytest.approx(5 / 17))
    assert len(set(chance[:100].tolist())) == 1


def test_fit_learns_what_can_be_learned() -> None:
    network = make_network()
    data = make_data()
    history = fit(network, data, PLAN)
    assert [epoch.number for epoch in history] == [1, 2, 3, 4]
    assert history[-1].val_macro_f1 == 1.0
    answers = run_all(network, data.inputs, data.val_rows).argmax(axis=1)
    np.testing.assert_array_equal(answers, data.truth[data.val_rows])


def test_fit_leaves_the_best_epoch_and_stops_when_none_is_better() -> None:
    data = replace(make_data(), truth=np.random.default_rng(9).integers(0, 3, 200))
    network = make_network()
    history = fit(network, data, replace(PLAN, epochs=40, patience=2))
    scores = [epoch.val_macro_f1 for epoch in history]
    assert len(history) == int(np.argmax(scores)) + 3
    from training.measure import macro_f1

    answers = run_all(network, data.inputs, data.val_rows).argmax(axis=1)
    assert macro_f1(data.truth[data.val_rows], answers, 3) == pytest.approx(max(scores))


def test_fit_goes_on_after_an_interruption_as_if_there_was_none(tmp_path: Path) -> None:
    whole, first, second = make_network(), make_network(), make_network()
    data = make_data(noise=6.0)
    history = fit(whole, data, replace(PLAN, epochs=4))
    interrupted = 0

    class Stopped(Exception):
        pass

    class Stopping(ChestNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal interrupted
            interrupted += 1
            if interrupted > 9:
                raise Stopped
            return super().forward(x)

    stopping = Stopping(None, 3, 0.1)
    stopping.load_state_dict(first.state_dict())
    with pytest.raises(Stopped):
        fit(stopping, data, replace(PLAN, epochs=4), tmp_path / "state.pt")
    resumed = fit(second, data, replace(PLAN, epochs=4), tmp_path / "state.pt")
    assert resumed == history
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value)
