"""The fresh second factor of an approval: bound to content, single use, ten minutes, five tries."""

import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from accounts.letters_read import mailed_code, text_of
from csss.accounts import step_up
from csss.accounts.step_up import Bound
from csss.accounts.tables import StepUp, StepUpMethod
from csss.audit import AuditEvent
from csss.foundation.clock import SetClock
from csss.foundation.errors import Conflict
from csss.foundation.ids import new_id
from csss.imaging.sandbox import Sandbox
from csss.pathway.states import State
from csss.patients import Patient
from mailbox_server import Mailbox
from pictures import picture_png
from sites import NOTHING_NEEDED, PASSWORD, Site, open_site


def begin(site: Site, case_id: str, method: str = "email", who: str = "admin") -> Any:
    return site.post(who, f"/scans/{case_id}/step-up", {"method": method})


def approve(site: Site, case_id: str, code: str, who: str = "admin") -> tuple[int, str | None]:
    answer = site.post(who, f"/scans/{case_id}/approve", {"code": code})
    return answer.status_code, answer.json().get("code")


def waiting(site: Site, seed: int = 3) -> str:
    return site.bring_to(State.PHARMACIST_COMPLETED, data=picture_png(seed))


def mailed(site: Site, case_id: str) -> str:
    """Ask for a code by mail and read it."""
    answer = begin(site, case_id)
    assert answer.status_code == 201, answer.text
    return mailed_code(site.mailbox)


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}d}"


@pytest.mark.parametrize(
    ("age", "expected", "state"),
    [
        (timedelta(minutes=9, seconds=59), (200, None), State.APPROVED),
        (timedelta(minutes=10), (401, "code-expired"), State.PHARMACIST_COMPLETED),
    ],
)
def test_mailed_code_is_valid_for_ten_minutes(
    site: Site, age: timedelta, expected: tuple[int, str | None], state: State
) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    site.clock.move(age)
    assert (approve(site, case_id, code), site.state(case_id)) == (expected, state)


@pytest.mark.parametrize(
    ("age", "expected"),
    [(timedelta(minutes=9, seconds=59), (200, None)), (timedelta(minutes=10), (401, "code-expired"))],
)
def test_authenticator_challenge_is_open_for_ten_minutes(
    site: Site, age: timedelta, expected: tuple[int, str | None]
) -> None:
    case_id = waiting(site)
    assert begin(site, case_id, "totp").status_code == 201
    site.clock.move(age)
    assert approve(site, case_id, site.totp_code("admin")) == expected


def test_expired_code_stays_expired_when_the_clock_goes_back(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    site.clock.move(timedelta(minutes=10))
    approve(site, case_id, code)
    site.clock.move(timedelta(minutes=-5))
    assert approve(site, case_id, code) == (409, "no-open-code")


def test_challenge_works_once(site: Site) -> None:
    actor, rules = site.person("admin").actor, site.assembly.settings.approval
    bound = Bound("approve", new_id(), 0, "0" * 64, "approve the report")
    sent: list[str] = []
    with site.assembly.shop.work() as work:
        step_up.begin(
            work,
            actor,
            bound=bound,
            method=StepUpMethod.EMAIL,
            rules=rules,
            send_code=lambda _address, _purpose, code, _minutes: sent.append(code),
        )
    with site.assembly.shop.work() as work:
        step_up.use(work, actor, bound=bound, code=sent[0], rules=rules)
    with pytest.raises(Conflict) as refusal, site.assembly.shop.work() as work:
        step_up.use(work, actor, bound=bound, code=sent[0], rules=rules)
    assert refusal.value.code == "no-open-code"


def test_fifth_wrong_code_voids_the_challenge(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    tries = [site.post("admin", f"/scans/{case_id}/approve", {"code": other_than(code)}).json() for _ in range(5)]
    assert [answer["code"] for answer in tries] == ["wrong-code"] * 4 + ["code-void"]
    assert [answer["detail"] for answer in tries[:4]] == [
        "The code is wrong. 4 tries are left.",
        "The code is wrong. 3 tries are left.",
        "The code is wrong. 2 tries are left.",
        "The code is wrong. 1 try is left.",
    ]
    assert approve(site, case_id, code) == (429, "throttled")
    site.clock.move(timedelta(seconds=2))
    assert approve(site, case_id, code) == (409, "no-open-code")
    assert site.state(case_id) is State.PHARMACIST_COMPLETED


def test_wrong_codes_are_counted_over_all_challenges(site: Site) -> None:
    case_id = waiting(site)
    for _ in range(2):
        code = mailed(site, case_id)
        for _ in range(3):
            last = approve(site, case_id, other_than(code))
        site.clock.move(timedelta(seconds=60))
    assert last == (429, "throttled")


def test_right_code_after_four_wrong_ones_works(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    for _ in range(4):
        approve(site, case_id, other_than(code))
    assert approve(site, case_id, code) == (200, None)


@pytest.mark.parametrize("code", ["", " ", "x", "1234567", "123456789", "\u0660" * 8, "00000000 or 1=1"])
def test_what_is_no_code_is_a_wrong_code(sqlite_site: Site, code: str) -> None:
    case_id = waiting(sqlite_site)
    mailed(sqlite_site, case_id)
    assert approve(sqlite_site, case_id, code) == (401, "wrong-code")


def test_code_may_be_typed_with_spaces(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    assert approve(site, case_id, f" {code[:4]} {code[4:]} ") == (200, None)


def test_new_code_voids_the_old_one(site: Site) -> None:
    case_id = waiting(site)
    old = mailed(site, case_id)
    site.clock.move(timedelta(seconds=60))
    new = mailed(site, case_id)
    assert old != new
    assert approve(site, case_id, old) == (401, "wrong-code")
    assert approve(site, case_id, new) == (200, None)


def test_code_for_another_scan_voids_the_first_ones(site: Site) -> None:
    first, second = waiting(site, 3), waiting(site, 4)
    old = mailed(site, first)
    site.clock.move(timedelta(seconds=60))
    mailed(site, second)
    assert approve(site, first, old) == (409, "no-open-code")


@pytest.mark.parametrize(("wait", "status"), [(59, 429), (60, 201)])
def test_next_code_is_mailed_after_sixty_seconds(site: Site, wait: int, status: int) -> None:
    case_id = waiting(site)
    first = begin(site, case_id).json()
    asked_at = site.clock.now()
    assert datetime.fromisoformat(first["resend_at"]) == asked_at + timedelta(seconds=60)
    site.clock.move(timedelta(seconds=wait))
    again = begin(site, case_id)
    assert again.status_code == status
    if status == 429:
        assert (again.json()["code"], again.headers["retry-after"]) == ("code-just-sent", "1")
    assert len(site.mailbox.messages) == (1 if status == 429 else 2)


def test_early_resend_leaves_the_open_code_usable(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    assert begin(site, case_id).status_code == 429
    assert approve(site, case_id, code) == (200, None)


def test_another_method_in_between_does_not_shorten_the_wait(site: Site) -> None:
    """Otherwise somebody with a stolen session could fill the mailbox in which the codes arrive."""
    case_id = waiting(site)
    mailed(site, case_id)
    site.clock.move(timedelta(seconds=1))
    assert begin(site, case_id, "totp").status_code == 201
    site.clock.move(timedelta(seconds=1))
    assert begin(site, case_id).json()["code"] == "code-just-sent"
    assert len(site.mailbox.messages) == 1


def change_patient(site: Site) -> None:
    record = site.person("patient").patient
    assert record is not None
    with site.assembly.shop.work() as work:
        work.session.get_one(Patient, record.id).allergies = "Penicillin"


def test_code_is_bound_to_the_content_and_what_was_signed_has_to_be_signed_again(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    change_patient(site)
    assert approve(site, case_id, code) == (409, "content-changed")
    assert approve(site, case_id, code) == (409, "no-open-code")
    assert site.state(case_id) is State.PHARMACIST_COMPLETED
    site.clock.move(timedelta(seconds=60))
    again = site.post("admin", f"/scans/{case_id}/step-up", {"method": "email"})
    assert (again.status_code, again.json()["code"]) == (409, "signed-content-changed")
    assert site.post("admin", f"/scans/{case_id}/return", {"reason": "the record changed"}).status_code == 204
    assert site.state(case_id) is State.AI_ANALYZED


def test_code_is_bound_to_the_revision(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    site.post("admin", f"/scans/{case_id}/return-to-pharmacist", {"reason": "look at the dose"})
    assert site.post("pharmacist", f"/scans/{case_id}/complete", NOTHING_NEEDED).status_code == 200
    assert approve(site, case_id, code) == (409, "content-changed")


def test_code_is_bound_to_the_scan(site: Site) -> None:
    first, second = waiting(site, 3), waiting(site, 4)
    code = mailed(site, first)
    assert approve(site, second, code) == (409, "no-open-code")
    assert approve(site, first, code) == (200, None)


def test_code_is_bound_to_the_person(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    assert approve(site, case_id, code, "other admin") == (409, "no-open-code")


def test_challenge_names_the_content_that_the_signature_will_carry(site: Site) -> None:
    case_id = waiting(site)
    asked = begin(site, case_id, "totp").json()
    signed = site.post("admin", f"/scans/{case_id}/approve", {"code": site.totp_code("admin")}).json()["sign_offs"][-1]
    assert (signed["step"], signed["content_sha256"]) == ("approved", asked["content_sha256"])


def test_authenticator_code_of_a_sign_in_does_not_approve(site: Site) -> None:
    case_id = waiting(site)
    code = site.totp_code("admin")
    body = {"email": site.person("admin").user.email, "password": PASSWORD, "code": code}
    assert site.client.post("/api/v1/auth/login", json=body).status_code == 200
    begin(site, case_id, "totp")
    assert approve(site, case_id, code) == (401, "wrong-code")
    site.clock.move(timedelta(seconds=30))
    assert approve(site, case_id, site.totp_code("admin")) == (200, None)


def test_authenticator_code_approves_one_scan_only(site: Site) -> None:
    first, second = waiting(site, 3), waiting(site, 4)
    begin(site, first, "totp")
    code = site.totp_code("admin")
    assert approve(site, first, code) == (200, None)
    begin(site, second, "totp")
    assert approve(site, second, code) == (401, "wrong-code")


def test_mailed_code_does_not_answer_an_authenticator_challenge(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    begin(site, case_id, "totp")
    assert approve(site, case_id, code) == (401, "wrong-code")


def test_code_goes_to_the_administrator_alone_over_an_encrypted_line(site: Site) -> None:
    case_id = waiting(site)
    mailed(site, case_id)
    (mail,) = site.mailbox.messages
    assert (str(mail["To"]), mail["Cc"], mail["Bcc"]) == ("admin@site.example", None, None)
    assert site.mailbox.encrypted == [True]


def test_code_is_kept_nowhere_in_clear(site: Site) -> None:
    case_id = waiting(site)
    code = mailed(site, case_id)
    with site.assembly.shop.work() as work:
        (row,) = work.session.scalars(select(StepUp)).all()
        kept = [str(getattr(row, column.key)) for column in StepUp.__table__.columns]
        kept += [str(event.detail) for event in work.session.scalars(select(AuditEvent))]
    assert [text for text in kept if code in text] == []


@pytest.fixture
def open_with(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> Any:
    """Open a site whose settings differ; a context manager."""

    def opener(**settings: str) -> Any:
        return open_site(sqlite_url, tmp_path, clock, sandbox, tiny_models, mailbox, **settings)

    return opener


@pytest.mark.parametrize("minutes", [10, 7])
def test_letter_states_the_minutes_of_the_setting(open_with: Any, minutes: int) -> None:
    with open_with(approval_code_minutes=str(minutes)) as site:
        case_id = waiting(site)
        answer = begin(site, case_id).json()
        assert "Your code to approve the report is" in text_of(site.mailbox)
        assert f"It is valid for {minutes} minutes, works once" in text_of(site.mailbox)
        assert datetime.fromisoformat(answer["expires_at"]) - site.clock.now() == timedelta(minutes=minutes)


def test_mailed_code_is_refused_where_the_site_did_not_choose_it(open_with: Any) -> None:
    with open_with(approval_email_code="false") as site:
        case_id = waiting(site)
        refused = begin(site, case_id)
        assert (refused.status_code, refused.json()["code"]) == (422, "method-not-open")
        assert site.mailbox.messages == []
        assert begin(site, case_id, "totp").status_code == 201


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A loopback port on which nobody listens, for as long as it is held."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def open_codes(site: Site, case_id: str) -> int:
    with site.assembly.shop.work() as work:
        rows = work.session.scalars(select(StepUp).where(StepUp.subject_id == UUID(case_id)))
        return len([row for row in rows if row.voided_at is None and row.used_at is None])


def test_mail_server_that_is_down_opens_nothing(open_with: Any, closed_port: int) -> None:
    with open_with(smtp_port=str(closed_port)) as site:
        case_id = waiting(site)
        refused = begin(site, case_id)
        assert (refused.status_code, refused.json()["code"]) == (503, "delivery-failed")
        assert refused.json()["detail"] == "The mail server cannot be reached (ConnectionRefusedError)."
        assert open_codes(site, case_id) == 0
        assert begin(site, case_id, "totp").status_code == 201


@pytest.mark.parametrize("reply", ["451 try later", "550 no such mailbox"])
def test_mail_server_that_refuses_opens_nothing_and_can_be_asked_again(site: Site, reply: str) -> None:
    case_id = waiting(site)
    site.mailbox.answers.append(reply)
    refused = begin(site, case_id)
    assert (refused.status_code, refused.json()["detail"]) == (
        503,
        f"The mail server refused the message (code {reply[:3]}).",
    )
    assert open_codes(site, case_id) == 0
    assert approve(site, case_id, mailed(site, case_id)) == (200, None)
