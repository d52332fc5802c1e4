"""Sign in and out; sessions for browsers and tokens for API clients, decided by their row at every request."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy import select, update

from csss import audit
from csss.accounts import throttle
from csss.accounts.actor import Actor
from csss.accounts.authenticator import check_totp
from csss.accounts.passwords import Passwords
from csss.accounts.tables import STAFF, SessionKind, SignInSession, User
from csss.foundation.errors import NotFound, NotSignedIn
from csss.foundation.ids import digest, new_id, new_secret
from csss.foundation.settings import Sessions
from csss.foundation.work import Work

_ISSUER, _AUDIENCE, _TYPE, _ALGORITHM = "csss", "csss-api", "at+jwt", "HS256"
# Writing "last seen" at every request would make each page a write; a minute is exact enough for 15.
_SEEN_EVERY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: the caller's address and what its program calls itself."""

    source: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session and the secret that proves it: a cookie's value, or a bearer token."""

    actor: Actor
    secret: str
    lifetime: timedelta


class SignInDesk:
    """Checks passwords and issues sessions; one for a process, it holds the costs and the signing key."""

    def __init__(self, passwords: Passwords, limits: Sessions, secret_key: str) -> None:
        self.passwords = passwords
        self._limits = limits
        self._key = OctKey.import_key(secret_key.encode())

    def sign_in(
        self, work: Work, *, email: str, password: str, code: str | None, origin: Origin, kind: SessionKind
    ) -> SignedIn:
        """Check password and, for staff, authenticator; returns the new session.

        Raises `NotSignedIn` with code ``wrong-credentials`` or ``second-factor-required`` (the password was
        right, a code is missing), `TooManyRequests` while the account has to wait for this source.
        """
        key = throttle.throttle_key(email, origin.source)
        throttle.check(work, key)
        # Counted before it is known to be wrong, so that guesses sent together are all counted, and no
        # transaction is open while the hash is computed.
        throttle.count_failure(work, key)
        user = work.session.scalar(select(User).where(User.email == email.strip().lower()))
        work.pause()
        # The hash is compared before anything else is looked at, so that every answer takes the same time.
        fits = self.passwords.matches(password, user.password_hash if user else None)
        if not fits or user is None or user.disabled_at is not None:
            self._note_refusal(work, user)
            raise NotSignedIn("E-mail address or password is wrong.", code="wrong-credentials", keeps=True)
        if user.role in STAFF:
            self._second_factor(work, key, user, code)
        throttle.forgive(work, key)
        if user.password_hash and self.passwords.is_outdated(user.password_hash):
            user.password_hash = self.passwords.hash(password)
        return self.open_session(work, user, origin=origin, kind=kind)

    def _second_factor(self, work: Work, key: str, user: User, code: str | None) -> None:
        if not code:
            throttle.take_back(work, key)
            raise NotSignedIn("Enter the code of your authenticator.", code="second-factor-required", keeps=True)
        if not check_totp(work, user, code):
            self._note_refusal(work, user)
            raise NotSignedIn("The code of the authenticator is wrong or was used.", code="wrong-code", keeps=True)

    def _note_refusal(self, work: Work, user: User | None) -> None:
        audit.record(
            work,
            "session.refused",
            actor_id=user.id if user else None,
            actor_role=user.role if user else "none",
            outcome=audit.Outcome.DENIED,
        )

    def open_session(self, work: Work, user: User, *, origin: Origin, kind: SessionKind) -> SignedIn:
        """Open a session for a person who proved who they are."""
        now = work.clock.now()
        lifetime = (
            timedelta(minutes=self._limits.token_minutes)
            if kind is SessionKind.API
            else timedelta(hours=self._limits.absolute_hours)
        )
        secret = new_secret()
        row = SignInSession(
            id=new_id(),
            user_id=user.id,
            kind=kind,
            token_hash=digest(secret),
            created_at=now,
            last_seen_at=now,
            expires_at=now + lifetime,
            source=origin.source[:64],
            agent=origin.agent[:200],
        )
        work.session.add(row)
        audit.record(work, "session.opened", actor_id=user.id, actor_role=user.role, detail={"kind": kind})
        if kind is SessionKind.API:
            secret = self._token(row)
            row.token_hash = digest(secret)
        return SignedIn(_actor(user, row), secret, lifetime)

    def _token(self, row: SignInSession) -> str:
        issued = int(row.created_at.timestamp())
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(row.user_id),
            "jti": str(row.id),
            "iat": issued,
            "nbf": issued,
            "exp": int(row.expires_at.timestamp()),
        }
        return jwt.encode({"alg": _ALGORITHM, "typ": _TYPE}, claims, self._key, algorithms=[_ALGORITHM])

    def by_cookie(self, work: Work, secret: str) -> Actor:
        """Return who holds this browser session; raises `NotSignedIn` when it ended."""
        row = work.session.scalar(
            select(SignInSession).where(
                SignInSession.token_hash == digest(secret), SignInSession.kind == SessionKind.BROWSER
            )
        )
        return self._admit(work, row)

    def by_token(self, work: Work, token: str) -> Actor:
        """Return who holds this bearer token; one algorithm, every claim checked, and the row must allow it.

        The row is found by the digest of the whole token: one that we did not issue, letter by letter, is refused
        before anything in it is parsed, even when it was made with our key.
        """
        row = work.session.scalar(
            select(SignInSession).where(
                SignInSession.token_hash == digest(token), SignInSession.kind == SessionKind.API
            )
        )
        if row is None:
            raise NotSignedIn("The access token is not valid. Sign in again.", code="invalid-token")
        try:
            decoded = jwt.decode(token, self._key, algorithms=[_ALGORITHM])
            registry = jwt.JWTClaimsRegistry(
                now=int(work.clock.now().timestamp()),
                iss={"essential": True, "value": _ISSUER},
                aud={"essential": True, "value": _AUDIENCE},
                sub={"essential": True},
                jti={"essential": True},
                exp={"essential": True},
                nbf={"essential": True},
            )
            registry.validate(decoded.claims)
            names_row = (str(row.id), str(row.user_id)) == (decoded.claims["jti"], decoded.claims["sub"])
        except (JoseError, ValueError, TypeError, RecursionError):
            raise NotSignedIn("The access token is not valid. Sign in again.", code="invalid-token") from None
        if decoded.header.get("typ") != _TYPE or not names_row:
            raise NotSignedIn("The access token is not valid. Sign in again.", code="invalid-token")
        return self._admit(work, row)

    def _admit(self, work: Work, row: SignInSession | None) -> Actor:
        now = work.clock.now()
        if row is None or row.revoked_at is not None or now >= row.expires_at:
            raise NotSignedIn("You are signed out. Sign in to go on.", code="session-ended")
        idle = timedelta(minutes=self._limits.idle_minutes)
        if row.kind is SessionKind.BROWSER and now - row.last_seen_at >= idle:
            raise NotSignedIn(
                f"You were signed out after {self._limits.idle_minutes} minutes without activity.", code="session-idle"
            )
        user = work.session.get(User, row.user_id)
        if user is None or user.disabled_at is not None:
            raise NotSignedIn("This account is disabled. Ask your administrator.", code="session-ended")
        if now - row.last_seen_at >= _SEEN_EVERY:
            row.last_seen_at = now
        return _actor(user, row)


def _actor(user: User, row: SignInSession) -> Actor:
    return Actor(user.id, user.role, user.name, user.email, row.id, row.kind)


def sign_out(work: Work, actor: Actor) -> None:
    """End the session by which this person is signed in."""
    end_session(work, actor, session_id=actor.session_id)


def end_session(work: Work, actor: Actor, *, session_id: UUID) -> None:
    """End one of this person's own sessions; raises `NotFound` for anybody else's."""
    row = work.session.get(SignInSession, session_id)
    if row is None or row.user_id != actor.user_id:
        raise NotFound("There is no such session.")
    row.revoked_at = row.revoked_at or work.clock.now()
    audit.record(work, "session.ended", actor_id=actor.user_id, actor_role=actor.role)


def end_all_sessions(work: Work, user_id: UUID) -> None:
    """End every session of a person, as a new password or a disabled account demands."""
    work.session.execute(
        update(SignInSession)
        .where(SignInSession.user_id == user_id, SignInSession.revoked_at.is_(None))
        .values(revoked_at=work.clock.now())
    )


def own_sessions(work: Work, actor: Actor) -> list[SignInSession]:
    """Return this person's sessions that are still open, the newest first."""
    return list(
        work.session.scalars(
            select(SignInSession)
            .where(
                SignInSession.user_id == actor.user_id,
                SignInSession.revoked_at.is_(None),
                SignInSession.expires_at > work.clock.now(),
            )
            .order_by(SignInSession.last_seen_at.desc())
        )
    )
