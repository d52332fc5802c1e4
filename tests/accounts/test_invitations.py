"""Staff come by invitation: a link that works once, for a day, and only with an authenticator that was proved."""

from datetime import timedelta
from uuid import UUID

import pyotp
import pytest
from sqlalchemy import select

from csss.accounts import joining
from csss.accounts.authenticator import totp_secret
from csss.accounts.joining import LINK_LIFETIME
from csss.accounts.tables import OneTimeLink, Role, User
from csss.foundation.errors import Conflict, CsssError, Forbidden, NotFound, Unprocessable
from csss.foundation.ids import digest
from sites import API, PASSWORD, Site

STAFF_PASSWORD = "lantern copper 17"
ADDRESS = "new.doctor@site.example"


def invited(site: Site, role: Role = Role.DOCTOR, *, by: str | None = "admin", email: str = ADDRESS) -> str:
    actor = site.person(by).actor if by else None
    with site.assembly.shop.work() as work:
        return joining.invite(work, actor, email=email, role=role)


def code_of(site: Site, token: str) -> str:
    """What the authenticator that was set up with this link shows now."""
    with site.assembly.shop.work() as work:
        row = work.session.scalars(select(OneTimeLink).where(OneTimeLink.token_hash == digest(token))).one()
        assert row.totp_secret is not None
        return pyotp.TOTP(totp_secret(work.blobs, row.totp_secret)).at(site.clock.now())


def accept(site: Site, token: str, *, code: str | None, password: str = STAFF_PASSWORD) -> User:
    with site.assembly.shop.work() as work:
        return joining.accept_link(
            work,
            token=token,
            name="New Doctor",
            speciality="Radiology",
            password=password,
            code=code,
            passwords=site.assembly.parts.desk.passwords,
        )


def sign_in(site: Site, email: str, password: str, code: str | None = None) -> tuple[int, str | None]:
    answer = site.client.post(f"{API}/auth/login", json={"email": email, "password": password, "code": code})
    return answer.status_code, answer.json().get("code")


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.PHARMACIST])
def test_invitation_opens_an_account_of_the_invited_role(site: Site, role: Role) -> None:
    token = invited(site, role)
    code = code_of(site, token)
    user = accept(site, token, code=code)
    assert (user.role, user.email, user.speciality) == (role, ADDRESS, "Radiology")
    assert sign_in(site, ADDRESS, STAFF_PASSWORD, code) == (401, "wrong-code")
    site.clock.move(timedelta(seconds=30))
    assert sign_in(site, ADDRESS, STAFF_PASSWORD, code_of(site, token)) == (200, None)


@pytest.mark.parametrize("code", [None, "", "000000", "12345", "1234567", "\u0661\u0662\u0663\u0664\u0665\u0666"])
def test_authenticator_must_be_proved(site: Site, code: str | None) -> None:
    token = invited(site)
    assert code != code_of(site, token)
    with pytest.raises(Unprocessable) as refusal:
        accept(site, token, code=code)
    assert refusal.value.code == "bad-code"
    assert accept(site, token, code=code_of(site, token)).email == ADDRESS


def test_weak_password_leaves_the_link_usable(site: Site) -> None:
    token = invited(site)
    with pytest.raises(Unprocessable) as refusal:
        accept(site, token, code=code_of(site, token), password="new.doctor")
    assert refusal.value.code == "weak-password"
    assert accept(site, token, code=code_of(site, token)).email == ADDRESS


def test_administrator_cannot_invite_an_administrator(site: Site) -> None:
    with pytest.raises(Forbidden) as refusal:
        invited(site, Role.ADMIN)
    assert refusal.value.code == "wrong-role"
    assert accept_role(site, invited(site, Role.ADMIN, by=None)) is Role.ADMIN


def accept_role(site: Site, token: str) -> Role:
    return accept(site, token, code=code_of(site, token)).role


@pytest.mark.parametrize("who", ["patient", "doctor", "pharmacist"])
def test_only_administrators_invite(site: Site, who: str) -> None:
    with pytest.raises(Forbidden) as refusal:
        invited(site, by=who)
    assert refusal.value.code == "wrong-role"


def test_patients_are_not_invited(site: Site) -> None:
    with pytest.raises(Unprocessable) as refusal:
        invited(site, Role.PATIENT)
    assert refusal.value.code == "bad-role"


def test_known_address_is_not_invited(site: Site) -> None:
    with pytest.raises(Conflict) as refusal:
        invited(site, email=site.person("doctor").user.email.upper())
    assert refusal.value.code == "already-registered"


def test_link_works_once(site: Site) -> None:
    token = invited(site)
    code = code_of(site, token)
    accept(site, token, code=code)
    with pytest.raises(NotFound) as refusal:
        accept(site, token, code=code)
    assert refusal.value.code == "link-invalid"


def test_opening_a_link_does_not_use_it(site: Site) -> None:
    token = invited(site)
    for _ in range(3):
        with site.assembly.shop.work() as work:
            joining.open_link(work, token)
    assert accept_role(site, token) is Role.DOCTOR


@pytest.mark.parametrize(
    ("age", "code"), [(LINK_LIFETIME - timedelta(microseconds=1), None), (LINK_LIFETIME, "link-invalid")]
)
def test_link_is_valid_for_24_hours(site: Site, age: timedelta, code: str | None) -> None:
    token = invited(site)
    site.clock.move(age)
    assert refusal_of(site, token) == code


def refusal_of(site: Site, token: str) -> str | None:
    try:
        accept(site, token, code=code_of(site, token))
    except CsssError as refusal:
        return refusal.code
    return None


def test_new_invitation_of_an_address_voids_the_one_before(site: Site) -> None:
    first, second = invited(site), invited(site, Role.PHARMACIST)
    assert refusal_of(site, first) == "link-invalid"
    assert accept_role(site, second) is Role.PHARMACIST


def test_invitation_is_refused_when_the_address_got_an_account_meanwhile(site: Site) -> None:
    token = invited(site, email="patient@site.example")
    assert site.person("patient").user.email == "patient@site.example"
    assert refusal_of(site, token) == "already-registered"


def reset(site: Site, user_id: UUID, by: str = "admin") -> str:
    with site.assembly.shop.work() as work:
        return joining.reset_link(work, site.person(by).actor, user_id=user_id)


def test_reset_ends_every_session_and_the_old_password_and_authenticator(site: Site) -> None:
    doctor = site.person("doctor")
    token = reset(site, doctor.user.id)
    assert site.get("doctor", "/auth/me").status_code == 200
    accept(site, token, code=code_of(site, token))
    assert site.get("doctor", "/auth/me").json()["code"] == "session-ended"
    site.clock.move(timedelta(seconds=30))
    assert sign_in(site, doctor.user.email, PASSWORD, site.totp_code("doctor")) == (401, "wrong-credentials")
    assert sign_in(site, doctor.user.email, STAFF_PASSWORD, site.totp_code("doctor")) == (401, "wrong-code")
    assert sign_in(site, doctor.user.email, STAFF_PASSWORD, code_of(site, token)) == (200, None)


def test_reset_does_not_open_a_disabled_account(site: Site) -> None:
    doctor = site.person("doctor")
    token = reset(site, doctor.user.id)
    with site.assembly.shop.work() as work:
        joining.set_enabled(work, site.person("admin").actor, user_id=doctor.user.id, enabled=False)
    code = code_of(site, token)
    assert refusal_of(site, token) in (None, "link-invalid")
    site.clock.move(timedelta(seconds=30))
    del code
    assert sign_in(site, doctor.user.email, STAFF_PASSWORD, code_of(site, token)) == (401, "wrong-credentials")


def test_reset_keeps_name_and_role(site: Site) -> None:
    doctor = site.person("doctor")
    token = reset(site, doctor.user.id)
    user = accept(site, token, code=code_of(site, token))
    assert (user.id, user.name, user.role) == (doctor.user.id, "Doctor", Role.DOCTOR)


@pytest.mark.parametrize("who", ["patient", "doctor", "pharmacist"])
def test_only_administrators_reset(site: Site, who: str) -> None:
    with pytest.raises(Forbidden):
        reset(site, site.person("doctor").user.id, by=who)


def demo_link(site: Site, who: str) -> str:
    with site.assembly.shop.work() as work:
        return joining.demo_link(work, work.session.get_one(User, site.person(who).user.id))


def test_sign_in_link_signs_in_once(site: Site) -> None:
    token = demo_link(site, "doctor")
    with site.assembly.shop.work() as work:
        assert joining.use_sign_in_link(work, token, is_demo=True).id == site.person("doctor").user.id
    with pytest.raises(NotFound), site.assembly.shop.work() as work:
        joining.use_sign_in_link(work, token, is_demo=True)


def test_sign_in_link_cannot_set_a_password_and_an_invitation_cannot_sign_in(site: Site) -> None:
    token = demo_link(site, "patient")
    with pytest.raises(NotFound):
        accept(site, token, code=None, password=PASSWORD)
    with pytest.raises(NotFound), site.assembly.shop.work() as work:
        joining.use_sign_in_link(work, invited(site), is_demo=True)
