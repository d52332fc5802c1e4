"""Words for people: complete for every state and step, honest in their numbers."""

from datetime import UTC, datetime, timedelta

import pytest

from csss.accounts.tables import Role
from csss.entrypoints.web import present
from csss.pathway.states import State, Step

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def test_every_state_and_step_has_words() -> None:
    assert set(present.STATES) == set(State)
    assert {step for step in Step if present.event_words(step, Role.DOCTOR) == str(step)} == set()
    assert set(present._EVENTS) == {*Step, "upload"}


@pytest.mark.parametrize("state", State)
def test_words_for_the_patient_never_speak_of_the_ai(state: State) -> None:
    words = present.STATES[state]
    said = f" {words.patient_badge} {words.patient_text} ".replace(".", " ")
    assert (" AI " in said, "%" in said) == (False, False)


@pytest.mark.parametrize(
    "step", [Step.AI_ERROR, Step.RETRY_AI, Step.WITHDRAW, Step.RETURN_TO_DOCTOR, Step.RETURN_TO_PHARMACIST]
)
def test_inner_steps_are_not_told_to_patients(step: Step) -> None:
    assert present.event_words(step, Role.PATIENT) is None


@pytest.mark.parametrize(
    ("state", "standings"),
    [
        (State.AI_ANALYZED, ["done", "done", "now", "ahead", "ahead", "ahead"]),
        (State.QUARANTINED, ["stopped", "ahead", "ahead", "ahead", "ahead", "ahead"]),
        (State.REPORT_READY, ["done"] * 6),
    ],
)
def test_stages_show_where_a_case_is(state: State, standings: list[str]) -> None:
    assert [stage.standing for stage in present.stages(state, Role.DOCTOR)] == standings


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=59), "59 min ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(hours=48), "2 days ago"),
        (timedelta(seconds=-30), "soon"),
        (timedelta(minutes=-5), "in 5 min"),
    ],
)
def test_ago_says_how_long(gap: timedelta, words: str) -> None:
    assert present.ago(NOW - gap, NOW) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0.0 %"),
        (0.0001, "< 0.1 %"),
        (0.75, "75.0 %"),
        (0.99949, "99.9 %"),
        (0.9999, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_percent_is_never_rounded_to_certainty(share: float, words: str) -> None:
    assert present.percent(share) == words


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("DX", "CHEST"), "X-ray, chest"),
        (("XA", None), "XA"),
        ((None, None), "Scan"),
        (("CT", "WHOLE_BODY"), "CT, whole body"),
    ],
)
def test_examination_is_in_words(parts: tuple[str | None, str | None], words: str) -> None:
    assert present.examination(*parts) == words


def test_size_has_a_unit() -> None:
    assert [present.size(n) for n in (1, 2048, 10 * 1024 * 1024)] == ["1 kB", "2 kB", "10 MB"]
