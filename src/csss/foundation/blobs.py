"""Where sealed bytes are kept: a folder, an S3 bucket or memory, by URL, written once under a name."""

import os
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from csss.foundation.errors import CsssError, Unavailable
from csss.foundation.vault import Vault


class BlobMissing(CsssError):
    """There is no object of that name: the store and the database disagree."""

    status = 500
    code = "blob-missing"


class BlobStore:
    """Encrypted objects in a store; what `put` returned from is on disk (or with the S3 service).

    Objects are immutable: a name is written once. Names are made by us (``kind/uuid``), never from a file.
    """

    def __init__(self, url: str, vault: Vault) -> None:
        """Open ``file:///folder``, ``memory://`` or ``s3://bucket/prefix`` (credentials from the environment)."""
        self._vault = vault
        self._folder: Path | None = None
        self._store: ObjectStore
        if url.startswith("memory:"):
            self._store = MemoryStore()
        elif url.startswith("file://"):
            self._folder = Path(url.removeprefix("file://"))
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store = LocalStore(prefix=self._folder)
        else:
            self._store = from_url(url)

    def put(self, name: str, plain: bytes) -> str:
        """Seal and keep ``plain`` under ``name``; returns the name. Writing a name twice is an error."""
        sealed = self._vault.seal(plain, object_id=name)
        try:
            obstore.put(self._store, name, sealed, mode="create")
        except AlreadyExistsError:
            raise CsssError(f"The stored object {name} exists already.") from None
        except (BaseError, OSError) as problem:
            raise Unavailable("The storage did not take the file. Nothing was changed; try again.") from problem
        self._flush(name)
        return name

    def get(self, name: str) -> bytes:
        """Return the bytes kept under ``name``; raises `BlobMissing` or `VaultError`."""
        try:
            sealed = bytes(obstore.get(self._store, name).bytes())
        except (NotFoundError, FileNotFoundError):
            raise BlobMissing("A stored object is missing.") from None
        except (BaseError, OSError) as problem:
            raise Unavailable("The storage does not answer. Try again in a moment.") from problem
        return self._vault.open(sealed, object_id=name)

    def delete(self, name: str) -> None:
        """Remove ``name``; a name that is not there is no error."""
        try:
            obstore.delete(self._store, name)
        except (NotFoundError, FileNotFoundError):
            return

    def _flush(self, name: str) -> None:
        """Force a local file and its folder to disk: an acknowledged upload survives a power cut."""
        if self._folder is None:
            return
        path = self._folder / name
        for target in (path, path.parent):
            handle = os.open(target, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
