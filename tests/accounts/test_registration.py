"""Patients register themselves: the mailed link and the chosen password together open an account."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from accounts.letters_read import link_token, text_of
from csss.accounts.joining import LINK_LIFETIME
from csss.accounts.tables import PendingRegistration, Role, User
from sites import API, PASSWORD, Site

NEW = {
    "email": "New.Person@mail.example",
    "name": "New Person",
    "birth_date": "1991-02-03",
    "sex": "female",
    "password": PASSWORD,
}
OTHER_PASSWORD = "copper lantern seventeen boats"


def register(site: Site, **changed: Any) -> Any:
    return site.client.post(f"{API}/auth/register", json=NEW | changed)


def confirm(site: Site, token: str, password: str = PASSWORD, **more: Any) -> Any:
    return site.client.post(f"{API}/auth/confirm", json={"token": token, "password": password, **more})


def registered(site: Site, **changed: Any) -> str:
    """Register, and return the token of the letter that came."""
    assert register(site, **changed).status_code == 202
    site.run_jobs()
    return link_token(site.mailbox)


def accounts(site: Site) -> list[tuple[str, Role]]:
    with site.assembly.shop.work() as work:
        return [(row.email, row.role) for row in work.session.scalars(select(User).order_by(User.email))]


def test_link_and_password_open_a_patients_account(site: Site) -> None:
    token = registered(site)
    assert [str(mail["To"]) for mail in site.mailbox.messages] == ["new.person@mail.example"]
    answer = confirm(site, token)
    assert (answer.status_code, answer.json()["role"], answer.json()["name"]) == (201, "patient", "New Person")
    signed_in = site.client.post(f"{API}/auth/login", json={"email": NEW["email"], "password": PASSWORD})
    assert signed_in.json()["user"] == answer.json()
    assert answer.json()["patient_id"] is not None


def test_registration_opens_nothing_by_itself(site: Site) -> None:
    registered(site)
    signed_in = site.client.post(f"{API}/auth/login", json={"email": NEW["email"], "password": PASSWORD})
    assert (signed_in.status_code, signed_in.json()["code"]) == (401, "wrong-credentials")
    assert accounts(site) == []


def test_known_address_gets_the_same_answer_and_another_letter(site: Site) -> None:
    known = site.person("patient").user.email
    one, two = register(site), register(site, email=known)
    assert (one.status_code, one.content) == (two.status_code, two.content)
    assert {name for name in one.headers if name != "date"} == {name for name in two.headers if name != "date"}
    site.run_jobs()
    letters = {str(mail["To"]): text_of(site.mailbox, index) for index, mail in enumerate(site.mailbox.messages)}
    assert set(letters) == {"new.person@mail.example", known}
    assert "has an account already" in letters[known]
    assert "/register/confirm/" not in letters[known]


def test_known_address_gets_one_letter_a_day(site: Site) -> None:
    known = site.person("patient").user.email
    for _ in range(3):
        register(site, email=known)
    site.run_jobs()
    assert len(site.mailbox.messages) == 1
    site.clock.move(timedelta(days=1))
    register(site, email=known)
    site.run_jobs()
    assert len(site.mailbox.messages) == 2


def test_link_with_another_password_opens_nothing_and_stays_usable(site: Site) -> None:
    token = registered(site)
    refused = confirm(site, token, OTHER_PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (401, "wrong-credentials")
    assert accounts(site) == []
    assert confirm(site, token).status_code == 201


def test_guessing_the_password_of_a_link_is_slowed_down(site: Site) -> None:
    token = registered(site)
    codes = [confirm(site, token, OTHER_PASSWORD).json()["code"] for _ in range(6)]
    assert codes == ["wrong-credentials"] * 5 + ["throttled"]


def test_used_link_is_not_valid_any_more(site: Site) -> None:
    token = registered(site)
    confirm(site, token)
    again = confirm(site, token)
    assert (again.status_code, again.json()["code"]) == (404, "link-invalid")


def test_unknown_link_is_answered_like_a_used_one(site: Site) -> None:
    token = registered(site)
    confirm(site, token)
    used, unknown = confirm(site, token).json(), confirm(site, "never-made").json()
    assert used | {"request_id": ""} == unknown | {"request_id": ""}


@pytest.mark.parametrize(
    ("age", "status", "code"),
    [(LINK_LIFETIME - timedelta(microseconds=1), 201, None), (LINK_LIFETIME, 404, "link-invalid")],
)
def test_link_is_valid_for_24_hours(site: Site, age: timedelta, status: int, code: str | None) -> None:
    token = registered(site)
    assert "within 24 hours" in text_of(site.mailbox)
    assert timedelta(hours=24) == LINK_LIFETIME
    site.clock.move(age)
    answer = confirm(site, token)
    assert (answer.status_code, answer.json().get("code")) == (status, code)


def test_of_two_registrations_only_link_and_password_together_win(site: Site) -> None:
    """A stranger who registers somebody's address with a password of their own gains nothing from the owner's click."""
    strangers = registered(site, password=OTHER_PASSWORD, name="Stranger Here")
    owners = registered(site)
    assert confirm(site, strangers).status_code == 401
    assert confirm(site, owners, OTHER_PASSWORD).status_code == 401
    assert confirm(site, owners).json()["name"] == "New Person"
    late = confirm(site, strangers, OTHER_PASSWORD)
    assert (late.status_code, late.json()["code"]) == (409, "already-registered")
    assert accounts(site) == [("new.person@mail.example", Role.PATIENT)]


@pytest.mark.parametrize("extra", [{"role": "admin"}, {"is_admin": True}, {"id": "x"}])
def test_role_cannot_be_chosen(site: Site, extra: dict[str, Any]) -> None:
    refused = register(site, **extra)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")
    assert [entry["field"] for entry in refused.json()["fields"]] == list(extra)
    token = registered(site)
    assert confirm(site, token, **extra).status_code == 422
    confirm(site, token)
    assert accounts(site) == [("new.person@mail.example", Role.PATIENT)]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"password": "tall ship 4 elk"[:14]}, "weak-password"),
        ({"password": "passwordpassword"}, "weak-password"),
        ({"password": "newpersonnewperson"}, "weak-password"),
        ({"password": "x" * 129}, "weak-password"),
        ({"email": "no address"}, "bad-email"),
        ({"email": "two@at@signs.example"}, "bad-email"),
        ({"email": "a@b.example\r\nBcc: all@site.example"}, "bad-email"),
        ({"name": " \u202e "}, "bad-name"),
        ({"name": "A" * 121}, "bad-name"),
        ({"birth_date": "2026-11-03"}, "bad-birth-date"),
        ({"birth_date": "1899-12-31"}, "bad-birth-date"),
        ({"sex": "yes"}, "bad-sex"),
    ],
)
def test_registration_refuses_what_cannot_be(sqlite_site: Site, changed: dict[str, str], code: str) -> None:
    refused = register(sqlite_site, **changed)
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    with sqlite_site.assembly.shop.work() as work:
        assert work.session.scalar(select(func.count()).select_from(PendingRegistration)) == 0


def test_name_is_kept_on_one_line_without_direction_marks(site: Site) -> None:
    token = registered(site, name="  New\u202e\n  Person\x00 ")
    assert confirm(site, token).json()["name"] == "New Person"


def test_password_typed_on_another_keyboard_is_the_same(site: Site) -> None:
    composed, decomposed = "caf\u00e9 harbour ticket 42", "cafe\u0301 harbour ticket 42"
    assert confirm(site, registered(site, password=composed), decomposed).status_code == 201


def test_many_registrations_from_one_source_are_slowed_down(site: Site) -> None:
    codes = [register(site, email=f"person{number}@mail.example").status_code for number in range(6)]
    assert codes == [202] * 5 + [429]
