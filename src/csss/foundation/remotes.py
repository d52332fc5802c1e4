"""Models whose network runs on another server: where it is, and the token that this very server wants."""

from collections.abc import Collection
from urllib.parse import urlsplit

from csss.foundation.errors import CsssError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RemoteForm(CsssError):
    """The setting cannot be read; the message repeats no token."""

    code = "bad-configuration"


def parse_addresses(text: str) -> dict[str, str]:
    """Parse ``NAME=ADDRESS[,NAME=ADDRESS...]``; raises `RemoteForm`."""
    found: dict[str, str] = {}
    for name, address in _pairs(text):
        if not name or name in found or not _may_get_pictures(address):
            raise RemoteForm(
                "CSSS_REMOTE_MODELS must read NAME=ADDRESS[,NAME=ADDRESS...], each name once, each address https "
                "(http on this machine only) and without a password, query or fragment"
            )
        found[name] = address
    return found


def parse_tokens(text: str, names: Collection[str]) -> dict[str, str]:
    """Parse ``NAME=TOKEN[,NAME=TOKEN...]``, where every name is one of ``names``; raises `RemoteForm`."""
    found: dict[str, str] = {}
    for name, token in _pairs(text):
        if name not in names or name in found or not _is_bearer_token(token):
            raise RemoteForm(
                "CSSS_REMOTE_TOKENS must read NAME=TOKEN[,NAME=TOKEN...], each name once and one of "
                "CSSS_REMOTE_MODELS, each token of visible ASCII without a comma"
            )
        found[name] = token
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = (piece.strip().partition("=") for piece in text.split(",") if piece.strip())
    return [(name, value) for name, _, value in parts]


def _is_bearer_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _may_get_pictures(address: str) -> bool:
    """Whether a picture of a person may be sent there: by https, or to this very machine."""
    try:
        parts = urlsplit(address)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = bool(parts.hostname) and port_is_sound and "@" not in parts.netloc and not (parts.query or parts.fragment)
    return plain and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))
