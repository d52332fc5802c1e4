"""The vault: an object opens as exactly what was sealed under its name, or not at all."""

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csss.foundation.vault import Vault, VaultError

KEY, NEW_KEY = bytes(range(32)), bytes(range(100, 132))
HEADER = 4 + 2 + 12 + 48 + 12
VAULT = Vault({1: KEY})


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.text(min_size=1, max_size=40), st.integers(0, 9))
def test_what_is_sealed_opens_under_its_name_and_version(plain: bytes, object_id: str, version: int) -> None:
    sealed = VAULT.seal(plain, object_id=object_id, version=version)
    assert VAULT.open(sealed, object_id=object_id, version=version) == plain
    assert len(sealed) == HEADER + len(plain) + 16


def test_the_same_bytes_are_never_sealed_the_same_way() -> None:
    sealed = [VAULT.seal(b"scan", object_id="a") for _ in range(50)]
    assert len({piece[-20:] for piece in sealed}) == 50
    assert [b"scan" in piece for piece in sealed] == [False] * 50


def test_no_byte_can_be_changed() -> None:
    sealed = VAULT.seal(b"x", object_id="a")
    opened = []
    for place in range(len(sealed)):
        for bit in (1, 128):
            changed = bytearray(sealed)
            changed[place] ^= bit
            try:
                VAULT.open(bytes(changed), object_id="a")
                opened.append(place)
            except VaultError:
                pass
    assert opened == []


@pytest.mark.parametrize(
    "change",
    [
        lambda sealed: sealed[:-1],
        lambda sealed: sealed + b"\0",
        lambda sealed: sealed[:HEADER],
        lambda sealed: sealed[:10],
        lambda sealed: b"",
        lambda sealed: VAULT.seal(b"other", object_id="a")[:HEADER] + sealed[HEADER:],
    ],
    ids=["cut", "longer", "no data", "no header", "nothing", "header of another"],
)
def test_a_damaged_object_does_not_open(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(VaultError):
        VAULT.open(change(VAULT.seal(b"scan", object_id="a")), object_id="a")


def test_swapped_objects_do_not_open() -> None:
    one, other = (VAULT.seal(name.encode(), object_id=name) for name in ("scan/1", "scan/2"))
    for sealed, object_id in ((one, "scan/2"), (other, "scan/1")):
        with pytest.raises(VaultError):
            VAULT.open(sealed, object_id=object_id)


def test_an_older_version_put_back_does_not_open() -> None:
    old = VAULT.seal(b"old", object_id="a", version=1)
    with pytest.raises(VaultError):
        VAULT.open(old, object_id="a", version=2)


def test_names_and_versions_cannot_be_confused() -> None:
    sealed = VAULT.seal(b"x", object_id="a\x001", version=2)
    with pytest.raises(VaultError):
        VAULT.open(sealed, object_id="a", version=12)


def test_another_key_does_not_open() -> None:
    sealed = VAULT.seal(b"x", object_id="a")
    with pytest.raises(VaultError):
        Vault({1: NEW_KEY}).open(sealed, object_id="a")
    with pytest.raises(VaultError, match="version 1 is not configured"):
        Vault({2: KEY}).open(sealed, object_id="a")


def test_rotation_wraps_the_key_anew_and_leaves_the_data() -> None:
    sealed = VAULT.seal(b"a large picture", object_id="a")
    both = Vault({1: KEY, 2: NEW_KEY})
    assert both.open(sealed, object_id="a") == b"a large picture"
    wrapped = both.rewrap(sealed, object_id="a")
    assert wrapped[HEADER:] == sealed[HEADER:]
    assert wrapped[:HEADER] != sealed[:HEADER]
    # The old key may go now.
    assert Vault({2: NEW_KEY}).open(wrapped, object_id="a") == b"a large picture"
    with pytest.raises(VaultError):
        VAULT.open(wrapped, object_id="a")
    with pytest.raises(VaultError):
        both.rewrap(sealed, object_id="b")


def test_the_newest_key_seals() -> None:
    sealed = Vault({1: KEY, 7: NEW_KEY}).seal(b"x", object_id="a")
    assert Vault({7: NEW_KEY}).open(sealed, object_id="a") == b"x"


@pytest.mark.parametrize("keys", [{}, {1: b"short"}, {0: KEY}, {65536: KEY}, {1: os.urandom(33)}])
def test_unusable_keys_are_refused(keys: dict[int, bytes]) -> None:
    with pytest.raises(VaultError):
        Vault(keys)
