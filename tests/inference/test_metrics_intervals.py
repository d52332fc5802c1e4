"""Bootstrap intervals: whole groups, the same for the same seed, and equal to a slow resampling."""

import numpy as np
import pytest
from test_metrics import make_cases

from csss.inference.metrics import NO_LABEL, Cases, bootstrap, measure

FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "ece", "coverage", "selective_accuracy")
CLASS_FIGURES = ("sensitivity", "specificity", "precision", "f1")


def random_cases(count: int = 60, groups: int = 25, seed: int = 5) -> Cases:
    random = np.random.default_rng(seed)
    shares = random.dirichlet([0.7] * 3, count)
    truth = np.where(random.random(count) < 0.6, shares.argmax(axis=1), random.integers(0, 3, count))
    refused = np.flatnonzero(random.random(count) < 0.1).tolist()
    stated = np.where(shares.max(axis=1) > 0.6, shares.argmax(axis=1), NO_LABEL)
    stated[refused] = NO_LABEL
    group = [f"patient {number}" for number in random.integers(0, groups, count)]
    return make_cases(truth.tolist(), shares.tolist(), refused=refused, stated=stated.tolist(), group=group)


def test_bootstrap_equals_measuring_each_resampled_set() -> None:
    cases = random_cases()
    names, member = np.unique(cases.group, return_inverse=True)
    random = np.random.default_rng(7)
    rounds = []
    for _ in range(40):
        drawn = random.integers(0, len(names), len(names))
        rounds.append(measure(cases.of(np.concatenate([np.flatnonzero(member == index) for index in drawn]))))
    intervals = bootstrap(cases, rounds=40, seed=7)
    assert (intervals.groups, intervals.rounds) == (len(names), 40)
    for name in FIGURES:
        values = [getattr(figures, name) for figures in rounds]
        assert _ends(getattr(intervals, name)) == pytest.approx(_percentiles(values))
    for index, entry in enumerate(intervals.classes):
        for name in CLASS_FIGURES:
            values = [getattr(figures.classes[index], name) for figures in rounds]
            assert _ends(getattr(entry, name)) == pytest.approx(_percentiles(values))


def test_bootstrap_resamples_whole_groups() -> None:
    shares = [[0.1, 0.9]] * 20 + [[0.9, 0.1]] * 20
    one_patient_each_half = bootstrap(make_cases([0] * 40, shares, group=["p"] * 20 + ["q"] * 20), rounds=200)
    each_picture = bootstrap(make_cases([0] * 40, shares), rounds=200)
    assert _ends(one_patient_each_half.accuracy) == (0.0, 1.0)
    low, high = _ends(each_picture.accuracy)
    assert 0.3 < low < 0.5 < high < 0.7


def test_bootstrap_is_the_same_for_the_same_seed_only() -> None:
    cases = random_cases()
    assert bootstrap(cases, rounds=50, seed=1) == bootstrap(cases, rounds=50, seed=1)
    assert bootstrap(cases, rounds=50, seed=1).ece != bootstrap(cases, rounds=50, seed=2).ece


def test_bootstrap_of_one_group_or_none_has_no_interval() -> None:
    alone = bootstrap(make_cases([0, 1], [[0.9, 0.1], [0.4, 0.6]], group=["p", "p"]), rounds=20)
    assert (alone.groups, alone.accuracy, alone.classes[0].f1) == (1, None, None)
    assert bootstrap(make_cases([], []), rounds=20).accuracy is None


def test_bootstrap_in_small_chunks_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = random_cases()
    whole = bootstrap(cases, rounds=30)
    monkeypatch.setattr("csss.inference.metrics.intervals._DRAWS_AT_ONCE", 60)
    assert bootstrap(cases, rounds=30) == whole


def test_a_label_that_no_round_drew_has_no_interval() -> None:
    cases = make_cases([0, 0, 1], [[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0]])
    third = bootstrap(cases, rounds=50).classes[2]
    assert (third.sensitivity, third.precision) == (None, None)
    assert _ends(third.specificity) == (1.0, 1.0)


def _ends(interval: object) -> tuple[float, float]:
    return interval.low, interval.high


def _percentiles(values: list[float | None]) -> tuple[float, float]:
    low, high = np.percentile([value for value in values if value is not None], (2.5, 97.5))
    return float(low), float(high)
