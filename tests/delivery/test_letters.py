"""Letters about accounts: who gets which, tried again while it makes sense, and never more than is needed."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from csss.accounts.tables import PendingRegistration, StepUp
from csss.foundation.jobs import JobRequest, JobStatus
from csss.pathway.states import State
from mailbox_server import Mailbox
from sites import BASE_URL, PASSWORD, Site

FORM = {
    "email": "new@home.example",
    "name": "New Person",
    "birth_date": "1990-02-03",
    "sex": "male",
    "password": "seven quiet copper lanterns",
}


def register(site: Site, **changes: str) -> int:
    status: int = site.client.post("/api/v1/auth/register", json=FORM | changes).status_code
    return status


def texts(mailbox: Mailbox) -> list[str]:
    return [str(mail.get_body().get_content()).replace("\r\n", "\n") for mail in mailbox.messages]  # type: ignore[union-attr]


def test_a_registration_gets_a_link_that_opens_the_account(sqlite_site: Site, mailbox: Mailbox) -> None:
    assert register(sqlite_site) == 202
    sqlite_site.run_jobs()
    [mail], [text] = mailbox.messages, texts(mailbox)
    assert (mail["To"], mail["Subject"]) == ("new@home.example", "Test Hospital: confirm your registration")
    [link] = [line for line in text.splitlines() if line.startswith(BASE_URL)]
    token = link.removeprefix(f"{BASE_URL}/register/confirm/")
    answer = sqlite_site.client.post("/api/v1/auth/confirm", json={"token": token, "password": FORM["password"]})
    assert answer.status_code == 201
    assert mailbox.encrypted == [True]


def test_a_known_address_is_told_so_once_a_day_and_gets_no_link(sqlite_site: Site, mailbox: Mailbox) -> None:
    sqlite_site.person("patient")
    for _ in range(2):
        assert register(sqlite_site, email="patient@site.example", password=PASSWORD + " and more") == 202
    sqlite_site.run_jobs()
    [mail], [text] = mailbox.messages, texts(mailbox)
    assert mail["Subject"] == "Test Hospital: you have an account already"
    assert "/register/confirm/" not in text
    assert f"{BASE_URL}/sign-in" in text


@pytest.mark.parametrize(
    ("answers", "mails", "status"),
    [(["451 busy", "451 busy"], 1, JobStatus.DONE), (["550 no such user"] * 8, 0, JobStatus.FAILED)],
)
def test_a_letter_is_tried_again_while_it_makes_sense(
    sqlite_site: Site, mailbox: Mailbox, answers: list[str], mails: int, status: JobStatus
) -> None:
    mailbox.answers += answers
    register(sqlite_site)
    while sqlite_site.run_jobs():
        sqlite_site.clock.move(timedelta(minutes=16))
    with sqlite_site.assembly.shop.work() as work:
        [job] = work.session.scalars(select(JobRequest)).all()
    assert (len(mailbox.messages), job.status, mailbox.answers) == (mails, status, [])


def test_a_registration_that_ran_out_gets_no_letter(sqlite_site: Site, mailbox: Mailbox) -> None:
    register(sqlite_site)
    sqlite_site.clock.move(timedelta(hours=24))
    assert (sqlite_site.run_jobs(), mailbox.messages) == (1, [])
    with sqlite_site.assembly.shop.work() as work:
        assert [row.used_at for row in work.session.scalars(select(PendingRegistration))] == [None]


def test_an_approval_code_states_the_minutes_that_it_is_valid(sqlite_site: Site, mailbox: Mailbox) -> None:
    case_id = sqlite_site.bring_to(State.PHARMACIST_COMPLETED)
    assert sqlite_site.post("admin", f"/scans/{case_id}/step-up", {"method": "email"}).status_code == 201
    [mail], [text] = mailbox.messages, texts(mailbox)
    assert mail["To"] == "admin@site.example"
    assert f"It is valid for {sqlite_site.assembly.settings.approval.code_minutes} minutes" in text
    [code] = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert (len(code), code.isdigit()) == (8, True)
    answer = sqlite_site.post("admin", f"/scans/{case_id}/approve", {"code": code})
    assert answer.json()["state"] == "APPROVED"


def test_a_code_that_the_server_did_not_take_is_never_open(sqlite_site: Site, mailbox: Mailbox) -> None:
    case_id = sqlite_site.bring_to(State.PHARMACIST_COMPLETED)
    mailbox.answers.append("451 busy")
    answer = sqlite_site.post("admin", f"/scans/{case_id}/step-up", {"method": "email"})
    assert (answer.status_code, answer.json()["code"]) == (503, "delivery-failed")
    with sqlite_site.assembly.shop.work() as work:
        assert work.session.scalars(select(StepUp)).all() == []
