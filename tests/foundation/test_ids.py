"""Keys, numbers for people, secrets."""

from uuid import UUID

import pytest

from csss.foundation.ids import dicom_uid, digest, new_id, new_number, new_secret, number_is_valid

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def test_ids_are_version_7_unique_and_in_order_of_making() -> None:
    made = [new_id() for _ in range(1000)]
    assert {key.version for key in made} == {7}
    assert len(set(made)) == 1000
    assert [key.int >> 80 for key in made] == sorted(key.int >> 80 for key in made)


def test_every_wrong_character_of_a_number_is_noticed() -> None:
    number = new_number("P")
    passed = []
    for place in (*range(2, 6), *range(7, 12)):
        for letter in ALPHABET:
            changed = number[:place] + letter + number[place + 1 :]
            if changed != number and number_is_valid(changed):
                passed.append(changed)
    assert passed == []


def test_numbers_are_valid_and_not_a_counter() -> None:
    made = [new_number("S") for _ in range(300)]
    assert [number_is_valid(number) for number in made] == [True] * 300
    assert len(set(made)) == 300
    assert {(len(number), number[:2], number[6]) for number in made} == {(12, "S-", "-")}
    assert len({number[2] for number in made}) > 20


@pytest.mark.parametrize("text", ["", "P", "P-", "P-1234-5678", "P-ILOU-00000", "P-0000-000000", "p-0000-0000a"])
def test_other_texts_are_no_numbers(text: str) -> None:
    assert number_is_valid(text) is False


def test_a_number_that_was_given_out_stays_valid() -> None:
    """Written down once: another rule for the check character would disown every printed report."""
    assert number_is_valid("P-0123-45678") is (sum((2 * i + 1) * i for i in range(8)) % 32 == 8)
    assert number_is_valid("P-1000-00001") is True
    assert number_is_valid("P-0100-00003") is True


def test_secrets_are_long_and_never_the_same() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert {len(new_secret()), len(new_secret(128))} == {43, 22}


def test_digest_is_sha_256_and_dicom_uid_is_the_decimal_uuid() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert dicom_uid(UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")) == "2.25.329800735698586629295641978511506172918"
