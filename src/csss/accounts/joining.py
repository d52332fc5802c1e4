"""How people come in: patients register themselves, staff are invited, links work once."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from uuid import UUID

from sqlalchemy import func, select, update

from csss import audit
from csss.accounts import throttle
from csss.accounts.actor import Actor
from csss.accounts.authenticator import matching_step, new_totp_secret, totp_secret
from csss.accounts.passwords import Passwords, check_policy
from csss.accounts.permissions import Action, require
from csss.accounts.sign_in import Origin, end_all_sessions
from csss.accounts.tables import STAFF, LinkPurpose, OneTimeLink, PendingRegistration, Role, User
from csss.foundation.errors import Conflict, Forbidden, NotFound, NotSignedIn, Unavailable, Unprocessable
from csss.foundation.ids import digest, new_id, new_secret
from csss.foundation.work import Work

LINK_LIFETIME = timedelta(hours=24)
# Good enough to catch typing mistakes; whether the address exists is proved by the mail that is sent to it.
_EMAIL = re.compile(r"[^@\s\x00-\x1f\"<>(),;:\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,180}[A-Za-z0-9])?")
SEXES = ("female", "male", "other", "unknown")
REGISTRATION_MAIL, KNOWN_MAIL, LINK_MAIL = "mail_registration", "mail_already_registered", "mail_link"
MAILS_AN_HOUR = 3


@dataclass(frozen=True, slots=True)
class Applicant:
    """What a patient states about themselves when registering."""

    email: str
    name: str
    birth_date: date
    sex: str
    password: str


def clean_email(text: str) -> str:
    """Return the address in the form we compare; raises `Unprocessable`."""
    email = text.strip().lower()
    if len(email) > 254 or not _EMAIL.fullmatch(email):
        raise Unprocessable("This is not an e-mail address.", code="bad-email")
    return email


def clean_name(text: str) -> str:
    """Return a person's name on one line, without control or direction characters; raises `Unprocessable`."""
    name = " ".join("".join(c for c in text if c.isprintable()).split())
    if not 2 <= len(name) <= 120:
        raise Unprocessable("Enter your full name (2 to 120 characters).", code="bad-name")
    return name


def register(work: Work, applicant: Applicant, *, passwords: Passwords, origin: Origin, can_mail: bool) -> None:
    """Note a patient's registration and ask for the mail that lets them confirm it.

    Raises `Unavailable` where the site has no mail server (``can_mail``): nobody could ever confirm.

    Says the same for a new and a known address: who is a patient here is nobody's business. The owner of a known
    address is told by mail instead.
    """
    if not can_mail:
        raise Unavailable("This site cannot send mail, so it cannot confirm registrations. Ask at the desk.")
    key = throttle.throttle_key("registration", origin.source)
    throttle.check(work, key)
    throttle.count_failure(work, key)
    email, name = clean_email(applicant.email), clean_name(applicant.name)
    _check_birth_date(work, applicant.birth_date)
    if applicant.sex not in SEXES:
        raise Unprocessable(f"Sex is one of {', '.join(SEXES)}.", code="bad-sex")
    check_policy(applicant.password, Role.PATIENT, context=(email, name))
    work.pause()
    hashed = passwords.hash(applicant.password)
    now = work.clock.now()
    known = work.session.scalar(select(User.id).where(User.email == email))
    recent = work.session.scalar(
        select(func.count())
        .select_from(PendingRegistration)
        .where(PendingRegistration.email == email, PendingRegistration.created_at > now - timedelta(hours=1))
    )
    # From here on a known address costs the same work and leaves the same rows as a new one; its token goes nowhere.
    token = new_secret()
    row = PendingRegistration(
        id=new_id(),
        token_hash=digest(token),
        token_blob=work.blobs.put(f"secrets/{new_id()}", token.encode()),
        email=email,
        name=name,
        birth_date=applicant.birth_date,
        sex=applicant.sex,
        password_hash=hashed,
        created_at=now,
        expires_at=now + LINK_LIFETIME,
    )
    work.session.add(row)
    # A stranger must not be able to fill somebody's mailbox: one mail a day, or a few an hour.
    if known is not None:
        work.jobs.request(KNOWN_MAIL, known, key=f"{KNOWN_MAIL}:{known}:{now.date()}")
    elif (recent or 0) < MAILS_AN_HOUR:
        work.jobs.request(REGISTRATION_MAIL, row.id)
    audit.record(work, "registration.requested", actor_id=None, actor_role="none")


def _check_birth_date(work: Work, birth_date: date) -> None:
    today = work.clock.now().date()
    if not date(1900, 1, 1) <= birth_date <= today:
        raise Unprocessable("The date of birth is not possible.", code="bad-birth-date")


def confirm_registration(
    work: Work, *, token: str, password: str, passwords: Passwords, origin: Origin
) -> tuple[User, PendingRegistration]:
    """Open the account that was registered: the mail's link and the password together prove one person.

    Raises `NotFound` for a link that is unknown, used or expired, `NotSignedIn` for another password.
    """
    row = work.session.scalar(
        select(PendingRegistration).where(PendingRegistration.token_hash == digest(token)).with_for_update()
    )
    now = work.clock.now()
    if row is None or row.used_at is not None or now >= row.expires_at:
        raise NotFound("This link is not valid any more. Register again to get a new one.", code="link-invalid")
    key = throttle.throttle_key(row.email, origin.source)
    throttle.check(work, key)
    throttle.count_failure(work, key)
    work.pause()
    if not passwords.matches(password, row.password_hash):
        raise NotSignedIn("The password is not the one you registered with.", code="wrong-credentials", keeps=True)
    throttle.forgive(work, key)
    work.session.refresh(row, with_for_update=True)
    if row.used_at is not None:
        raise NotFound("This link is not valid any more. Register again to get a new one.", code="link-invalid")
    _check_unknown(work, row.email)
    row.used_at = now
    user = User(
        id=new_id(),
        email=row.email,
        name=row.name,
        role=Role.PATIENT,
        password_hash=row.password_hash,
        created_at=now,
    )
    work.session.add(user)
    work.session.flush()
    work.blobs.delete(row.token_blob)
    audit.record(work, "registration.confirmed", actor_id=user.id, actor_role=user.role)
    return user, row


def _check_unknown(work: Work, email: str) -> None:
    if work.session.scalar(select(User.id).where(User.email == email)) is not None:
        raise Conflict("There is an account with this address already. Sign in.", code="already-registered")


def invite(work: Work, actor: Actor | None, *, email: str, role: Role, can_mail: bool = True) -> str:
    """Invite a member of staff and return the link's secret; ``actor`` is None for the command line.

    A link that an administrator asks for is mailed to the person and to be shown to nobody: whoever holds it
    decides on password and authenticator, and so signs in that person's name.

    Raises `Conflict` when the address has an account. An administrator cannot make another administrator here:
    that is done at the command line, by who runs the machine.
    """
    if actor is not None:
        require(actor, Action.MANAGE_USERS)
        _demand_mail(can_mail)
        if role is Role.ADMIN:
            raise Forbidden("Administrators are invited at the command line: csss user invite.", code="wrong-role")
    if role not in STAFF:
        raise Unprocessable("Patients register themselves; only staff are invited.", code="bad-role")
    address = clean_email(email)
    _check_unknown(work, address)
    secret = _new_link(work, actor, purpose=LinkPurpose.INVITE, email=address, role=role, user_id=None)
    audit.record(
        work,
        "user.invited",
        actor_id=actor.user_id if actor else None,
        actor_role=actor.role if actor else "system",
        detail={"role": role},
    )
    return secret


def reset_link(work: Work, actor: Actor | None, *, user_id: UUID, can_mail: bool = True) -> str:
    """Return a one-time link with which a person sets a new password (and staff a new authenticator).

    Mailed to the person, as an invitation is, when an administrator asks for it.
    """
    if actor is not None:
        require(actor, Action.MANAGE_USERS)
        _demand_mail(can_mail)
    user = work.session.get(User, user_id)
    if user is None:
        raise NotFound("There is no such person.")
    audit.record(
        work,
        "user.reset_link",
        actor_id=actor.user_id if actor else None,
        actor_role=actor.role if actor else "system",
        object_type="user",
        object_id=user.id,
    )
    return _new_link(work, actor, purpose=LinkPurpose.RESET, email=user.email, role=user.role, user_id=user.id)


def _demand_mail(can_mail: bool) -> None:
    if not can_mail:
        raise Unavailable("This site cannot send mail; use `csss user` on the server and hand the link over.")


def demo_link(work: Work, user: User) -> str:
    """Return a one-time sign-in link for a demo person, who has no password."""
    return _new_link(work, None, purpose=LinkPurpose.SIGN_IN, email=user.email, role=user.role, user_id=user.id)


def _new_link(
    work: Work, actor: Actor | None, *, purpose: LinkPurpose, email: str, role: Role, user_id: UUID | None
) -> str:
    secret = new_secret()
    now = work.clock.now()
    needs_authenticator = purpose is not LinkPurpose.SIGN_IN and role in STAFF
    # Only the newest link of an address works.
    work.session.execute(
        update(OneTimeLink).where(OneTimeLink.email == email, OneTimeLink.used_at.is_(None)).values(used_at=now)
    )
    row = OneTimeLink(
        id=new_id(),
        purpose=purpose,
        token_hash=digest(secret),
        email=email,
        role=role,
        user_id=user_id,
        totp_secret=new_totp_secret(work.blobs) if needs_authenticator else None,
        token_blob=work.blobs.put(f"secrets/{new_id()}", secret.encode()) if actor else None,
        invited_by=actor.user_id if actor else None,
        created_at=now,
        expires_at=now + LINK_LIFETIME,
    )
    work.session.add(row)
    if actor is not None:
        work.jobs.request(LINK_MAIL, row.id)
    return secret


def open_link(work: Work, token: str) -> OneTimeLink:
    """Return an unused link by its secret without using it, held for this transaction; raises `NotFound`."""
    row = work.session.scalar(select(OneTimeLink).where(OneTimeLink.token_hash == digest(token)).with_for_update())
    if row is None or row.used_at is not None or work.clock.now() >= row.expires_at:
        raise NotFound("This link is not valid any more. Ask for a new one.", code="link-invalid")
    return row


def use_sign_in_link(work: Work, token: str, *, is_demo: bool) -> User:
    """Use up a demo person's link and return the person; a site that is no demo knows no such links."""
    row = open_link(work, token)
    if not is_demo:
        raise NotFound("This link is not valid any more. Ask for a new one.", code="link-invalid")
    user = work.session.get(User, row.user_id) if row.user_id else None
    if row.purpose is not LinkPurpose.SIGN_IN or user is None or user.disabled_at is not None:
        raise NotFound("This link is not valid any more. Ask for a new one.", code="link-invalid")
    row.used_at = work.clock.now()
    return user


def accept_link(
    work: Work, *, token: str, name: str, speciality: str | None, password: str, code: str | None, passwords: Passwords
) -> User:
    """Finish an invitation or a reset: set the password and, for staff, prove the authenticator works.

    Raises `NotFound` for a link that is unknown, used or expired, `Unprocessable` for a weak password or a code
    that does not fit; the link stays usable then.
    """
    row = open_link(work, token)
    if row.purpose is LinkPurpose.SIGN_IN:
        raise NotFound("This link is not valid any more. Ask for a new one.", code="link-invalid")
    check_policy(password, row.role, context=(row.email, name))
    work.pause()
    hashed = passwords.hash(password)
    row = open_link(work, token)
    now = work.clock.now()
    if row.purpose is LinkPurpose.RESET:
        user = work.session.get_one(User, row.user_id)
        end_all_sessions(work, user.id)
    else:
        _check_unknown(work, row.email)
        user = User(id=new_id(), email=row.email, name=clean_name(name), role=row.role, created_at=now)
        user.speciality = clean_name(speciality) if speciality else None
        work.session.add(user)
        # A session is opened for this row in the same transaction; it has to be there first.
        work.session.flush()
    if row.totp_secret is not None:
        step = matching_step(totp_secret(work.blobs, row.totp_secret), code or "", now)
        if step is None:
            raise Unprocessable(
                "The code does not fit. Scan the picture again and enter the newest code.", code="bad-code"
            )
        user.totp_secret, user.totp_last_step = row.totp_secret, step
    user.password_hash = hashed
    row.used_at = now
    audit.record(work, "user.link_used", actor_id=user.id, actor_role=user.role, detail={"purpose": row.purpose})
    return user


def purge(work: Work) -> None:
    """Remove registrations that nobody confirmed in time, with everything they held."""
    over = work.clock.now() - LINK_LIFETIME
    for row in work.session.scalars(select(PendingRegistration).where(PendingRegistration.expires_at < over)):
        work.blobs.delete(row.token_blob)
        work.session.delete(row)


def list_users(work: Work, actor: Actor) -> list[User]:
    """Return everybody who may sign in, by role and name; the look is audited."""
    require(actor, Action.MANAGE_USERS)
    audit.record(work, "users.listed", actor_id=actor.user_id, actor_role=actor.role)
    return list(work.session.scalars(select(User).order_by(User.role, User.name, User.id)))


def set_enabled(work: Work, actor: Actor, *, user_id: UUID, enabled: bool) -> User:
    """Let a person in again, or shut them out at once; nobody disables themselves."""
    require(actor, Action.MANAGE_USERS)
    user = work.session.get(User, user_id)
    if user is None:
        raise NotFound("There is no such person.")
    if user.id == actor.user_id:
        raise Conflict("You cannot disable your own account.", code="own-account")
    user.disabled_at = None if enabled else work.clock.now()
    if not enabled:
        end_all_sessions(work, user.id)
    audit.record(
        work,
        "user.enabled" if enabled else "user.disabled",
        actor_id=actor.user_id,
        actor_role=actor.role,
        object_type="user",
        object_id=user.id,
    )
    return user
