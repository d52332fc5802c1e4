"""Hash, verify and judge passwords."""

import threading
import unicodedata
from collections.abc import Iterable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from csss.accounts.tables import STAFF, Role
from csss.foundation.errors import Unprocessable

MIN_STAFF, MIN_PATIENT, MAX_LENGTH = 8, 15, 128
# Normalising takes a time that grows with the square of the length; nothing longer than this is looked at.
_LONGEST_TYPED = 4 * MAX_LENGTH
# OWASP's password storage cheat sheet: argon2id with t=1, m=46 MiB, p=1.
_PROFILES = {
    "standard": PasswordHasher(time_cost=1, memory_cost=47104, parallelism=1),
    "cheap": PasswordHasher(time_cost=1, memory_cost=64, parallelism=1),
}


class Passwords:
    """argon2id under one cost profile: ``standard``, or ``cheap`` for tests."""

    def __init__(self, profile: str = "standard") -> None:
        self._hasher = _PROFILES[profile]
        # Each hash takes 46 MiB: a crowd at the door waits for its turn instead of filling the memory.
        self._turn = threading.BoundedSemaphore(4)
        self._nobody = self._hasher.hash("no account has this password")

    def hash(self, password: str) -> str:
        with self._turn:
            return self._hasher.hash(normal_form(password))

    def matches(self, password: str, stored: str | None) -> bool:
        """Compare; an unknown account costs the same time as a known one."""
        if len(password) > _LONGEST_TYPED:
            password, stored = "", None
        try:
            with self._turn:
                self._hasher.verify(stored or self._nobody, normal_form(password))
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a stored hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)


def normal_form(password: str) -> str:
    """Return the NFC form: the same characters typed on two keyboards are one password (SP 800-63B 3.1.1.2)."""
    return unicodedata.normalize("NFC", password)


def check_policy(password: str, role: Role, *, context: Iterable[str] = ()) -> None:
    """Refuse a password that is too short, too long or guessable; raises `Unprocessable`.

    Patients sign in with the password alone and need 15 characters; staff also have an authenticator and need
    8. ``context`` are words that an attacker would try first (name, address, hospital).
    """
    if len(password) > _LONGEST_TYPED:
        raise Unprocessable(f"The password may have at most {MAX_LENGTH} characters.", code="weak-password")
    text = normal_form(password)
    least = MIN_STAFF if role in STAFF else MIN_PATIENT
    if len(text) < least:
        raise Unprocessable(
            f"The password needs at least {least} characters; a few words are fine.", code="weak-password"
        )
    if len(text) > MAX_LENGTH:
        raise Unprocessable(f"The password may have at most {MAX_LENGTH} characters.", code="weak-password")
    words = [word for entry in context for word in (entry, *entry.replace("@", " ").replace(".", " ").split())]
    if zxcvbn(text[:72], user_inputs=words)["score"] < 3:
        raise Unprocessable("This password is easy to guess. Choose a few unrelated words.", code="weak-password")
