"""Fits without whole sources: who is left in, who is judged, who is left aside."""

import pytest
from training.archive import Sample
from training.trials import OUTSIDE_SOURCES, leave_out

from csss.foundation.errors import Unprocessable


def sample(label: str, source: str, split: str) -> Sample:
    return Sample("x", label, source, split, "p", "MIT", "0" * 64)


SAMPLES = (
    sample("a", "home", "train"),
    sample("b", "home", "train"),
    sample("a", "home", "val"),
    sample("b", "home", "test"),
    sample("a", "away", "train"),
    sample("b", "away", "val"),
    sample("a", "away", "test"),
    sample("c", "away", "train"),
    sample("c", "home", "val"),
)


def test_outside_sources_are_in_no_part_of_the_fit() -> None:
    kept = leave_out(SAMPLES, ("away",))
    assert (kept.train.tolist(), kept.validation.tolist()) == ([0, 1], [2, 8])


def test_outside_pictures_of_all_splits_are_judged_if_their_label_was_learned() -> None:
    assert leave_out(SAMPLES, ("away",)).outside.tolist() == [4, 5, 6]


@pytest.mark.parametrize("sources", [("elsewhere",), ("home",)])
def test_a_trial_with_nothing_to_measure_is_refused(sources: tuple[str, ...]) -> None:
    """Nothing of these sources, or none of their labels left to learn."""
    samples = SAMPLES if sources == ("elsewhere",) else tuple(each for each in SAMPLES if each.source == "home")
    with pytest.raises(Unprocessable) as caught:
        leave_out(samples, sources)
    assert caught.value.code == "no-outside-sources"


def test_the_outside_sources_are_small_collections_of_other_hospitals() -> None:
    assert OUTSIDE_SOURCES == ("hannover", "ieee8023", "nih14")
    home = tuple(sample("a", name, "train") for name in (*OUTSIDE_SOURCES, "home"))
    assert (leave_out(home).train.tolist(), leave_out(home).outside.tolist()) == ([3], [0, 1, 2])
