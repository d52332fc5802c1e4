"""Time-based one-time passwords (RFC 6238): make a secret, check a code once."""

import hmac
from datetime import datetime

import pyotp

from csss.accounts.tables import User
from csss.foundation.blobs import BlobStore
from csss.foundation.ids import new_id
from csss.foundation.work import Work

_STEP_SECONDS = 30


def new_totp_secret(blobs: BlobStore) -> str:
    """Make a secret, keep it sealed and return the name of its blob."""
    return blobs.put(f"secrets/{new_id()}", pyotp.random_base32(32).encode())


def totp_secret(blobs: BlobStore, name: str) -> str:
    """Return the base-32 secret, to be shown once while a person sets up the authenticator."""
    return blobs.get(name).decode()


def totp_uri(secret: str, *, email: str, issuer: str) -> str:
    """Return the ``otpauth://`` address for an authenticator's camera."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def matching_step(secret: str, code: str, at: datetime) -> int | None:
    """Return the time step whose code this is: the present one or one to either side; None for a wrong code."""
    digits = code.replace(" ", "")
    if len(digits) != 6 or not (digits.isascii() and digits.isdigit()):
        return None
    present = int(at.timestamp()) // _STEP_SECONDS
    maker = pyotp.TOTP(secret)
    for step in (present, present - 1, present + 1):
        if hmac.compare_digest(maker.generate_otp(step), digits):
            return step
    return None


def check_totp(work: Work, user: User, code: str) -> bool:
    """Check a code and use it up: the same code, or an older one, does not work twice (RFC 6238 section 5.2)."""
    if user.totp_secret is None:
        return False
    # Two requests with one code at the same moment: the second waits here and finds it used.
    work.session.refresh(user, attribute_names=["totp_last_step"], with_for_update=True)
    step = matching_step(totp_secret(work.blobs, user.totp_secret), code, work.clock.now())
    if step is None or step <= user.totp_last_step:
        return False
    user.totp_last_step = step
    return True
