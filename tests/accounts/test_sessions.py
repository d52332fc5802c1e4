"""Sessions end: idle, old, signed out, or ended from another device."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from csss.accounts import sign_in
from csss.accounts.actor import Actor
from csss.accounts.sign_in import Origin, SignedIn
from csss.accounts.tables import SessionKind, SignInSession, User
from csss.foundation.errors import NotFound
from csss.foundation.ids import new_id
from sites import API, Site


def open_browser(site: Site, who: str = "patient") -> SignedIn:
    with site.assembly.shop.work() as work:
        user = work.session.get_one(User, site.person(who).user.id)
        return site.assembly.parts.desk.open_session(
            work, user, origin=Origin("127.0.0.1", "Firefox"), kind=SessionKind.BROWSER
        )


def me(site: Site, cookie: str) -> tuple[int, str | None]:
    return outcome(site.client.get(f"{API}/auth/me", headers={"Cookie": f"csss_session={cookie}"}))


def outcome(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


@pytest.mark.parametrize(
    ("idle", "expected"),
    [(timedelta(minutes=14, seconds=59), (200, None)), (timedelta(minutes=15), (401, "session-idle"))],
)
def test_browser_session_ends_after_15_idle_minutes(
    site: Site, idle: timedelta, expected: tuple[int, str | None]
) -> None:
    cookie = open_browser(site).secret
    site.clock.move(timedelta(minutes=10))
    assert me(site, cookie) == (200, None)
    site.clock.move(idle)
    assert me(site, cookie) == expected


def test_refused_request_does_not_bring_an_idle_session_back(site: Site) -> None:
    cookie = open_browser(site).secret
    site.clock.move(timedelta(minutes=15))
    assert me(site, cookie) == (401, "session-idle")
    site.clock.move(timedelta(seconds=-60))
    assert me(site, cookie) == (200, None)
    site.clock.move(timedelta(seconds=60))
    assert me(site, cookie) == (200, None)


@pytest.mark.parametrize(
    ("left", "expected"), [(timedelta(microseconds=1), (200, None)), (timedelta(0), (401, "session-ended"))]
)
def test_browser_session_ends_after_12_hours_of_work(
    site: Site, left: timedelta, expected: tuple[int, str | None]
) -> None:
    cookie = open_browser(site).secret
    for _ in range(71):
        site.clock.move(timedelta(minutes=10))
        assert me(site, cookie) == (200, None)
    site.clock.move(timedelta(minutes=10) - left)
    assert me(site, cookie) == expected


@pytest.mark.parametrize(("age", "status"), [(timedelta(minutes=59, seconds=59), 200), (timedelta(minutes=60), 401)])
def test_token_is_valid_for_60_minutes_idle_or_not(site: Site, age: timedelta, status: int) -> None:
    site.person("patient")
    site.clock.move(age)
    assert site.get("patient", "/auth/me").status_code == status


def test_signing_out_ends_the_token_at_once(site: Site) -> None:
    assert site.post("patient", "/auth/logout").status_code == 204
    assert outcome(site.get("patient", "/auth/me")) == (401, "session-ended")


def test_signing_out_ends_only_this_session(site: Site) -> None:
    cookie = open_browser(site).secret
    site.post("patient", "/auth/logout")
    assert me(site, cookie) == (200, None)


def end(site: Site, actor: Actor, session_id: UUID) -> None:
    with site.assembly.shop.work() as work:
        sign_in.end_session(work, actor, session_id=session_id)


def test_another_own_session_can_be_ended(site: Site) -> None:
    here, there = open_browser(site), open_browser(site)
    end(site, here.actor, there.actor.session_id)
    assert me(site, there.secret) == (401, "session-ended")
    assert me(site, here.secret) == (200, None)


def test_session_of_somebody_else_looks_like_none(site: Site) -> None:
    mine, theirs = open_browser(site), open_browser(site, "other patient")
    refusals = []
    for session_id in (theirs.actor.session_id, new_id()):
        with pytest.raises(NotFound) as refusal:
            end(site, mine.actor, session_id)
        refusals.append((refusal.value.code, refusal.value.message))
    assert refusals == [("not-found", "There is no such session.")] * 2
    assert me(site, theirs.secret) == (200, None)


def test_own_sessions_are_listed_and_nobody_elses(site: Site) -> None:
    first, second = open_browser(site), open_browser(site)
    open_browser(site, "other patient")
    end(site, first.actor, first.actor.session_id)
    with site.assembly.shop.work() as work:
        listed = {row.id for row in sign_in.own_sessions(work, second.actor)}
    assert listed == {second.actor.session_id, site.person("patient").actor.session_id}


def test_cookie_and_token_are_not_exchangeable(site: Site) -> None:
    cookie = open_browser(site).secret
    as_bearer = site.client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {cookie}"})
    assert outcome(as_bearer) == (401, "invalid-token")
    assert me(site, site.person("patient").token) == (401, "session-ended")


def test_made_up_cookie_opens_nothing(site: Site) -> None:
    site.person("patient")
    assert me(site, "a" * 43) == (401, "session-ended")


def test_secret_of_a_session_is_not_kept(site: Site) -> None:
    secrets = {open_browser(site).secret, site.person("patient").token}
    with site.assembly.shop.work() as work:
        rows = work.session.scalars(select(SignInSession)).all()
        kept = {str(getattr(row, column.key)) for row in rows for column in SignInSession.__table__.columns}
    assert kept & secrets == set()
