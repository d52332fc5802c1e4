"""Every check fires on a picture that has its defect, and none on a clean phantom."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from csss.imaging.phantom import Finding, phantom_chest
from csss.imaging.quality import QualityCheck, QualityFinding, check_chest, words

FAULTS = (
    QualityCheck.BLANK,
    QualityCheck.EXPOSURE_LOW,
    QualityCheck.EXPOSURE_HIGH,
    QualityCheck.CONTRAST_LOW,
    QualityCheck.CLIPPING,
    QualityCheck.RESOLUTION_LOW,
)


def clean() -> NDArray[np.uint8]:
    return phantom_chest(3, size=(320, 300)).copy()


def with_gamma(power: float) -> NDArray[np.uint8]:
    return np.rint(255 * (clean() / 255) ** power).astype(np.uint8)


def half_of(grey: int) -> NDArray[np.uint8]:
    picture = clean()
    picture[:, 150:] = grey
    return picture


def without_letters() -> NDArray[np.uint8]:
    """The phantom under a soft blur and without its margins: no letter is left."""
    inner = Image.fromarray(phantom_chest(3, size=(512, 512))[60:340, 110:400])
    return np.array(inner.resize((40, 40), Image.Resampling.BOX).resize((300, 300), Image.Resampling.BICUBIC))


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (400, 300), dtype=np.uint8)


def checks(picture: NDArray[np.uint8]) -> tuple[QualityCheck, ...]:
    return tuple(finding.check for finding in check_chest(picture))


@pytest.mark.parametrize("finding", list(Finding))
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_phantom_has_no_finding(seed: int, finding: Finding) -> None:
    assert check_chest(phantom_chest(seed, size=(512, 512), finding=finding)) == ()


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (np.full((300, 300), 0, np.uint8), (QualityCheck.BLANK,)),
        (np.full((300, 300), 128, np.uint8), (QualityCheck.BLANK,)),
        (np.full((60, 300), 255, np.uint8), (QualityCheck.BLANK, QualityCheck.RESOLUTION_LOW)),
        (noise(), (QualityCheck.BLANK,)),
        (with_gamma(5.0), (QualityCheck.EXPOSURE_LOW, QualityCheck.CLIPPING)),
        (with_gamma(0.1), (QualityCheck.EXPOSURE_HIGH, QualityCheck.MARKER_NOT_FOUND)),
        (np.rint(clean() * 0.1 + 110).astype(np.uint8), (QualityCheck.CONTRAST_LOW, QualityCheck.MARKER_NOT_FOUND)),
        (half_of(255), (QualityCheck.CLIPPING, QualityCheck.MARKER_NOT_FOUND)),
        (half_of(0), (QualityCheck.EXPOSURE_LOW, QualityCheck.CLIPPING, QualityCheck.MARKER_NOT_FOUND)),
        (np.asarray(Image.fromarray(clean()).resize((120, 127))), (QualityCheck.RESOLUTION_LOW,)),
        (without_letters(), (QualityCheck.MARKER_NOT_FOUND,)),
    ],
    ids=["black", "grey", "white", "noise", "dark", "bright", "flat", "half-white", "half-black", "small", "no-letter"],
)
def test_check_fires_on_its_defect(picture: NDArray[np.uint8], expected: tuple[QualityCheck, ...]) -> None:
    assert checks(picture) == expected


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_bright_letter_in_a_corner_is_a_marker(side: str) -> None:
    picture = without_letters()
    column = 15 if side == "left" else 270
    picture[15:45, column - 6 : column + 20] = 90
    picture[20:40, column : column + 4] = 250
    picture[36:40, column : column + 12] = 250
    assert checks(picture) == ()


@pytest.mark.parametrize("pixels", [(127, True), (128, False)])
def test_resolution_counts_the_shorter_side_at_its_limit(pixels: tuple[int, bool]) -> None:
    side, small = pixels
    for shape in ((side, 400), (400, side)):
        assert (QualityCheck.RESOLUTION_LOW in checks(phantom_chest(1, size=shape))) is small


@pytest.mark.parametrize("seed", range(6))
def test_findings_lie_beyond_their_limits_and_only_the_marker_is_no_fault(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(20, 300, 2))
    low, high = np.sort(random.integers(0, 256, 2))
    picture = np.asarray(Image.fromarray(clean()).resize(shape)).astype(float)
    for finding in check_chest((low + picture * (high - low) / 255).astype(np.uint8)):
        too_much = finding.check in (QualityCheck.EXPOSURE_HIGH, QualityCheck.CLIPPING)
        assert (finding.value > finding.limit) if too_much else (finding.value < finding.limit)
        assert finding.fault is (finding.check in FAULTS)


SIDES = (1, 2, 17, 1500)


@pytest.mark.parametrize(("rows", "columns"), list(itertools.product(SIDES, SIDES)))
def test_any_shape_is_checked(rows: int, columns: int) -> None:
    picture = np.random.default_rng(rows).integers(0, 256, (rows, columns), dtype=np.uint8)
    assert (QualityCheck.RESOLUTION_LOW in checks(picture)) is (min(rows, columns) < 128)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
    ids=["float", "16-bit", "colour", "empty"],
)
def test_what_is_no_grey_picture_is_refused(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"^A grey picture, uint8 \(rows, columns\), is needed\.$"):
        check_chest(picture)


def test_the_picture_is_left_as_it_was() -> None:
    picture = clean()
    picture.setflags(write=False)
    check_chest(picture)
    np.testing.assert_array_equal(picture, clean())


@pytest.mark.parametrize(
    ("check", "value", "limit", "expected"),
    [
        ("contrast-low", 12.0, 60.0, "The picture is nearly without contrast (spread 12 of 255; at least 60)."),
        ("exposure-low", 31.4, 80.0, "The picture is too dark (mean grey 31 of 255; at least 80)."),
        ("exposure-high", 230.0, 207.0, "The picture is too bright (mean grey 230 of 255; at most 207)."),
        (
            "clipping",
            0.5,
            0.15,
            "50% of the middle of the picture is plain black or plain white (at most 15%): detail is lost there.",
        ),
        ("resolution-low", 64.0, 128.0, "The picture is too small (64 pixels along its shorter side; at least 128)."),
        ("truncation", 0.07, 0.03, "The lungs seem to go on beyond the picture, by 7% of its side."),
        ("rotation", 14.6, 10.0, "The thorax seems to be tilted by about 15 degrees."),
    ],
)
def test_words_give_what_was_measured(check: str, value: float, limit: float, expected: str) -> None:
    assert words(QualityFinding(QualityCheck(check), True, value, limit)) == expected


def test_every_check_has_words_of_its_own() -> None:
    said = {words(QualityFinding(check, True, 0.5, 0.25)) for check in QualityCheck}
    assert len(said) == len(QualityCheck)
    assert all(each.endswith(".") for each in said)
