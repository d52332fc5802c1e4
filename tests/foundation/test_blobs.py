"""Blob stores: sealed, written once, and missing is said."""

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from csss.foundation.blobs import BlobMissing, BlobStore
from csss.foundation.errors import CsssError
from csss.foundation.vault import Vault, VaultError

VAULT = Vault({1: bytes(range(32))})


@pytest.fixture(params=["memory", "file"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore("memory://" if request.param == "memory" else f"file://{tmp_path}/blobs", VAULT)


def test_what_was_put_comes_back(blobs: BlobStore) -> None:
    data = bytes(range(256)) * 1000
    assert blobs.put("scans/1", data) == "scans/1"
    assert blobs.put("scans/2", b"") == "scans/2"
    assert (blobs.get("scans/1"), blobs.get("scans/2")) == (data, b"")


def test_a_name_is_written_once(blobs: BlobStore) -> None:
    blobs.put("scans/1", b"first")
    with pytest.raises(CsssError, match="exists already"):
        blobs.put("scans/1", b"second")
    assert blobs.get("scans/1") == b"first"


def test_of_many_writers_of_one_name_one_wins(blobs: BlobStore) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait(10)
        try:
            blobs.put("scans/1", str(number).encode())
        except CsssError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert blobs.get("scans/1") == str(won.index(True)).encode()


def test_a_missing_object_is_said_to_be_missing(blobs: BlobStore) -> None:
    with pytest.raises(BlobMissing):
        blobs.get("scans/1")


def test_delete_takes_an_object_away_and_minds_no_missing_one(blobs: BlobStore) -> None:
    blobs.put("scans/1", b"x")
    blobs.delete("scans/1")
    blobs.delete("scans/1")
    with pytest.raises(BlobMissing):
        blobs.get("scans/1")


def test_files_are_sealed_and_only_the_owner_enters(tmp_path: Path) -> None:
    blobs = BlobStore(f"file://{tmp_path}/a/blobs", VAULT)
    blobs.put("scans/1", b"a patient's picture")
    folder = tmp_path / "a" / "blobs"
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == ["scans/1"]
    assert b"picture" not in (folder / "scans/1").read_bytes()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_moved_and_changed_files_do_not_open(tmp_path: Path) -> None:
    blobs = BlobStore(f"file://{tmp_path}/blobs", VAULT)
    for name in ("scans/1", "scans/2"):
        blobs.put(name, name.encode())
    one, other = (tmp_path / "blobs" / name for name in ("scans/1", "scans/2"))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept[:-1])
    for name in ("scans/1", "scans/2"):
        with pytest.raises(VaultError):
            blobs.get(name)


def test_a_store_opened_again_has_what_was_put(tmp_path: Path) -> None:
    BlobStore(f"file://{tmp_path}/blobs", VAULT).put("scans/1", b"x")
    assert BlobStore(f"file://{tmp_path}/blobs", VAULT).get("scans/1") == b"x"
