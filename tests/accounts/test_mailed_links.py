"""Links that decide on somebody's password: mailed to that person, shown to nobody, one at a time."""

import re

import pytest

from csss.accounts import joining
from csss.accounts.passwords import MAX_LENGTH, Passwords
from csss.accounts.tables import Role
from csss.foundation.errors import NotFound, Unavailable
from sites import Site


def test_link_an_administrator_asks_for_goes_to_the_person_only(site: Site) -> None:
    headers = {**site.person("admin").headers, "Accept": "text/html"}
    answer = site.client.post(f"/admin/users/{site.person('doctor').user.id}/reset", headers=headers)
    page = site.client.get("/admin/users", headers=headers)
    assert (answer.status_code, "/link/" in answer.text + page.text) == (303, False)
    site.run_jobs()
    [mail] = site.mailbox.messages
    body = mail.get_body()
    assert mail["To"] == site.person("doctor").user.email
    assert body is not None
    token = re.search(r"/link/(\S+)", body.get_content())
    assert token is not None
    with site.assembly.shop.work() as work:
        assert joining.open_link(work, token[1]).user_id == site.person("doctor").user.id


def test_newer_link_voids_the_older_one(site: Site) -> None:
    with site.assembly.shop.work() as work:
        older = joining.reset_link(work, None, user_id=site.person("doctor").user.id)
    with site.assembly.shop.work() as work:
        joining.reset_link(work, None, user_id=site.person("doctor").user.id)
    with site.assembly.shop.work() as work, pytest.raises(NotFound):
        joining.open_link(work, older)


def test_demo_link_opens_nothing_on_a_real_site(sqlite_site: Site) -> None:
    user = sqlite_site.person("admin").user
    with sqlite_site.assembly.shop.work() as work:
        token = joining.demo_link(work, user)
    with sqlite_site.assembly.shop.work() as work, pytest.raises(NotFound):
        joining.use_sign_in_link(work, token, is_demo=False)


def test_site_without_mail_does_not_invite_by_page(sqlite_site: Site) -> None:
    admin = sqlite_site.person("admin").actor
    with sqlite_site.assembly.shop.work() as work, pytest.raises(Unavailable):
        joining.invite(work, admin, email="new@staff.example", role=Role.DOCTOR, can_mail=False)


def test_password_longer_than_any_allowed_one_matches_nothing() -> None:
    # Not even its own hash: it is put aside before the work that grows with the square of its length.
    passwords = Passwords("cheap")
    endless = "ab" * 4 * MAX_LENGTH
    assert not passwords.matches(endless, passwords.hash(endless))
