"""The ways back: which signatures fall, which stand, and what a return leaves of a code."""

from uuid import UUID

import pytest
from sqlalchemy import update

from csss.pathway.states import State
from csss.pathway.tables import Case
from pathway.attempts import refusal, start_approval
from pathway.records import new_picture, places, signatures
from sites import NOTHING_NEEDED, READING, Site

RETURNS = [
    (State.DOCTOR_VERIFIED, "pharmacist", "return", State.AI_ANALYZED),
    (State.DOCTOR_VERIFIED, "doctor", "return", State.AI_ANALYZED),
    (State.PHARMACIST_COMPLETED, "admin", "return", State.AI_ANALYZED),
    (State.PHARMACIST_COMPLETED, "doctor", "return", State.AI_ANALYZED),
    (State.PHARMACIST_COMPLETED, "admin", "return-to-pharmacist", State.DOCTOR_VERIFIED),
    (State.PHARMACIST_COMPLETED, "pharmacist", "return-to-pharmacist", State.DOCTOR_VERIFIED),
]


@pytest.mark.parametrize(("source", "who", "path", "target"), RETURNS)
def test_a_return_opens_a_revision_and_sets_signatures_aside(
    shared_site: Site, source: State, who: str, path: str, target: State
) -> None:
    case_id = shared_site.bring_to(source, data=new_picture())
    version = shared_site.case(case_id).version
    before = signatures(shared_site, case_id)
    for empty in ("", "  ", "no"):
        assert refusal(shared_site, who, f"/scans/{case_id}/{path}", {"reason": empty}) == (422, "reason-missing")
    assert shared_site.post(who, f"/scans/{case_id}/{path}", {"reason": "The left lung."}).status_code == 204
    assert places(shared_site, case_id) == (target, 1, version + 1)
    kept = {"verified"} if path == "return-to-pharmacist" else set()
    assert signatures(shared_site, case_id) == [(step, revision, step in kept) for step, revision, _ in before]
    assert shared_site.case(case_id).reason == "The left lung."


def test_after_a_return_the_image_is_opened_anew_and_the_case_is_signed_again(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    shared_site.post("admin", f"/scans/{case_id}/return", {"reason": "Look again."})
    assert refusal(shared_site, "doctor", f"/scans/{case_id}/verify", READING) == (422, "image-not-opened")
    shared_site.get("doctor", f"/scans/{case_id}/image")
    shared_site.post("doctor", f"/scans/{case_id}/verify", READING)
    shared_site.post("pharmacist", f"/scans/{case_id}/complete", NOTHING_NEEDED)
    assert signatures(shared_site, case_id) == [
        ("verified", 0, False),
        ("completed", 0, False),
        ("verified", 1, True),
        ("completed", 1, True),
    ]


def test_return_to_pharmacist_keeps_the_doctors_signature_to_the_end(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    shared_site.post("admin", f"/scans/{case_id}/return-to-pharmacist", {"reason": "Dose?"})
    shared_site.post("pharmacist", f"/scans/{case_id}/complete", NOTHING_NEEDED)
    code = start_approval(shared_site, case_id)
    shared_site.post("admin", f"/scans/{case_id}/approve", {"code": code})
    shared_site.run_jobs()
    assert shared_site.state(case_id) is State.REPORT_READY
    assert signatures(shared_site, case_id) == [
        ("verified", 0, True),
        ("completed", 0, False),
        ("completed", 1, True),
        ("approved", 1, True),
    ]


def test_return_to_pharmacist_refuses_when_what_the_doctor_signed_has_changed(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    with shared_site.assembly.shop.work() as work:
        work.session.execute(update(Case).where(Case.id == UUID(case_id)).values(phantom=True))
    assert refusal(shared_site, "admin", f"/scans/{case_id}/return-to-pharmacist", {"reason": "Dose?"}) == (
        422,
        "content-changed",
    )


def test_only_the_doctor_who_signed_withdraws(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.DOCTOR_VERIFIED, data=new_picture())
    shared_site.in_care(doctor="second doctor")
    assert refusal(shared_site, "second doctor", f"/scans/{case_id}/return", {"reason": "I see more."}) == (
        403,
        "not-yours",
    )


def test_a_code_from_before_a_return_does_not_approve_what_came_after(shared_site: Site) -> None:
    case_id = shared_site.bring_to(State.PHARMACIST_COMPLETED, data=new_picture())
    code = start_approval(shared_site, case_id)
    shared_site.post("admin", f"/scans/{case_id}/return-to-pharmacist", {"reason": "Dose?"})
    shared_site.post("pharmacist", f"/scans/{case_id}/complete", NOTHING_NEEDED)
    answer = shared_site.post("admin", f"/scans/{case_id}/approve", {"code": code})
    assert (answer.status_code, answer.json()["code"]) == (409, "content-changed")
    assert shared_site.state(case_id) is State.PHARMACIST_COMPLETED
