"""Sets that keep their promise, and scalings that are judged on pictures they were not fitted on."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.conformal import by_prior, by_temperature, by_vector, choose_calibration, fit_sets  # noqa: E402

from csss.inference.card import Calibration, Conformal  # noqa: E402
from csss.inference.tasks.classify import calibrate, choose_set  # noqa: E402
from training import conformal  # noqa: E402

pytestmark = pytest.mark.torch


def two_labels(own: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of label 0 with these probabilities of it, and one picture of label 1."""
    shares = np.array([[p, 1.0 - p] for p in own] + [[0.2, 0.8]])
    return shares, np.array([0] * len(own) + [1])


@pytest.mark.parametrize(
    ("count", "coverage", "rank"),
    [(8, 0.9, 0), (9, 0.9, 1), (18, 0.9, 1), (19, 0.9, 2), (29, 0.9, 3), (3, 0.75, 1), (7, 0.75, 2), (18, 0.95, 0)],
)
def test_fit_sets_takes_the_kth_smallest_probability(count: int, coverage: float, rank: int) -> None:
    own = [0.31 + 0.02 * place for place in range(count)]
    shares, truth = two_labels(list(np.random.default_rng(1).permutation(own)))
    found = fit_sets(shares, truth, coverage, "made-up pictures", two_are_uncertain=True)
    assert found.at_least == (pytest.approx(own[rank - 1]) if rank else 0.0, 0.0)
    assert (found.coverage, found.fitted_on, found.two_are_uncertain) == (coverage, "made-up pictures", True)


def test_fit_sets_rules_nothing_out_of_a_label_without_pictures() -> None:
    shares = np.tile([0.7, 0.2, 0.1], (30, 1))
    found = fit_sets(shares, np.zeros(30, dtype=np.int64), 0.9, "x", two_are_uncertain=False)
    assert found.at_least == (0.7, 0.0, 0.0)


@pytest.mark.parametrize("count", [9, 14, 30])
def test_sets_hold_the_truth_of_each_label_as_often_as_they_say(count: int) -> None:
    """Over many made-up worlds the share is between the promise and 1 / (n + 1) above it."""
    random, coverage = np.random.default_rng(count), 0.8
    skill = (0.5, 2.0, 1.0)
    held: list[list[float]] = [[], [], []]
    for _ in range(400):
        truth = np.repeat(np.arange(3), count + 25)
        raw = random.gamma(1.0, size=(len(truth), 3))
        raw[np.arange(len(truth)), truth] += random.gamma(np.take(skill, truth))
        shares = raw / raw.sum(1, keepdims=True)
        fitting = np.tile(np.arange(count + 25) < count, 3)
        rule = fit_sets(shares[fitting], truth[fitting], coverage, "x", two_are_uncertain=False)
        for label in range(3):
            fresh = shares[~fitting & (truth == label)]
            held[label].append(float((fresh[:, label] >= rule.at_least[label]).mean()))
    for each in held:
        assert coverage - 0.01 <= np.mean(each) <= coverage + 1.0 / (count + 1) + 0.01


def test_a_fitted_rule_gives_the_sets_that_serving_shows() -> None:
    shares, truth = two_labels([0.3, 0.5, 0.7, 0.9])
    rule = fit_sets(shares, truth, 0.8, "x", two_are_uncertain=False)
    assert rule == Conformal(0.8, (0.3, 0.0), "x", False)
    assert [choose_set(np.array(each), rule) for each in ((0.9, 0.1), (0.29, 0.71))] == [(0, 1), (1,)]


BIAS, SCALE = np.array([1.0, 0.0, -1.0]), np.array([0.6, 1.0, 1.4])


def drawn(count: int, *, bias: np.ndarray = BIAS, scale: np.ndarray = SCALE, seed: int = 1) -> tuple:
    """Logits (n, 3) and labels drawn from softmax(logits * scale + bias)."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2.0, size=(count, 3)).astype(np.float32)
    powers = np.exp(logits * scale + bias)
    shares = powers / powers.sum(1, keepdims=True)
    truth = (shares.cumsum(1) > random.random((count, 1))).argmax(1)
    return logits, truth, shares


def test_by_vector_recovers_the_scales_and_biases_that_made_the_labels() -> None:
    logits, truth, shares = drawn(8000)
    found = by_vector(logits, truth, "made-up pictures")
    assert (found.method, found.fitted_on) == ("vector", "made-up pictures")
    np.testing.assert_allclose(np.array(found.scale) / found.temperature, SCALE, atol=0.1)
    np.testing.assert_allclose(np.array(found.bias) - np.mean(found.bias), BIAS - BIAS.mean(), atol=0.15)
    again = np.stack([calibrate(row, found) for row in logits[:300]])
    np.testing.assert_allclose(again, shares[:300], atol=0.04)


def test_by_vector_of_few_pictures_stays_near_the_temperature() -> None:
    logits, truth, _ = drawn(12, bias=np.zeros(3), scale=np.ones(3))
    found = by_vector(logits, truth, "x")
    assert np.abs(found.bias).max() < 3.0
    assert 0.2 < min(found.scale) <= max(found.scale) < 5.0


def test_by_temperature_gives_a_calibration_of_one_number() -> None:
    logits, truth, _ = drawn(6000, bias=np.zeros(3), scale=np.full(3, 0.5))
    found = by_temperature(logits, truth, "x")
    assert found == Calibration("temperature", found.temperature, (), (), "x")
    assert found.temperature == pytest.approx(2.0, rel=0.08)


def unevenly_common(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, 3) that know the labels' shares .8, .17 and .03, and labels (n,)."""
    random = np.random.default_rng(7)
    shares = np.array([0.80, 0.17, 0.03])
    truth = random.choice(3, count, p=shares)
    evidence = random.normal(size=(count, 3)) + 1.5 * np.eye(3)[truth]
    return (1.5 * evidence + np.log(shares)).astype(np.float32), truth


def test_by_prior_makes_rare_labels_likelier_in_the_order_of_their_rarity() -> None:
    logits, truth = unevenly_common(4000)
    found, plain = by_prior(logits, truth, "x"), by_temperature(logits, truth, "x")
    assert (found.method, found.scale, found.bias[0]) == ("vector", (1.0, 1.0, 1.0), 0.0)
    assert found.temperature == plain.temperature
    rarity = -np.log(np.bincount(truth) / len(truth))
    powers = np.array(found.bias[1:]) / (rarity[1:] - rarity[0])
    assert powers[0] == pytest.approx(powers[1])
    assert 0.2 < powers[0] <= 0.8
    answers = [np.array([calibrate(row, each).argmax() for row in logits]) for each in (plain, found)]
    plain_hits, hits = (np.mean([(answer[truth == label] == label).mean() for label in range(3)]) for answer in answers)
    assert hits > plain_hits + 0.1


def test_by_prior_of_labels_that_are_told_apart_is_the_temperature() -> None:
    truth = np.array([0] * 50 + [1] * 10 + [2] * 5)
    found = by_prior(np.eye(3, dtype=np.float32)[truth] * 5.0, truth, "x")
    assert found.bias == (0.0, 0.0, 0.0)


def groups_of(count: int) -> np.ndarray:
    return np.array([f"p{place // 3}" for place in range(count)])


def test_choose_calibration_finds_the_vector_where_a_label_is_biased() -> None:
    """Every logit of the first label is too small by three."""
    random = np.random.default_rng(4)
    truth = random.integers(0, 3, 300)
    logits = (random.normal(size=(300, 3)) + 3.0 * np.eye(3)[truth] - [3.0, 0.0, 0.0]).astype(np.float32)
    chosen, tried = choose_calibration(logits, truth, groups_of(300), "x")
    assert chosen == by_vector(logits, truth, "x")
    assert [choice.method for choice in tried] == ["temperature", "vector", "prior"]
    assert tried[1].macro_f1 + tried[1].balanced_accuracy > tried[0].macro_f1 + tried[0].balanced_accuracy + 0.1
    assert tried[1].loss < tried[0].loss


def test_choose_calibration_takes_no_way_whose_probabilities_mean_less() -> None:
    logits, truth = unevenly_common(3000)
    chosen, tried = choose_calibration(logits, truth, groups_of(3000), "x")
    scores = {choice.method: choice.macro_f1 + choice.balanced_accuracy for choice in tried}
    losses = {choice.method: choice.loss for choice in tried}
    assert scores["prior"] > max(scores["temperature"], scores["vector"]) + 0.02
    assert losses["prior"] > losses["temperature"] + 0.02
    assert chosen in (by_temperature(logits, truth, "x"), by_vector(logits, truth, "x"))


def test_choose_calibration_takes_the_simpler_of_two_equal_ways() -> None:
    truth = np.arange(60) % 3
    logits = np.eye(3, dtype=np.float32)[truth] * 5.0
    chosen, tried = choose_calibration(logits, truth, groups_of(60), "x")
    assert (chosen.method, tried[0].macro_f1, tried[1].macro_f1) == ("temperature", 1.0, 1.0)


def test_choose_calibration_judges_whole_groups_that_took_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, truth, _ = drawn(90)
    groups, fits = groups_of(90), []
    place = {row.tobytes(): index for index, row in enumerate(logits)}

    def watch(values: np.ndarray, wanted: np.ndarray, fitted_on: str) -> Calibration:
        rows = [place[row.tobytes()] for row in values]
        np.testing.assert_array_equal(wanted, truth[rows])
        found = by_temperature(values, wanted, fitted_on)
        fits.append((rows, found))
        return found

    monkeypatch.setattr(conformal, "by_temperature", watch)
    monkeypatch.setattr(conformal, "by_vector", watch)
    monkeypatch.setattr(conformal, "by_prior", watch)
    chosen, tried = choose_calibration(logits, truth, groups, "x")
    assert [len(rows) for rows, _ in fits] == [72] * 15 + [90]
    assert chosen == fits[-1][1]
    losses = np.zeros(90)
    for rows, found in fits[:5]:
        held = sorted(set(range(90)) - set(rows))
        assert {groups[row] for row in held}.isdisjoint({groups[row] for row in rows})
        assert not losses[held].any()
        losses[held] = [-np.log(calibrate(logits[row], found)[truth[row]]) for row in held]
    assert losses.all()
    assert tried[0].loss == pytest.approx(losses.mean())
