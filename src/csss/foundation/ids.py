"""Keys, record numbers, secrets and DICOM UIDs."""

import hashlib
import secrets
from uuid import UUID

from uuid_utils import compat

# Crockford's base 32 without the vowel U: no letter can be taken for a digit when read aloud.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): unique, and ordered by the time it was made."""
    return compat.uuid7()


def new_secret(bits: int = 256) -> str:
    """Return a URL-safe secret of at least ``bits`` bits from the system's generator."""
    return secrets.token_urlsafe((bits + 7) // 8)


def digest(secret: str) -> str:
    """Return the SHA-256 (hex) of a high-entropy secret: what is stored in its place."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_number(prefix: str) -> str:
    """Return a number for people, ``PREFIX-XXXX-XXXXC``, with a check character C (weighted mod 32).

    Forty random bits: not guessable, not a counter that tells how many patients a site has.
    """
    body = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{prefix}-{body[:4]}-{body[4:]}{_check_character(body)}"


def number_is_valid(number: str) -> bool:
    """Tell whether the check character of a number made by `new_number` fits."""
    body = number.rpartition("-")[0].rpartition("-")[2] + number.rpartition("-")[2]
    if len(body) != 9 or any(letter not in _ALPHABET for letter in body):
        return False
    return _check_character(body[:8]) == body[8]


def _check_character(body: str) -> str:
    # Odd weights are invertible modulo 32, so every single wrong character is noticed.
    total = sum((2 * place + 1) * _ALPHABET.index(letter) for place, letter in enumerate(body))
    return _ALPHABET[total % 32]


def dicom_uid(key: UUID) -> str:
    """Return the DICOM UID of a UUID under the root 2.25 (PS3.5 annex B.2)."""
    return f"2.25.{key.int}"
