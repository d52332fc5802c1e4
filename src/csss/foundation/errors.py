"""Errors that carry an HTTP status, a stable code and a message that the user may read."""

from collections.abc import Mapping
from typing import Any, ClassVar


class CsssError(Exception):
    """Base of every refusal that CSSS makes on purpose.

    ``status`` is the HTTP status of the refusal, ``code`` its stable machine name (kebab-case); the
    message is plain language without identifiers of patients. ``facts`` are extra members of the
    problem document (RFC 9457 section 3.2) and must be safe to show to the caller. A refusal with ``keeps``
    leaves a trace that must stay (a counted failure, a quarantined file): its unit of work is committed.
    """

    status: ClassVar[int] = 500
    code: str = "internal-error"

    def __init__(
        self, message: str, *, code: str | None = None, facts: Mapping[str, Any] | None = None, keeps: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.keeps = keeps
        if code is not None:
            self.code = code
        self.facts: dict[str, Any] = dict(facts or {})


class BadRequest(CsssError):
    status = 400
    code = "bad-request"


class NotSignedIn(CsssError):
    status = 401
    code = "not-signed-in"


class Forbidden(CsssError):
    status = 403
    code = "forbidden"


class NotFound(CsssError):
    status = 404
    code = "not-found"


class Conflict(CsssError):
    status = 409
    code = "conflict"


class TooLarge(CsssError):
    status = 413
    code = "too-large"


class UnsupportedType(CsssError):
    status = 415
    code = "unsupported-type"


class Unprocessable(CsssError):
    status = 422
    code = "unprocessable"


class TooManyRequests(CsssError):
    status = 429
    code = "too-many-requests"


class Unavailable(CsssError):
    status = 503
    code = "unavailable"


class NotBuilt(CsssError):
    """What was asked for is part of the design and not of this version."""

    status = 501
    code = "not-built-yet"
