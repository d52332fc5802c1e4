"""What turns logits of findings into statements: loss, weights, calibration, thresholds, limits."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_model import SPEC  # noqa: E402
from training.chest_net import ChestNet  # noqa: E402
from training.findings_aim import MOST_WEIGHT, FindingsAim, shift_of, weigh  # noqa: E402
from training.findings_fit import (  # noqa: E402
    choose_thresholds,
    fit_calibration,
    make_rule,
    rule_out,
)
from training.finetune import Course, Pictures, fit_course, run_pictures  # noqa: E402
from training.ranks import Ranks  # noqa: E402

from csss.inference.card import Conformal  # noqa: E402
from csss.inference.tasks.findings import to_shares  # noqa: E402

pytestmark = pytest.mark.torch

ALONE = Ranks(0, 1, torch.device("cpu"))


def make_truth(*present: int, pictures: int = 1000) -> np.ndarray:
    """Findings (n, C), each in so many of the pictures."""
    return (np.arange(pictures)[:, None] < np.array(present)).astype(np.int64)


def test_weights_are_the_root_of_absent_over_present_within_bounds() -> None:
    weights = weigh(make_truth(500, 100, 10, 1, 900, pictures=1000))
    np.testing.assert_allclose(weights, [1.0, 3.0, np.sqrt(99.0), MOST_WEIGHT, 1.0])
    np.testing.assert_allclose(np.exp(shift_of(weights)), weights)


def test_the_loss_is_the_plain_formula() -> None:
    aim = FindingsAim(make_truth(100, 10))
    random = np.random.default_rng(1)
    logits, wanted = random.normal(0.0, 3.0, (6, 2)), random.random((6, 2))
    shares = 1.0 / (1.0 + np.exp(-logits))
    weights = np.array([3.0, np.sqrt(99.0)])
    plain = -(weights * wanted * np.log(shares) + (1.0 - wanted) * np.log(1.0 - shares)).mean()
    loss = aim.loss(torch.from_numpy(logits), torch.from_numpy(wanted)).item()
    assert loss == pytest.approx(plain, rel=1e-6)


def test_no_finding_is_all_zeros_and_softening_goes_to_one_half() -> None:
    aim = FindingsAim(make_truth(100, 10))
    wanted = aim.wanted(np.array([[0, 0], [1, 1], [0, 1]]), 2)
    assert wanted.tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    torch.testing.assert_close(aim.smooth(wanted, 0.1)[:2], torch.tensor([[0.05, 0.05], [0.95, 0.95]]))


def test_a_picture_belongs_to_the_cell_of_its_rarest_finding() -> None:
    aim = FindingsAim(np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]]))
    assert aim.cells(np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]])).tolist() == [1, 0, 3, 2]


def test_judging_is_the_loss_and_the_mean_f1_of_labels_that_occur() -> None:
    aim = FindingsAim(make_truth(500, 500, 500))
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    logits = np.array([[2.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]], np.float32)
    loss, score = aim.judge(logits, truth)
    shares = 1.0 / (1.0 + np.exp(-logits))
    assert loss == pytest.approx(-(truth * np.log(shares) + (1 - truth) * np.log(1.0 - shares)).mean(), rel=1e-5)
    assert score == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert aim.judge(logits, np.zeros((3, 3), dtype=np.int64))[1] == 0.0


def test_the_first_logits_are_those_of_the_shares_under_the_weights() -> None:
    aim = FindingsAim(make_truth(500, 100))
    np.testing.assert_allclose(aim.first_logits, [0.0, np.log(3.0 * 0.1 / 0.9)], rtol=1e-6)


def test_a_fit_learns_two_findings_that_can_both_be_present(tmp_path) -> None:
    random = np.random.default_rng(2)
    truth = np.stack([np.arange(64) % 2, np.arange(64) // 2 % 2], 1)
    greys = random.integers(0, 60, (64, 32, 32))
    greys[:, :16] += 150 * truth[:, :1, None]
    greys[:, 16:, ::2] += 150 * truth[:, 1:, None]
    rows = np.arange(64)
    pictures = Pictures(greys.astype(np.uint8), truth, np.zeros(64, np.int64), rows[:40], rows[40:])
    course = Course(
        stages=((32, 400), (32, 400)), head_rate=1e-2, rate=3e-3, batch=8, averaging=0.9, cell_power=1.0, strong=0.0,
        mixed=0.0, mixing=0.3, weight_decay=0.0, label_smoothing=0.0, warming_steps=3, seed=4,
    )  # fmt: skip
    torch.manual_seed(1)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 5, 4), torch.nn.BatchNorm2d(12), torch.nn.ReLU())
    network = ChestNet(body, 12, 2, 0.0)
    aim = FindingsAim(truth[rows[:40]])
    history = fit_course(network, pictures, course, SPEC, checkpoint=tmp_path / "a.pt", ranks=ALONE, aim=aim)
    logits = run_pictures(network, pictures.greys[40:], SPEC, 32, ALONE.device)
    assert ((logits > 0) == truth[40:]).all(axis=1).mean() > 0.9
    assert (history[-1].val_loss, history[-1].val_macro_f1) == pytest.approx(aim.judge(logits, truth[40:]))


def test_calibration_finds_the_scale_and_bias_that_made_the_truth() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0.0, 2.0, (40_000, 2))
    made = 1.0 / (1.0 + np.exp(-(logits * [0.5, 1.5] + [-2.0, 1.0])))
    truth = random.random(made.shape) < made
    fitted = fit_calibration(logits, truth, np.array([2.0, 0.0]), "x")
    np.testing.assert_allclose(fitted.scale, [0.5, 1.5], atol=0.05)
    np.testing.assert_allclose(fitted.bias, [-2.0, 1.0], atol=0.05)
    np.testing.assert_allclose(to_shares(logits, fitted).mean(axis=0), truth.mean(axis=0), atol=1e-3)


def test_calibration_stands_at_the_largest_posterior() -> None:
    random = np.random.default_rng(4)
    logits, truth = random.normal(0.0, 3.0, (50, 1)), random.random((50, 1)) < 0.3
    shift = np.array([1.2])
    fitted = fit_calibration(logits, truth, shift, "x")
    off = to_shares(logits, fitted)[:, 0] - truth[:, 0]
    slope = [(off * logits[:, 0]).sum() + fitted.scale[0] - 1.0, off.sum() + fitted.bias[0] + shift[0]]
    np.testing.assert_allclose(slope, [0.0, 0.0], atol=1e-6)


def test_a_label_without_pictures_keeps_what_the_weights_added() -> None:
    fitted = fit_calibration(np.full((3, 1), -9.0), np.zeros((3, 1), dtype=bool), np.array([2.0]), "x")
    np.testing.assert_allclose([fitted.scale[0], fitted.bias[0]], [1.0, -2.0], atol=1e-3)


def slow_threshold(shares: np.ndarray, truth: np.ndarray) -> float:
    levels = sorted(set(shares), reverse=True)
    scores = [2 * (truth & (shares >= low)).sum() / (truth.sum() + (shares >= low).sum()) for low in levels]
    best = scores.index(max(scores))
    return (levels[best] + (levels[best + 1] if best + 1 < len(levels) else 0.0)) / 2


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_has_the_largest_f1(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.random(80) < 0.4
    shares = np.round(np.clip(0.3 * truth + 0.7 * random.random(80), 0.0, 1.0), 1 + seed % 2)
    (found,) = choose_thresholds(shares[:, None], truth[:, None])
    assert found == pytest.approx(slow_threshold(shares, truth))


@pytest.mark.parametrize(("present", "wanted"), [(9, 0.5), (31, 0.5), (10, 0.7), (30, 0.7)])
def test_few_pictures_are_no_choice(present: int, wanted: float) -> None:
    truth = np.arange(40) < present
    assert choose_thresholds(np.where(truth, 0.8, 0.6)[:, None], truth[:, None]) == (pytest.approx(wanted),)


def test_a_label_is_ruled_out_below_what_its_own_pictures_reach() -> None:
    truth = np.zeros((60, 2), dtype=bool)
    truth[:39, 0], truth[:5, 1] = True, True
    shares = np.tile(np.arange(60)[:, None] / 100.0, (1, 2))
    limits = rule_out(shares, truth, 0.95, "x")
    # 39 pictures at 95 %: the second smallest; five are too few for that promise.
    assert limits.at_least == (0.01, 0.0)
    rule = make_rule((0.5, 0.5), Conformal(0.95, (0.3, 0.1), "x", False))
    assert (rule.present_from, rule.absent_below) == ((0.5, 0.5), (0.25, 0.1))
