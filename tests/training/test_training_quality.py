"""The table of quality checks: counted over the phantom, clean and damaged."""

import pytest
from training.quality import ANY_FAULT, CHECKS, DAMAGES, count_findings

from csss.imaging.phantom import phantom_chest

PHANTOMS = tuple(phantom_chest(seed, size=(256, 256)) for seed in (1, 2))


def fired(name: str) -> set[str]:
    shares = count_findings(DAMAGES[name](picture) for picture in PHANTOMS)
    return {check for check, share in shares.items() if share == 1.0}


def test_clean_pictures_have_no_finding() -> None:
    assert count_findings(PHANTOMS) == {**{check.value: 0.0 for check in CHECKS}, ANY_FAULT: 0.0}


def test_shares_are_of_the_pictures() -> None:
    shares = count_findings((PHANTOMS[0], DAMAGES["64 px"](PHANTOMS[1])))
    assert (shares["resolution-low"], shares["blank"], shares[ANY_FAULT]) == (0.5, 0.0, 0.5)


@pytest.mark.parametrize(
    ("damage", "checks"),
    [
        ("gamma 5", {"exposure-low", ANY_FAULT}),
        ("contrast a tenth", {"contrast-low", ANY_FAULT}),
        ("half white", {"clipping", ANY_FAULT}),
        ("tilted by 15 degrees", {"rotation"}),
        ("64 px", {"resolution-low", ANY_FAULT}),
        ("noise", {"blank", ANY_FAULT}),
    ],
)
def test_each_damage_fires_its_check(damage: str, checks: set[str]) -> None:
    assert fired(damage) >= checks


def test_no_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^There is no picture to check\.$"):
        count_findings(())
