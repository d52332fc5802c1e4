"""Agreement in figures that were reckoned by hand."""

import pytest

from csss.findings.shadowed import Pair, cohen_kappa, compare


@pytest.mark.parametrize(
    ("counts", "kappa"),
    [
        # Observed .7, by chance .5.
        ([[20, 5], [10, 15]], 0.4),
        ([[3, 0], [0, 2]], 1.0),
        ([[0, 2], [2, 0]], -1.0),
        ([[1, 1], [1, 1]], 0.0),
        ([[0, 8], [0, 0]], 0.0),
        ([[8]], None),
        ([[2, 0, 0], [1, 1, 0], [0, 0, 4]], 0.8),
    ],
)
def test_kappa_is_cohens(counts: list[list[int]], kappa: float | None) -> None:
    assert cohen_kappa(counts) == (None if kappa is None else pytest.approx(kappa))


def test_agreement_tells_stated_results_from_likeliest_labels() -> None:
    pairs = [
        Pair("calm", "calm", "calm", "calm", scans=5, difference=0.5),
        Pair("Uncertain", "calm", "calm", "calm", scans=2, difference=0.4),
        Pair("Uncertain", "calm", "Uncertain", "storm", scans=2, difference=-0.1),
        Pair("storm", "storm", "wave", "wave", scans=1, difference=0.2),
    ]
    found = compare("tiny", "1", "ab" * 32, pairs)
    assert (found.model, found.version, found.seal, found.scans) == ("tiny", "1", "ab" * 32, 10)
    assert (found.same_stated, found.same_top) == (0.7, 0.7)
    assert found.confidence_difference == pytest.approx(0.1)
    assert found.labels == ("calm", "storm", "wave")
    assert found.counts == ((7, 2, 0), (0, 0, 1), (0, 0, 0))
    # p_o .7, p_e (9 x 7 + 1 x 2) / 100 = .65
    assert found.kappa == pytest.approx(0.05 / 0.35)
