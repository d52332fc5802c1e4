"""Signing in: passwords, authenticators, disabled people, changed roles, and the wait after failures."""

from datetime import timedelta
from typing import Any

import pyotp
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from csss.accounts import joining
from csss.accounts.tables import Role, Throttle, User
from csss.audit import AuditEvent, Outcome
from sites import API, BASE_URL, PASSWORD, Site


def sign_in(
    site: Site, who: str = "patient", password: str = PASSWORD, code: str | None = None, *, via: Any = None, **more: Any
) -> Any:
    body = {"email": site.person(who).user.email, "password": password, "code": code}
    return (via or site.client).post(f"{API}/auth/login", json=body, **more)


def outcome(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


def totp_at(site: Site, who: str, steps: int) -> str:
    secret = site.person(who).totp
    assert secret is not None
    return pyotp.TOTP(secret).at(site.clock.now() + timedelta(seconds=30 * steps))


def test_right_password_gives_a_token_for_an_hour(site: Site) -> None:
    answer = sign_in(site).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    me = site.client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {answer['access_token']}"})
    assert me.json() == answer["user"]


def test_address_is_compared_without_case(site: Site) -> None:
    site.person("patient")
    body = {"email": " PATIENT@Site.Example ", "password": PASSWORD}
    assert site.client.post(f"{API}/auth/login", json=body).status_code == 200


def test_wrong_password_and_unknown_address_get_the_same_answer(site: Site) -> None:
    wrong = sign_in(site, password="not this one, sorry")
    unknown = site.client.post(f"{API}/auth/login", json={"email": "nobody@site.example", "password": PASSWORD})
    assert outcome(wrong) == (401, "wrong-credentials")
    assert wrong.json() | {"request_id": ""} == unknown.json() | {"request_id": ""}
    assert wrong.headers["www-authenticate"] == unknown.headers["www-authenticate"] == "Bearer"


def test_refused_sign_in_is_audited(site: Site) -> None:
    sign_in(site, password="not this one, sorry")
    with site.assembly.shop.work() as work:
        events = work.session.scalars(select(AuditEvent).where(AuditEvent.action == "session.refused")).all()
    assert [(event.actor_id, event.outcome) for event in events] == [(site.person("patient").user.id, Outcome.DENIED)]


@pytest.mark.parametrize("who", ["doctor", "pharmacist", "admin"])
def test_staff_need_their_authenticator(site: Site, who: str) -> None:
    assert outcome(sign_in(site, who)) == (401, "second-factor-required")
    assert outcome(sign_in(site, who, code="")) == (401, "second-factor-required")
    wrong = f"{(int(site.totp_code(who)) + 1) % 1_000_000:06d}"
    assert outcome(sign_in(site, who, code=wrong)) == (401, "wrong-code")
    assert outcome(sign_in(site, who, code=site.totp_code(who))) == (200, None)


def test_code_of_somebody_else_does_not_fit(site: Site) -> None:
    site.person("doctor")
    assert outcome(sign_in(site, "doctor", code=site.totp_code("admin"))) == (401, "wrong-code")


def test_right_code_with_a_wrong_password_is_not_told_apart(site: Site) -> None:
    answer = sign_in(site, "doctor", "not this one, sorry", site.totp_code("doctor"))
    assert outcome(answer) == (401, "wrong-credentials")


def test_code_works_once(site: Site) -> None:
    assert outcome(sign_in(site, "doctor", code=site.totp_code("doctor"))) == (200, None)
    assert outcome(sign_in(site, "doctor", code=site.totp_code("doctor"))) == (401, "wrong-code")
    site.clock.move(timedelta(seconds=30))
    assert outcome(sign_in(site, "doctor", code=site.totp_code("doctor"))) == (200, None)


def test_older_code_does_not_work_after_a_newer_one(site: Site) -> None:
    assert outcome(sign_in(site, "doctor", code=totp_at(site, "doctor", 0))) == (200, None)
    assert outcome(sign_in(site, "doctor", code=totp_at(site, "doctor", -1))) == (401, "wrong-code")


@pytest.mark.parametrize(("steps", "status"), [(-2, 401), (-1, 200), (1, 200), (2, 401)])
def test_code_of_a_clock_that_is_a_little_off_works(site: Site, steps: int, status: int) -> None:
    assert sign_in(site, "doctor", code=totp_at(site, "doctor", steps)).status_code == status


def set_enabled(site: Site, who: str, enabled: bool) -> None:
    with site.assembly.shop.work() as work:
        joining.set_enabled(work, site.person("admin").actor, user_id=site.person(who).user.id, enabled=enabled)


def test_disabled_person_is_out_at_once_and_comes_back_by_signing_in(site: Site) -> None:
    assert site.get("patient", "/auth/me").status_code == 200
    set_enabled(site, "patient", False)
    assert outcome(site.get("patient", "/auth/me")) == (401, "session-ended")
    assert outcome(sign_in(site)) == (401, "wrong-credentials")
    set_enabled(site, "patient", True)
    assert outcome(site.get("patient", "/auth/me")) == (401, "session-ended")
    assert outcome(sign_in(site)) == (200, None)


def test_disabled_row_alone_shuts_a_session_out(site: Site) -> None:
    site.person("patient")
    with site.assembly.shop.work() as work:
        work.session.get_one(User, site.person("patient").user.id).disabled_at = work.clock.now()
    assert outcome(site.get("patient", "/auth/me")) == (401, "session-ended")


def test_changed_role_counts_at_once(site: Site) -> None:
    assert site.get("doctor", "/patients").status_code == 200
    with site.assembly.shop.work() as work:
        work.session.get_one(User, site.person("doctor").user.id).role = Role.PHARMACIST
    assert outcome(site.get("doctor", "/patients")) == (403, "wrong-role")
    assert site.get("doctor", "/auth/me").json()["role"] == "pharmacist"


def fail(site: Site, times: int, **more: Any) -> list[int]:
    return [sign_in(site, password="not this one, sorry", **more).status_code for _ in range(times)]


def test_five_failures_are_free_then_the_wait_doubles(site: Site) -> None:
    assert fail(site, 5) == [401] * 5
    waits = []
    for _ in range(12):
        refused = sign_in(site, password="not this one, sorry")
        assert outcome(refused) == (429, "throttled")
        assert refused.headers["retry-after"] == str(refused.json()["retry_after_seconds"])
        waits.append(int(refused.headers["retry-after"]))
        site.clock.move(timedelta(seconds=waits[-1]))
        assert fail(site, 1) == [401]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_right_password_works_after_the_wait_and_not_before(site: Site) -> None:
    fail(site, 5)
    assert outcome(sign_in(site)) == (429, "throttled")
    site.clock.move(timedelta(seconds=1))
    assert outcome(sign_in(site)) == (200, None)


def test_success_forgives(site: Site) -> None:
    for _ in range(2):
        assert fail(site, 4) == [401] * 4
        assert outcome(sign_in(site)) == (200, None)
    with site.assembly.shop.work() as work:
        assert work.session.scalars(select(Throttle)).all() == []


def test_a_day_forgives(site: Site) -> None:
    fail(site, 5)
    site.clock.move(timedelta(hours=24, seconds=1))
    assert fail(site, 5) == [401] * 5


def test_wrong_authenticator_codes_count_too(site: Site) -> None:
    codes = [outcome(sign_in(site, "doctor", code="000000"))[1] for _ in range(6)]
    assert codes == ["wrong-code"] * 5 + ["throttled"]


def test_other_sources_and_other_accounts_are_not_blocked(site: Site) -> None:
    """Nobody can lock somebody else out: the wait is between one account and one source."""
    fail(site, 5)
    assert outcome(sign_in(site)) == (429, "throttled")
    assert outcome(sign_in(site, "other patient")) == (200, None)
    with TestClient(site.app, base_url=BASE_URL, client=("198.51.100.7", 4000)) as elsewhere:
        assert outcome(sign_in(site, via=elsewhere)) == (200, None)


def test_made_up_forwarding_headers_do_not_dodge_the_wait(site: Site) -> None:
    for number in range(5):
        fail(site, 1, headers={"X-Forwarded-For": f"198.51.100.{number}"})
    assert outcome(sign_in(site, headers={"X-Forwarded-For": "198.51.100.77"})) == (429, "throttled")


def test_throttle_table_names_nobody(site: Site) -> None:
    fail(site, 1)
    with site.assembly.shop.work() as work:
        (row,) = work.session.scalars(select(Throttle)).all()
    assert len(row.key) == 64
    assert set(row.key) <= set("0123456789abcdef")
