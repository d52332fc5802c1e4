"""Verify, complete and approve: what they refuse, with which code, and that it changes nothing."""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from csss.accounts.tables import Role, User
from csss.pathway.states import State
from csss.pathway.tables import SignOff
from csss.reports.content import SignOffStep
from pathway.attempts import refusal, start_approval
from pathway.records import (
    CALM_GREY,
    UNCERTAIN_GREY,
    band_png,
    new_picture,
)
from sites import NOTHING_NEEDED, READING, Site

ITEM = {"medicine": "Paracetamol", "dose": "500 mg", "frequency": "every 6 hours"}


@pytest.fixture(scope="module")
def case_at(shared_site: Site) -> Callable[[State], str]:
    """One case in each state, for refusals: they leave it as it is."""

    @cache
    def bring(state: State) -> str:
        return shared_site.bring_to(state, data=new_picture())

    return bring


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"notes": ""}, (400, "notes-empty")),
        ({"notes": " \n\t\u00a0 "}, (400, "notes-empty")),
        ({"notes": "\x00"}, (400, "notes-empty")),
        ({"conclusion": ""}, (422, "conclusion-empty")),
        ({"conclusion": "  "}, (422, "conclusion-empty")),
        ({"agrees_with_ai": None}, (422, "agreement-missing")),
    ],
)
def test_verify_refuses_an_unfinished_reading(
    shared_site: Site, case_at: Callable[[State], str], changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    case_id = case_at(State.AI_ANALYZED)
    shared_site.get("doctor", f"/scans/{case_id}/image")
    assert refusal(shared_site, "doctor", f"/scans/{case_id}/verify", READING | changes) == expected


def test_verify_refuses_before_the_image_was_opened_by_this_doctor(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.AI_ANALYZED, data=new_picture())
    shared_site.in_care(doctor="second doctor")
    shared_site.get("second doctor", f"/scans/{case_id}/image")
    assert refusal(shared_site, "doctor", f"/scans/{case_id}/verify", READING) == (422, "image-not-opened")
    shared_site.get("doctor", f"/scans/{case_id}/image")
    assert shared_site.post("doctor", f"/scans/{case_id}/verify", READING).json()["state"] == "DOCTOR_VERIFIED"


def test_verify_asks_for_an_acknowledgement_of_an_uncertain_result(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.AI_ANALYZED, data=band_png(UNCERTAIN_GREY))
    assert shared_site.get("doctor", f"/scans/{case_id}").json()["ai"]["label"] == "Uncertain"
    shared_site.get("doctor", f"/scans/{case_id}/image")
    path = f"/scans/{case_id}/verify"
    for words in (None, "", "x" * 19, " " * 25, "x" * 19 + "   "):
        assert refusal(shared_site, "doctor", path, READING | {"acknowledgement": words}) == (
            422,
            "acknowledgement-missing",
        )
    answer = shared_site.post("doctor", path, READING | {"acknowledgement": "x" * 20})
    assert (answer.status_code, answer.json()["state"]) == (200, "DOCTOR_VERIFIED")


def test_verify_asks_for_no_acknowledgement_of_a_certain_result(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.AI_ANALYZED, data=band_png(CALM_GREY))
    shared_site.get("doctor", f"/scans/{case_id}/image")
    answer = shared_site.post("doctor", f"/scans/{case_id}/verify", READING | {"acknowledgement": None})
    assert (answer.json()["ai"]["label"], answer.json()["state"]) == ("calm", "DOCTOR_VERIFIED")


def test_verify_without_an_ai_result_asks_for_words_and_for_no_agreement(shared_site: Site) -> None:
    shared_site.in_care()
    case_id = shared_site.upload(data=new_picture(), modality="CT", body_part="BRAIN").json()["id"]
    shared_site.run_jobs()
    assert shared_site.state(case_id) is State.AI_FAILED
    shared_site.post("doctor", f"/scans/{case_id}/read-without-ai", {"reason": "no model"})
    shared_site.get("doctor", f"/scans/{case_id}/image")
    path, alone = f"/scans/{case_id}/verify", READING | {"agrees_with_ai": None}
    assert refusal(shared_site, "doctor", path, READING) == (422, "agreement-missing")
    assert refusal(shared_site, "doctor", path, alone | {"acknowledgement": "short"}) == (
        422,
        "acknowledgement-missing",
    )
    assert shared_site.post("doctor", path, alone).json()["state"] == "DOCTOR_VERIFIED"


def test_verify_refuses_a_version_that_is_not_the_one_on_the_screen(
    shared_site: Site, case_at: Callable[[State], str]
) -> None:
    case_id = case_at(State.AI_ANALYZED)
    version = shared_site.case(case_id).version
    for stale in (version - 1, version + 1):
        assert refusal(
            shared_site, "doctor", f"/scans/{case_id}/verify", READING, headers={"If-Match": f'"{stale}"'}
        ) == (409, "stale-version")


def test_verify_keeps_the_words_of_the_doctor_and_signs_the_very_content(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.AI_ANALYZED, data=new_picture())
    shared_site.get("doctor", f"/scans/{case_id}/image")
    words = READING | {"notes": "  Opacity\nleft.\x00 ", "recommendations": "Control in 6 weeks."}
    signed = shared_site.post("doctor", f"/scans/{case_id}/verify", words).json()["sign_offs"]
    assert [(row["step"], row["words"]["notes"], row["words"]["recommendations"]) for row in signed] == [
        ("verified", "Opacity\nleft.", "Control in 6 weeks.")
    ]
    again = shared_site.bring_to(State.AI_ANALYZED, data=new_picture())
    shared_site.get("doctor", f"/scans/{again}/image")
    other = shared_site.post("doctor", f"/scans/{again}/verify", words).json()["sign_offs"]
    assert other[0]["content_sha256"] != signed[0]["content_sha256"]


def test_nobody_meets_the_case_of_their_own_record(shared_site: Site) -> None:
    """A doctor who is a patient here too: their own scan does not exist for them as a doctor."""
    case_id = shared_site.bring_to(State.AI_ANALYZED, data=new_picture())
    owner = shared_site.person("patient")
    shared_site.person("reader doctor")
    record = owner.patient
    assert record is not None
    with shared_site.assembly.shop.work() as work:
        work.session.execute(update(type(record)).where(type(record).id == record.id).values(user_id=None))
        work.session.flush()
        work.session.execute(
            update(type(record))
            .where(type(record).id == record.id)
            .values(user_id=shared_site.person("reader doctor").user.id)
        )
    shared_site.in_care(doctor="reader doctor")
    try:
        for path, body in (("verify", READING), ("reject", {"reason_code": "duplicate"})):
            assert refusal(shared_site, "reader doctor", f"/scans/{case_id}/{path}", body) == (404, "not-found")
    finally:
        with shared_site.assembly.shop.work() as work:
            work.session.execute(update(type(record)).where(type(record).id == record.id).values(user_id=owner.user.id))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"items": [], "none_statement": None}, (422, "no-prescription")),
        ({"items": [], "none_statement": "  "}, (422, "no-prescription")),
        ({"items": [ITEM], "none_statement": "Nothing."}, (422, "no-prescription")),
        ({"allergy_check": ""}, (422, "allergy-check-missing")),
        ({"allergy_check": " \n"}, (422, "allergy-check-missing")),
        ({"items": [ITEM | {"medicine": " "}], "none_statement": None}, (422, "item-incomplete")),
        ({"items": [ITEM, ITEM | {"dose": ""}], "none_statement": None}, (422, "item-incomplete")),
        ({"items": [ITEM | {"frequency": "\t"}], "none_statement": None}, (422, "item-incomplete")),
    ],
)
def test_complete_refuses_an_unfinished_prescription(
    shared_site: Site, case_at: Callable[[State], str], changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    path = f"/scans/{case_at(State.DOCTOR_VERIFIED)}/complete"
    assert refusal(shared_site, "pharmacist", path, NOTHING_NEEDED | changes) == expected


def test_complete_keeps_the_prescription_and_leaves_the_reading(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.DOCTOR_VERIFIED, data=new_picture())
    before = shared_site.get("doctor", f"/scans/{case_id}").json()["sign_offs"]
    body = NOTHING_NEEDED | {"items": [ITEM | {"route": "oral"}], "none_statement": None}
    after = shared_site.post("pharmacist", f"/scans/{case_id}/complete", body).json()["sign_offs"]
    assert after[0] == before[0]
    assert after[1]["words"]["items"] == [{**ITEM, "route": "oral", "duration": "", "remarks": ""}]
    assert (after[1]["step"], after[1]["by"]) == ("completed", "Pharmacist")


@pytest.mark.parametrize(
    ("state", "who", "step", "body"),
    [
        (State.AI_ANALYZED, "pharmacist", "complete", NOTHING_NEEDED),
        (State.AI_ANALYZED, "admin", "approve", {"code": "123456"}),
        (State.DOCTOR_VERIFIED, "admin", "approve", {"code": "123456"}),
        (State.DOCTOR_VERIFIED, "admin", "step-up", {"method": "totp"}),
    ],
)
def test_a_step_too_early_is_not_found_by_those_who_do_not_see_the_case_yet(
    shared_site: Site, case_at: Callable[[State], str], state: State, who: str, step: str, body: dict[str, Any]
) -> None:
    assert refusal(shared_site, who, f"/scans/{case_at(state)}/{step}", body) == (404, "not-found")


@pytest.mark.parametrize(
    ("state", "who", "step", "body"),
    [
        (State.DOCTOR_VERIFIED, "doctor", "verify", READING),
        (State.DOCTOR_VERIFIED, "doctor", "reject", {"reason_code": "duplicate"}),
        (State.PHARMACIST_COMPLETED, "pharmacist", "complete", NOTHING_NEEDED),
        (State.APPROVED, "admin", "approve", {"code": "123456"}),
        (State.APPROVED, "admin", "retry-render", None),
        (State.APPROVED, "admin", "return", {"reason": "a reason"}),
        (State.PENDING_AI, "doctor", "verify", READING),
        (State.PENDING_AI, "doctor", "retry-ai", None),
        (State.PENDING_AI, "doctor", "read-without-ai", {"reason": "a reason"}),
        (State.AI_ANALYZED, "doctor", "cancel", {"reason": "a reason"}),
        (State.DOCTOR_VERIFIED, "pharmacist", "return-to-pharmacist", {"reason": "a reason"}),
    ],
)
def test_a_step_from_another_state_is_a_conflict(
    shared_site: Site, case_at: Callable[[State], str], state: State, who: str, step: str, body: dict[str, Any]
) -> None:
    # A case that waits for a job does not wait for long: bringing another one on runs every job.
    shared_site.clock.move(timedelta(seconds=31))
    waits = state in (State.PENDING_AI, State.APPROVED)
    case_id = shared_site.bring_to(state, data=new_picture()) if waits else case_at(state)
    assert refusal(shared_site, who, f"/scans/{case_id}/{step}", body) == (409, "wrong-state")


@pytest.mark.parametrize("who", ["doctor", "pharmacist"])
def test_approve_refuses_who_signed_before(shared_site: Site, who: str) -> None:
    """The same person in another role is the same person."""
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    with _as_role(shared_site, who, Role.ADMIN):
        for step, body in (("step-up", {"method": "totp"}), ("approve", {"code": "123456"})):
            assert refusal(shared_site, who, f"/scans/{case_id}/{step}", body) == (403, "four-eyes")
    assert shared_site.state(case_id) is State.PHARMACIST_COMPLETED


def test_complete_refuses_who_verified(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.DOCTOR_VERIFIED, data=new_picture())
    with _as_role(shared_site, "doctor", Role.PHARMACIST):
        assert refusal(shared_site, "doctor", f"/scans/{case_id}/complete", NOTHING_NEEDED) == (403, "four-eyes")


def test_complete_and_approve_refuse_who_sent_the_scan_in(shared_site: Site) -> None:
    shared_site.in_care()
    shared_site.in_care(doctor="sending doctor")
    record = shared_site.person("patient").patient
    assert record is not None
    case_id = shared_site.upload("sending doctor", data=new_picture(), patient_id=str(record.id)).json()["id"]
    shared_site.run_jobs()
    shared_site.get("doctor", f"/scans/{case_id}/image")
    shared_site.post("doctor", f"/scans/{case_id}/verify", READING)
    with _as_role(shared_site, "sending doctor", Role.PHARMACIST):
        assert refusal(shared_site, "sending doctor", f"/scans/{case_id}/complete", NOTHING_NEEDED) == (
            403,
            "four-eyes",
        )
    shared_site.post("pharmacist", f"/scans/{case_id}/complete", NOTHING_NEEDED)
    with _as_role(shared_site, "sending doctor", Role.ADMIN):
        assert refusal(shared_site, "sending doctor", f"/scans/{case_id}/step-up", {"method": "totp"}) == (
            403,
            "four-eyes",
        )
    assert shared_site.state(case_id) is State.PHARMACIST_COMPLETED


class _as_role:
    """For a while, a person of the site has another role: the next request already goes by it."""

    def __init__(self, site: Site, who: str, role: Role) -> None:
        self._site, self._user_id, self._role = site, site.person(who).user.id, role
        self._own = site.person(who).user.role

    def _set(self, role: Role) -> None:
        with self._site.assembly.shop.work() as work:
            work.session.execute(update(User).where(User.id == self._user_id).values(role=role))

    def __enter__(self) -> None:
        self._set(self._role)

    def __exit__(self, *_: object) -> None:
        self._set(self._own)


def test_approve_without_asking_for_a_code_is_refused(shared_site: Site, case_at: Callable[[State], str]) -> None:
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    code = shared_site.totp_code("admin")
    assert refusal(shared_site, "admin", f"/scans/{case_id}/approve", {"code": code}) == (409, "no-open-code")


def test_approve_refuses_a_code_when_the_content_changed_since(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    code = start_approval(shared_site, case_id)
    with shared_site.assembly.shop.work() as work:
        row = work.session.query(SignOff).filter_by(case_id=UUID(case_id), step=SignOffStep.VERIFIED).one()
        row.words = row.words | {"notes": "Something else."}
    answer = shared_site.post("admin", f"/scans/{case_id}/approve", {"code": code})
    assert (answer.status_code, answer.json()["code"]) == (409, "content-changed")
    assert shared_site.state(case_id) is State.PHARMACIST_COMPLETED
    # The code is void now, whatever the content says.
    assert refusal(shared_site, "admin", f"/scans/{case_id}/approve", {"code": code}) == (409, "no-open-code")


def test_approve_refuses_a_code_of_another_case(shared_site: Site) -> None:
    one, other = (shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture()) for _ in range(2))
    code = start_approval(shared_site, one)
    assert refusal(shared_site, "admin", f"/scans/{other}/approve", {"code": code}) == (409, "no-open-code")


def test_approve_refuses_a_stale_version_and_leaves_the_code_open(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    code = start_approval(shared_site, case_id)
    assert refusal(shared_site, "admin", f"/scans/{case_id}/approve", {"code": code}, headers={"If-Match": '"1"'}) == (
        409,
        "stale-version",
    )
    assert shared_site.post("admin", f"/scans/{case_id}/approve", {"code": code}).json()["state"] == "APPROVED"
    # Its job would make the report at some later test's run_jobs; here it ends.
    shared_site.run_jobs()
    assert shared_site.state(case_id) is State.REPORT_READY
