"""AES-256-GCM for bytes at rest: a data key for each object, wrapped by a versioned master key.

A sealed object is ``CSV1 | key version (2) | nonce (12) | wrapped data key (48) | nonce (12) | ciphertext``.
The object's id and version are the associated data of both layers, so an object that was moved to another
name, or put back in an older version, does not open. Rotation re-wraps the data key and leaves the rest.
"""

import secrets
import struct
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from csss.foundation.errors import CsssError

_MAGIC = b"CSV1"
_HEADER = struct.Struct(">4sH12s48s12s")
KEY_BYTES = 32


class VaultError(CsssError):
    """The object cannot be opened: a wrong key, a changed byte, or another object's bytes."""

    status = 500
    code = "vault-error"


class Vault:
    """Seals and opens bytes with the site's master keys.

    ``keys`` maps a version (1..65535) to 32 bytes; the highest version seals, every version opens.
    """

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        if not keys:
            raise VaultError("There is no master key.")
        if any(len(key) != KEY_BYTES or not 0 < version < 65536 for version, key in keys.items()):
            raise VaultError("A master key is not 32 bytes long, or its version is not in 1..65535.")
        self._keys = {version: AESGCM(key) for version, key in keys.items()}
        self.current_version = max(keys)

    def seal(self, plain: bytes, *, object_id: str, version: int = 1) -> bytes:
        """Encrypt ``plain`` as version ``version`` of the object ``object_id``."""
        bound = _bound(object_id, version)
        data_key = secrets.token_bytes(KEY_BYTES)
        nonce = secrets.token_bytes(12)
        header = self._wrap(data_key, bound, nonce)
        return header + AESGCM(data_key).encrypt(nonce, plain, bound)

    def open(self, sealed: bytes, *, object_id: str, version: int = 1) -> bytes:
        """Decrypt an object; raises `VaultError` when it is not exactly what was sealed under that id."""
        bound = _bound(object_id, version)
        data_key, nonce = self._unwrap(sealed, bound)
        try:
            return AESGCM(data_key).decrypt(nonce, sealed[_HEADER.size :], bound)
        except InvalidTag:
            raise VaultError("A stored object was changed or damaged; it was not opened.") from None

    def rewrap(self, sealed: bytes, *, object_id: str, version: int = 1) -> bytes:
        """Return the same object under the current master key; the data itself is not encrypted again."""
        bound = _bound(object_id, version)
        data_key, nonce = self._unwrap(sealed, bound)
        return self._wrap(data_key, bound, nonce) + sealed[_HEADER.size :]

    def _wrap(self, data_key: bytes, bound: bytes, data_nonce: bytes) -> bytes:
        wrap_nonce = secrets.token_bytes(12)
        wrapped = self._keys[self.current_version].encrypt(wrap_nonce, data_key, bound)
        return _HEADER.pack(_MAGIC, self.current_version, wrap_nonce, wrapped, data_nonce)

    def _unwrap(self, sealed: bytes, bound: bytes) -> tuple[bytes, bytes]:
        if len(sealed) < _HEADER.size or sealed[:4] != _MAGIC:
            raise VaultError("A stored object is not in the vault's form; it was not opened.")
        _, key_version, wrap_nonce, wrapped, data_nonce = _HEADER.unpack_from(sealed)
        if key_version not in self._keys:
            raise VaultError(f"Master key version {key_version} is not configured.")
        try:
            return self._keys[key_version].decrypt(wrap_nonce, wrapped, bound), data_nonce
        except InvalidTag:
            raise VaultError("A stored object was changed, moved or damaged; it was not opened.") from None


def _bound(object_id: str, version: int) -> bytes:
    return f"{object_id}\x00{version}".encode()
