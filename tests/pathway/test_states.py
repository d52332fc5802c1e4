"""The table of transitions against the specification, written down here a second time by hand."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import pytest

from csss.accounts.actor import Actor
from csss.accounts.tables import Role, SessionKind
from csss.foundation.errors import CsssError
from csss.pathway.moves import check_state
from csss.pathway.states import FHIR_STATUS, NOT_OPEN_YET, RANK, TRANSITIONS, By, State, Step, find
from csss.pathway.tables import Case

# number, step, from, to, by whom, audit event, then: + opens a revision, 0 unissued only, 1 issued only.
SPECIFICATION = """
02 accept_file RECEIVED PENDING_AI system scan.accepted
03 refuse_file RECEIVED QUARANTINED system scan.quarantined
04 start_ai PENDING_AI AI_RUNNING doctor,system ai.started
05 ai_done AI_RUNNING AI_ANALYZED system ai.completed
06 ai_error AI_RUNNING AI_FAILED system ai.failed
07 lease_expired AI_RUNNING AI_FAILED system ai.failed
08 retry_ai AI_FAILED PENDING_AI doctor,system ai.retried +
09 read_without_ai AI_FAILED AI_ANALYZED doctor ai.bypassed
10 verify AI_ANALYZED DOCTOR_VERIFIED doctor report.verified
11 reject_scan AI_ANALYZED REJECTED doctor scan.rejected 0
12 reject_scan AI_FAILED REJECTED doctor scan.rejected 0
13 rerun_ai AI_ANALYZED PENDING_AI doctor ai.rerun +
14 cancel PENDING_AI CANCELLED doctor,patient scan.cancelled 0
15 cancel AI_FAILED CANCELLED doctor scan.cancelled 0
16 withdraw_verification DOCTOR_VERIFIED AI_ANALYZED doctor report.withdrawn +
17 complete DOCTOR_VERIFIED PHARMACIST_COMPLETED pharmacist pharmacy.completed
18 return_to_doctor DOCTOR_VERIFIED AI_ANALYZED pharmacist report.returned +
19 return_to_doctor PHARMACIST_COMPLETED AI_ANALYZED admin,doctor report.returned +
20 return_to_pharmacist PHARMACIST_COMPLETED DOCTOR_VERIFIED admin,pharmacist pharmacy.returned +
21 approve PHARMACIST_COMPLETED APPROVED admin report.approved
22 render_ok APPROVED REPORT_READY system report.issued
23 render_error APPROVED RENDER_FAILED system report.render_failed
24 retry_render RENDER_FAILED APPROVED admin,system report.render_retried +
25 return_to_doctor RENDER_FAILED AI_ANALYZED admin report.returned +
26 open_amendment REPORT_READY AI_ANALYZED doctor amendment.opened +
27 open_addendum REPORT_READY AI_ANALYZED doctor addendum.opened +
28 retract PENDING_AI RETRACTED admin,doctor report.retracted 1
29 retract AI_RUNNING RETRACTED admin,doctor report.retracted 1
30 retract AI_FAILED RETRACTED admin,doctor report.retracted 1
31 retract AI_ANALYZED RETRACTED admin,doctor report.retracted 1
32 retract DOCTOR_VERIFIED RETRACTED admin,doctor report.retracted 1
33 retract PHARMACIST_COMPLETED RETRACTED admin,doctor report.retracted 1
34 discard_revision AI_ANALYZED REPORT_READY doctor amendment.discarded +1
35 retract APPROVED RETRACTED admin,doctor report.retracted 1
36 retract RENDER_FAILED RETRACTED admin,doctor report.retracted 1
37 retract REPORT_READY RETRACTED admin,doctor report.retracted 1
"""
FHIR = {
    "registered": "RECEIVED PENDING_AI AI_RUNNING AI_FAILED AI_ANALYZED",
    "preliminary": "DOCTOR_VERIFIED PHARMACIST_COMPLETED APPROVED RENDER_FAILED",
    "final": "REPORT_READY",
    "cancelled": "QUARANTINED REJECTED CANCELLED",
    "entered-in-error": "RETRACTED",
}
TERMINAL = {State.QUARANTINED, State.REJECTED, State.CANCELLED, State.RETRACTED}
ALLOWED_CELLS = 51


@dataclass(frozen=True)
class Row:
    number: str
    step: str
    source: str
    target: str
    by: frozenset[str]
    event: str
    marks: str

    def starts_at(self, issued: int) -> bool:
        return not ("0" in self.marks and issued) and not ("1" in self.marks and not issued)


def _read() -> list[Row]:
    rows = []
    for line in SPECIFICATION.strip().splitlines():
        number, step, source, target, by, event, *marks = line.split()
        rows.append(Row(number, step, source, target, frozenset(by.split(",")), event, "".join(marks)))
    return rows


SPEC = _read()


def _actor(by: By) -> Actor | None:
    if by is By.SYSTEM:
        return None
    return Actor(UUID(int=1), Role(by), "Name", "name@site.example", UUID(int=2), SessionKind.API)


def _verdict(step: Step, state: State, by: By, issued: int) -> str:
    try:
        check_state(Case(state=state, issued=issued, version=1), step, _actor(by))
    except CsssError as refusal:
        return f"{refusal.status} {refusal.code}"
    return "allowed"


def _expected(step: Step, state: State, by: By, issued: int) -> str:
    starting = [row for row in SPEC if (row.step, row.source) == (step, state) and row.starts_at(issued)]
    if not starting:
        return "409 wrong-state"
    return "allowed" if by in starting[0].by else "403 wrong-role"


@pytest.mark.parametrize("issued", [0, 1])
@pytest.mark.parametrize("step", Step)
def test_every_cell_of_the_table_is_what_the_specification_says(step: Step, issued: int) -> None:
    cells = [(state, by) for state in State for by in By]
    assert {cell: _verdict(step, *cell, issued) for cell in cells} == {
        cell: _expected(step, *cell, issued) for cell in cells
    }


def test_table_has_the_specified_number_of_allowed_cells() -> None:
    cells = [(step, state, by) for step in Step for state in State for by in By]
    assert len(cells) == 24 * 14 * 5
    allowed = [cell for cell in cells if "allowed" in {_verdict(*cell, issued) for issued in (0, 1)}]
    assert len(allowed) == ALLOWED_CELLS


def test_rows_have_the_specified_numbers_targets_events_and_revisions() -> None:
    assert [(row.number, row.step, row.source, row.target, row.event, row.opens_revision) for row in TRANSITIONS] == [
        (row.number, row.step, row.source, row.target, row.event, "+" in row.marks) for row in SPEC
    ]


def test_find_gives_the_only_row_of_a_step_in_a_state() -> None:
    starts = [(row.step, row.source) for row in TRANSITIONS]
    assert len(set(starts)) == len(starts)
    assert [find(*start) for start in starts] == list(TRANSITIONS)
    assert find(Step.APPROVE, State.AI_ANALYZED) is None


def test_fhir_status_is_as_specified_and_never_preliminary_before_a_doctor() -> None:
    assert {state: status for status, names in FHIR.items() for state in names.split()} == FHIR_STATUS


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: row.number)
def test_revision_and_rank_rise_strictly(row: object) -> None:
    assert (int(row.opens_revision), RANK[row.target]) > (0, RANK[row.source])  # type: ignore[attr-defined]


def _reachable(without: Iterable[Step] = ()) -> set[tuple[State, int]]:
    """Every (state, issued 0 or more) that can be reached from an upload when some steps are taken away."""
    seen, waiting = set(), [(State.RECEIVED, 0)]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += _next(node, frozenset(without))
    return seen


def _next(node: tuple[State, int], without: frozenset[Step]) -> list[tuple[State, int]]:
    state, issued = node
    return [
        (row.target, 1 if row.step is Step.RENDER_OK else issued)
        for row in TRANSITIONS
        if row.source is state
        and row.step not in without
        and not (row.unissued_only and issued)
        and not (row.issued_only and not issued)
    ]


def test_every_state_is_reachable() -> None:
    assert {state for state, _ in _reachable()} == set(State)


@pytest.mark.parametrize("step", [Step.VERIFY, Step.COMPLETE, Step.APPROVE])
def test_without_a_signature_no_report_is_reachable(step: Step) -> None:
    reached = {state for state, _ in _reachable(without=[step])}
    assert State.REPORT_READY not in reached
    assert State.AI_ANALYZED in reached


def test_only_terminal_states_are_dead_ends() -> None:
    dead = {node[0] for node in _reachable() if not _next(node, frozenset())}
    assert dead == TERMINAL


def test_every_reachable_case_can_still_come_to_an_end() -> None:
    ends = {(state, issued) for state in (*TERMINAL, State.REPORT_READY) for issued in (0, 1)}
    hopeful = set(ends)
    nodes = _reachable()
    while more := {node for node in nodes - hopeful if hopeful & set(_next(node, frozenset()))}:
        hopeful |= more
    assert nodes - hopeful == set()


def test_steps_without_a_verb_are_those_of_corrections() -> None:
    assert {str(step) for step in NOT_OPEN_YET} == {
        "open_amendment", "open_addendum", "retract", "discard_revision", "rerun_ai"
    }  # fmt: skip
