"""The fresh second factor of a signature: a challenge bound to the exact content, used once."""

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update

from csss import audit
from csss.accounts import throttle
from csss.accounts.actor import Actor
from csss.accounts.authenticator import check_totp
from csss.accounts.tables import StepUp, StepUpMethod, User
from csss.foundation.errors import Conflict, NotSignedIn, TooManyRequests, Unprocessable
from csss.foundation.ids import new_id
from csss.foundation.settings import Approval
from csss.foundation.work import Work

CODE_DIGITS = 8

# Hands a code to its owner: (address, what it is for, code, minutes it is valid). Raises when mail is down.
SendCode = Callable[[str, str, str, int], None]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a challenge stands for: no other person, action, subject, revision or content can use it.

    ``purpose`` tells its owner in the mail what the code is for, after "Your code to"; it names no patient.
    """

    action: str
    subject_id: UUID
    revision: int
    content_sha256: str
    purpose: str
    object_type: str = "case"


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that waits for its code."""

    id: UUID
    method: StepUpMethod
    expires_at: datetime
    resend_at: datetime


def begin(
    work: Work, actor: Actor, *, bound: Bound, method: StepUpMethod, rules: Approval, send_code: SendCode
) -> Challenge:
    """Open a challenge and void the ones before it; a mailed code is sent before anything is written.

    Raises `Unprocessable` when the method is not open to this person or site, `TooManyRequests` for a second
    mailed code within ``rules.resend_seconds``, and whatever ``send_code`` raises when mail is down.
    """
    now = work.clock.now()
    user = work.session.get_one(User, actor.user_id)
    _check_method(user, method, rules)
    salt = code_hash = None
    if method is StepUpMethod.EMAIL:
        _check_wait(work, actor, rules)
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
        salt = secrets.token_hex(16)
        code_hash = _hash(salt, code)
        # Nothing is locked while the mail server thinks, and a code that nobody received is never open.
        work.pause()
        send_code(user.email, bound.purpose, code, rules.code_minutes)
    work.session.execute(
        update(StepUp)
        .where(StepUp.user_id == actor.user_id, StepUp.used_at.is_(None), StepUp.voided_at.is_(None))
        .values(voided_at=now)
    )
    row = StepUp(
        id=new_id(),
        user_id=actor.user_id,
        action=bound.action,
        subject_id=bound.subject_id,
        revision=bound.revision,
        content_sha256=bound.content_sha256,
        method=method,
        salt=salt,
        code_hash=code_hash,
        created_at=now,
        expires_at=now + timedelta(minutes=rules.code_minutes),
        tries=0,
    )
    work.session.add(row)
    audit.record(
        work,
        "step_up.begun",
        actor_id=actor.user_id,
        actor_role=actor.role,
        object_type=bound.object_type,
        object_id=bound.subject_id,
        revision=bound.revision,
        detail={"method": method},
    )
    return Challenge(row.id, method, row.expires_at, now + timedelta(seconds=rules.resend_seconds))


def _check_wait(work: Work, actor: Actor, rules: Approval) -> None:
    """One code a minute into one mailbox, for whichever scans and whatever was asked for in between."""
    last = work.session.scalar(
        select(func.max(StepUp.created_at)).where(StepUp.user_id == actor.user_id, StepUp.method == StepUpMethod.EMAIL)
    )
    if last is None:
        return
    wait = math.ceil((last + timedelta(seconds=rules.resend_seconds) - work.clock.now()).total_seconds())
    if wait > 0:
        raise TooManyRequests(
            f"A code was sent a moment ago. A new one can be sent in {wait} seconds.",
            code="code-just-sent",
            facts={"retry_after_seconds": wait},
        )


def _check_method(user: User, method: StepUpMethod, rules: Approval) -> None:
    if method is StepUpMethod.EMAIL and not rules.email_code:
        raise Unprocessable("This site approves with an authenticator, not with a mailed code.", code="method-not-open")
    if method is StepUpMethod.TOTP and user.totp_secret is None:
        raise Unprocessable("Set up an authenticator in your account first.", code="no-authenticator")


def find_open(work: Work, actor: Actor, bound: Bound) -> Challenge | None:
    """Return this person's challenge for exactly this content that still waits for its code."""
    row = work.session.scalar(
        select(StepUp)
        .where(
            StepUp.user_id == actor.user_id,
            StepUp.action == bound.action,
            StepUp.subject_id == bound.subject_id,
            StepUp.revision == bound.revision,
            StepUp.content_sha256 == bound.content_sha256,
            StepUp.used_at.is_(None),
            StepUp.voided_at.is_(None),
            StepUp.expires_at > work.clock.now(),
        )
        .order_by(StepUp.created_at.desc())
        .limit(1)
    )
    return None if row is None else Challenge(row.id, row.method, row.expires_at, row.created_at)


def use(work: Work, actor: Actor, *, bound: Bound, code: str, rules: Approval) -> StepUp:
    """Check a code against the open challenge and use it up; returns the challenge.

    Raises `Conflict` when there is none or what was to be signed has changed since, `NotSignedIn` (401) for a
    wrong or expired code; every wrong try counts and the last one voids the challenge.
    """
    now = work.clock.now()
    # Counted over all challenges of a person: a new challenge does not give new tries without end.
    key = throttle.throttle_key(f"step-up:{actor.user_id}", "")
    throttle.check(work, key)
    row = work.session.scalar(
        select(StepUp)
        .where(
            StepUp.user_id == actor.user_id,
            StepUp.subject_id == bound.subject_id,
            StepUp.action == bound.action,
            StepUp.used_at.is_(None),
            StepUp.voided_at.is_(None),
        )
        .order_by(StepUp.created_at.desc())
        .with_for_update()
    )
    if row is None:
        raise Conflict("Ask for a code first.", code="no-open-code")
    if (row.revision, row.content_sha256) != (bound.revision, bound.content_sha256):
        row.voided_at = now
        raise Conflict(
            "What is to be signed changed after the code was asked for. Read it again and ask for a new code.",
            code="content-changed",
            keeps=True,
        )
    if now >= row.expires_at:
        row.voided_at = now
        raise NotSignedIn("The code has expired. Ask for a new one.", code="code-expired", keeps=True)
    if not _fits(work, row, actor, code):
        row.tries += 1
        throttle.count_failure(work, key)
        left = rules.max_tries - row.tries
        if left <= 0:
            row.voided_at = now
            raise NotSignedIn(
                "The code was wrong too often and is void. Ask for a new one.", code="code-void", keeps=True
            )
        hint = " Each code of the authenticator works once; wait for the next." if row.salt is None else ""
        raise NotSignedIn(
            f"The code is wrong.{hint} {left} {'try is' if left == 1 else 'tries are'} left.",
            code="wrong-code",
            keeps=True,
        )
    row.used_at = now
    throttle.forgive(work, key)
    return row


def _fits(work: Work, row: StepUp, actor: Actor, code: str) -> bool:
    if row.method is StepUpMethod.TOTP:
        return check_totp(work, work.session.get_one(User, actor.user_id), code)
    digits = code.replace(" ", "")
    return bool(row.salt and row.code_hash) and hmac.compare_digest(_hash(str(row.salt), digits), str(row.code_hash))


def _hash(salt: str, code: str) -> str:
    return hashlib.sha256(f"{salt}:{code}".encode()).hexdigest()
