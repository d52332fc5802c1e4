"""Where decisions lead: who speaks, who runs beside, what a roll back leads to, and what fails closed."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from tiny_model import make_gate_folder

from csss.findings.decisions import Active, ChoiceKind, Decision, Proposal, Shadow
from csss.findings.standing import (
    ModelNotAvailable,
    ModelReplaced,
    ModelSwitchedOff,
    NoModelFits,
    Standing,
    shadows,
    site_threshold,
    speaker,
    spoken,
    standing_of,
)
from csss.foundation.thresholds import SiteThreshold, ThresholdStale, parse_thresholds
from csss.inference.card import load_card, write_card
from csss.inference.shelf import Shelf
from model_shelves import make_version

READS = (("DX", "CR", "unstated"), ("CHEST", "unstated"))
START = datetime(2026, 11, 2, 9, tzinfo=UTC)
SEALS: dict[tuple[str, str], str] = {}
"""The seals of the folders of `root`, by name and version."""
_numbers = count(1)


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of "tiny", one of "other" that reads CT alone, one of "zeta" that reads what tiny reads."""
    root = tmp_path_factory.mktemp("shelf")
    for version in ("1", "2", "10"):
        make_version(root, version)
    make_version(root, "1", name="other", modalities=("CT",))
    make_version(root, "1", name="zeta")
    SEALS.update({(model.card.name, model.card.version): model.seal for model in Shelf(root).models})
    return root


@pytest.fixture
def shelf(root: Path) -> Shelf:
    return Shelf(root)


KINDS = {
    "activate": ChoiceKind.ACTIVATE,
    "back": ChoiceKind.ROLL_BACK,
    "off": ChoiceKind.SWITCH_OFF,
    "shadow": ChoiceKind.SHADOW,
    "stop": ChoiceKind.STOP_SHADOW,
    "propose": ChoiceKind.PROPOSE,
    "refuse": ChoiceKind.REFUSE,
}


def decide(
    kind: str, version: str, *, name: str = "tiny", tau: float | None = None, seal: str | None = "own", settles: int = 0
) -> Decision:
    """A decision; the seal "own" becomes that of the folder in `after`."""
    number = next(_numbers)
    key, speaks = UUID(int=number), kind in ("activate", "back", "off")
    asked = Proposal(key, number, name, version, seal, tau, UUID(int=0), START, "why")
    return Decision(
        id=key,
        model=name,
        version=version,
        kind=KINDS[kind],
        speaks=Active(version, tau, number, *READS, seal, off=kind == "off") if speaks else None,
        shadow=Shadow(version, seal, START) if kind == "shadow" else None,
        proposal=asked if kind == "propose" else None,
        settles=UUID(int=settles) if settles else None,
    )


def after(*decisions: Decision) -> Standing:
    """Where decisions lead that were bound to the folders of this module."""

    def bound(decision: Decision) -> Decision:
        speaks = decision.speaks
        if speaks is None or speaks.seal != "own":
            return decision
        return replace(decision, speaks=replace(speaks, seal=SEALS.get((decision.model, decision.version), "0" * 64)))

    return standing_of(map(bound, decisions))


def who(standing: Standing, shelf: Shelf, modality: str = "DX", thresholds: str = "") -> tuple[str, str, float | None]:
    found = speaker(standing, shelf, parse_thresholds(thresholds), modality=modality, body_part="CHEST")
    return found.model.card.name, found.model.card.version, found.site_tau


def without(shelf: Shelf, name: str, version: str) -> Shelf:
    """The same shelf, from which one version has gone."""
    shelf.models = tuple(model for model in shelf.models if (model.card.name, model.card.version) != (name, version))
    return shelf


def test_without_a_decision_the_newest_version_of_the_first_name_speaks(shelf: Shelf) -> None:
    assert who(Standing(), shelf) == ("tiny", "10", None)
    assert who(Standing(), shelf, "CT") == ("other", "1", None)
    assert spoken(Standing(), shelf, "nobody") is None


def test_an_activated_version_speaks_and_the_newest_activation_goes_first(shelf: Shelf) -> None:
    assert who(after(decide("activate", "2")), shelf) == ("tiny", "2", None)
    assert who(after(decide("activate", "2"), decide("activate", "1", name="zeta")), shelf) == ("zeta", "1", None)
    assert who(after(decide("activate", "1", name="zeta"), decide("activate", "2")), shelf) == ("tiny", "2", None)
    # An activation elsewhere takes nothing from a model that it does not compete with.
    assert who(after(decide("activate", "2")), shelf, "CT") == ("other", "1", None)


def test_an_examination_that_nobody_reads_has_no_speaker(shelf: Shelf) -> None:
    with pytest.raises(NoModelFits) as refused:
        who(after(decide("activate", "2")), shelf, "MR")
    assert (refused.value.code, refused.value.message) == ("no-model-fits", "No model on the shelf reads MR of CHEST.")


def test_no_other_version_and_no_other_model_speaks_for_an_active_one_that_is_gone(shelf: Shelf) -> None:
    standing = after(decide("activate", "1"), decide("activate", "2"))
    with pytest.raises(ModelNotAvailable) as refused:
        who(standing, without(shelf, "tiny", "2"))
    assert (refused.value.code, refused.value.message) == (
        "model-not-available",
        "tiny 2 is to read this, but is not served here. No other version speaks in its place.",
    )
    # Not even when nothing of that name is left, and zeta could.
    with pytest.raises(ModelNotAvailable):
        who(standing, without(without(shelf, "tiny", "1"), "tiny", "10"))
    assert who(standing, shelf, "CT") == ("other", "1", None)


def test_an_undecided_model_whose_newest_version_is_refused_does_not_fall_back(root: Path, tmp_path: Path) -> None:
    for version in ("1", "2"):
        make_version(tmp_path, version)
    (tmp_path / "tiny" / "2" / "head.npz").write_bytes(b"another head")
    broken = Shelf(tmp_path)
    assert [problem.folder for problem in broken.problems] == ["tiny/2"]
    with pytest.raises(ModelNotAvailable):
        who(Standing(), broken)
    assert who(after(decide("activate", "1")), broken) == ("tiny", "1", None)


@pytest.mark.parametrize(
    ("decisions", "active", "before"),
    [
        ((decide("activate", "2"),), "2", None),
        # From before choices were bound to a seal: one administrator alone had let it speak.
        ((decide("activate", "1", seal=None), decide("activate", "2")), "2", None),
        ((decide("activate", "1"), decide("activate", "2")), "2", "1"),
        ((decide("activate", "1"), decide("activate", "2"), decide("back", "1")), "1", None),
        ((decide("activate", "1"), decide("activate", "2"), decide("activate", "3"), decide("back", "2")), "2", "1"),
        (
            (
                decide("activate", "1"),
                decide("activate", "2"),
                decide("activate", "3"),
                decide("back", "2"),
                decide("back", "1"),
            ),
            "1",
            None,
        ),
        ((decide("activate", "1"), decide("activate", "2"), decide("activate", "2", tau=0.9)), "2", "1"),
        ((decide("activate", "1"), decide("shadow", "2"), decide("stop", "2")), "1", None),
        ((decide("activate", "1"), decide("activate", "9", name="zeta")), "1", None),
    ],
)
def test_a_roll_back_leads_ever_further_back(decisions: tuple[Decision, ...], active: str, before: str | None) -> None:
    place = standing_of(decisions).of("tiny")
    assert (place.active and place.active.version, place.before and place.before.version) == (active, before)
    assert standing_of(decisions).newest_number == len(decisions)


def test_what_a_roll_back_leads_to_keeps_the_threshold_it_had() -> None:
    before = after(decide("activate", "1", tau=0.8), decide("activate", "2", tau=0.9)).of("tiny").before
    assert before is not None
    assert (before.version, before.tau) == ("1", 0.8)


@pytest.mark.parametrize(
    ("setting", "activated", "expected"),
    [
        ("", None, None),
        ("tiny/2=0.8", None, 0.8),
        ("", 0.9, 0.9),
        ("tiny/2=0.8", 0.9, 0.9),
        ("tiny/2=0.95", 0.9, 0.95),
        ("tiny/1=0.95,tiny/2=0.8", None, 0.8),
        ("other/7=0.95", None, None),
    ],
)
def test_of_two_thresholds_the_higher_counts(setting: str, activated: float | None, expected: float | None) -> None:
    standing = after(decide("activate", "2", tau=activated))
    assert site_threshold(standing, parse_thresholds(setting), "tiny", "2") == expected


def test_a_threshold_of_another_version_is_stale_and_says_which(shelf: Shelf) -> None:
    for standing in (after(decide("activate", "2")), after(decide("activate", "2", tau=0.9))):
        with pytest.raises(ThresholdStale) as refused:
            who(standing, shelf, thresholds="tiny/10=0.9,tiny/1=0.8")
    assert refused.value.code == "threshold-stale"
    assert refused.value.message == (
        "This site's threshold for tiny was set for version 10, 1, not for version 2. "
        "Set one for version 2 (CSSS_CONFIDENCE_THRESHOLD), or none."
    )
    # Nobody has decided: it is bound to a version all the same.
    with pytest.raises(ThresholdStale):
        who(Standing(), shelf, thresholds="tiny/1=0.9")
    assert who(Standing(), shelf, thresholds="tiny/10=0.9") == ("tiny", "10", 0.9)


def test_a_threshold_of_an_activation_goes_with_its_version() -> None:
    standing = after(decide("activate", "1", tau=0.9), decide("activate", "2"))
    assert site_threshold(standing, (), "tiny", "2") is None
    assert site_threshold(standing, (SiteThreshold("tiny", "2", 0.8),), "tiny", "2") == 0.8


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ((), ()),
        ((decide("shadow", "2"),), (("tiny", "2"),)),
        ((decide("shadow", "2"), decide("shadow", "1")), (("tiny", "1"),)),
        ((decide("shadow", "2"), decide("stop", "2")), ()),
        ((decide("shadow", "2"), decide("activate", "2")), ()),
        ((decide("shadow", "2"), decide("activate", "2"), decide("activate", "1")), ()),
        ((decide("shadow", "2"), decide("activate", "1")), (("tiny", "2"),)),
        ((decide("shadow", "1", name="zeta"),), (("zeta", "1"),)),
        ((decide("shadow", "1", name="other"),), ()),
        ((decide("shadow", "7", name="gone"),), (("gone", "7"),)),
    ],
)
def test_shadows_read_what_they_accept_beside_whoever_speaks(
    shelf: Shelf, decisions: tuple[Decision, ...], expected: tuple[tuple[str, str], ...]
) -> None:
    standing = after(*decisions)
    speaking = speaker(standing, shelf, (), modality="DX", body_part="CHEST").model
    assert shadows(standing, speaking, shelf=shelf, modality="DX", body_part="CHEST") == expected


def kept_for_comparison(folder: Path) -> None:
    write_card(replace(load_card(folder), purpose="comparison"), folder)


def test_a_version_for_comparison_never_speaks_not_even_as_the_newest(tmp_path: Path) -> None:
    make_version(tmp_path, "1")
    kept_for_comparison(make_version(tmp_path, "2", modalities=("CT",)))
    shelf = Shelf(tmp_path)
    assert who(Standing(), shelf) == ("tiny", "1", None)
    with pytest.raises(NoModelFits):
        who(Standing(), shelf, "CT")


def test_an_active_version_whose_card_is_for_comparison_now_does_not_speak(tmp_path: Path) -> None:
    kept_for_comparison(make_version(tmp_path, "1"))
    make_version(tmp_path, "2")
    with pytest.raises(ModelNotAvailable):
        who(after(decide("activate", "1")), Shelf(tmp_path))


def test_a_gate_of_a_newer_version_never_speaks(tmp_path: Path) -> None:
    make_version(tmp_path, "1")
    make_gate_folder(tmp_path, name="tiny", version="2")
    assert who(Standing(), Shelf(tmp_path), "") == ("tiny", "1", None)


@pytest.mark.parametrize("seal", ["1" * 64, None])
def test_another_folder_under_the_same_version_does_not_speak(shelf: Shelf, seal: str | None) -> None:
    with pytest.raises(ModelReplaced) as refused:
        who(after(decide("activate", "2", seal=seal)), shelf)
    assert (refused.value.code, refused.value.message) == (
        "model-replaced",
        "The folder of tiny 2 is not the one that was chosen. "
        "Nothing is read with it until administrators choose it anew.",
    )
    # Nor does zeta, which could.
    assert who(after(decide("activate", "2", seal=seal), decide("activate", "2")), shelf) == ("tiny", "2", None)


def test_a_version_that_was_switched_off_is_silent_and_nothing_speaks_for_it(shelf: Shelf) -> None:
    for standing in (after(decide("off", "10")), after(decide("activate", "2"), decide("off", "2"))):
        with pytest.raises(ModelSwitchedOff) as refused:
            who(standing, shelf)
        assert refused.value.code == "model-switched-off"
        assert spoken(standing, shelf, "tiny") is None
        assert who(standing, shelf, "CT") == ("other", "1", None)


def test_what_one_may_do_alone_makes_no_other_model_speak(shelf: Shelf) -> None:
    both = (decide("activate", "1"), decide("activate", "2"), decide("activate", "1", name="zeta"))
    assert who(after(*both), shelf) == ("zeta", "1", None)
    assert who(after(*both, decide("back", "1")), shelf) == ("zeta", "1", None)
    assert who(after(*both, decide("off", "2")), shelf) == ("zeta", "1", None)
    for later in ((), (decide("back", "1"),), (decide("off", "2"),)):
        with pytest.raises(ModelSwitchedOff, match="zeta"):
            who(after(*both, decide("off", "1", name="zeta"), *later), shelf)
    # Nobody had decided about zeta, and tiny goes first by its name.
    assert who(after(decide("off", "1", name="zeta")), shelf) == ("tiny", "10", None)


@pytest.mark.parametrize("off", [False, True])
def test_a_folder_that_was_exchanged_for_one_that_reads_less_hands_nothing_on(tmp_path: Path, off: bool) -> None:
    make_version(tmp_path, "2", modalities=("CT",))
    make_version(tmp_path, "1", name="zeta")
    decisions = (decide("activate", "2", seal="1" * 64), *((decide("off", "2", seal="1" * 64),) if off else ()))
    with pytest.raises(ModelSwitchedOff if off else ModelReplaced):
        who(standing_of(decisions), Shelf(tmp_path))


def test_a_raised_threshold_is_not_undone_by_going_back_to_the_same_version() -> None:
    chosen = (decide("activate", "1"), decide("activate", "2"), decide("off", "2"), decide("activate", "1", tau=0.95))
    place = after(*chosen).of("tiny")
    assert place.active is not None
    assert (place.active.version, place.active.tau, place.before) == ("1", 0.95, None)


def test_what_speaks_after_it_was_switched_off_is_what_was_chosen_last(shelf: Shelf) -> None:
    chosen = (decide("activate", "1"), decide("activate", "2"), decide("off", "2"))
    assert who(after(*chosen, decide("activate", "2")), shelf) == ("tiny", "2", None)
    assert who(after(*chosen, decide("back", "1")), shelf) == ("tiny", "1", None)
    assert who(after(*chosen, decide("activate", "1", name="zeta")), shelf) == ("zeta", "1", None)
    again = after(*chosen, decide("activate", "10")).of("tiny").before
    assert again is not None
    assert (again.version, again.off) == ("1", False)


def test_a_proposal_waits_until_it_is_answered_and_is_stale_after_another_choice() -> None:
    asked = decide("propose", "2")
    waiting = after(asked).of("tiny").proposal
    assert waiting is not None
    assert (waiting.version, waiting.stale, after(asked).of("tiny").active) == ("2", False, None)
    assert after(asked, decide("refuse", "2")).of("tiny").proposal is None
    assert after(asked, decide("activate", "2", settles=asked.id.int)).of("tiny").proposal is None
    for other in (decide("activate", "1", settles=9999), decide("back", "1"), decide("off", "10")):
        outdated = after(asked, other).of("tiny").proposal
        assert outdated is not None
        assert outdated.stale is True
    for other in (decide("shadow", "1"), decide("activate", "1", name="zeta")):
        still = after(asked, other).of("tiny").proposal
        assert still is not None
        assert still.stale is False
