"""What forms share: where a sign-in may lead, and plain values."""

from datetime import date

import pytest

from csss.entrypoints.web.forms import parse_date, parse_version, safe_next
from csss.foundation.errors import Unprocessable


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ("/doctor/patients?q=a", "/doctor/patients?q=a"),
        ("", "/"),
        (None, "/"),
        ("doctor", "/"),
        ("//evil.example/x", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("/a\tb", "/"),
        ("/sign-in", "/"),
        ("/sign-out", "/"),
    ],
)
def test_safe_next_stays_on_this_site(wanted: str | None, address: str) -> None:
    assert safe_next(wanted) == address


@pytest.mark.parametrize(
    ("text", "version"), [("7", 7), ("", None), ("-1", None), ("7.0", None), ("٧", None), ("9" * 10, None)]
)
def test_parse_version_takes_plain_numbers_only(text: str, version: int | None) -> None:
    assert parse_version(text) == version


def test_parse_date_reads_iso_and_refuses_the_rest() -> None:
    assert parse_date(" 1984-03-09 ") == date(1984, 3, 9)
    with pytest.raises(Unprocessable) as refusal:
        parse_date("9.3.1984")
    assert refusal.value.code == "bad-birth-date"
