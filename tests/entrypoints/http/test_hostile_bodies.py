"""Bodies that are too large, too deep or not text: a 4xx problem document, never a fault of ours."""

import dataclasses
import gzip
import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from csss.imaging.limits import Limits
from entrypoints.http.doors import check_problem, outcome
from pictures import picture_png
from sites import API, Site

MIB = 1024 * 1024
LOGIN = f"{API}/auth/login"


def stream(size: int, piece: int = 64 * 1024) -> Iterator[bytes]:
    """Blanks in pieces: a body whose size nobody declares."""
    for start in range(0, size, piece):
        yield b" " * min(piece, size - start)


def post(site: Site, content: Any, kind: str = "application/json", path: str = LOGIN, **headers: str) -> Any:
    return site.client.post(path, content=content, headers={"Content-Type": kind, **headers})


@pytest.mark.parametrize(("size", "expected"), [(MIB, (422, "invalid-request")), (MIB + 1, (413, "too-large"))])
def test_json_body_may_have_one_mib_declared_or_streamed(
    sqlite_site: Site, size: int, expected: tuple[int, str]
) -> None:
    assert outcome(post(sqlite_site, b" " * size)) == expected
    assert outcome(post(sqlite_site, stream(size))) == expected


def test_declared_size_is_refused_before_the_body_is_read(sqlite_site: Site) -> None:
    answer = post(sqlite_site, b"{}", **{"Content-Length": str(10**15)})
    assert outcome(answer) == (413, "too-large")


@pytest.mark.parametrize("length", ["-1", "1e3", "\u0663", "9" * 5000, " ", "0x10"])
def test_declared_size_that_is_no_number_does_not_open_the_gate(sqlite_site: Site, length: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": length.encode()}
    answer = sqlite_site.client.post(LOGIN, content=stream(MIB + 1), headers=headers)
    assert outcome(answer) == (413, "too-large")


def multipart(parts: Iterator[bytes]) -> tuple[bytes, str]:
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + b"--edge--\r\n"
    return body, "multipart/form-data; boundary=edge"


def field(name: str, value: bytes) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"'.encode() + b"\r\n\r\n" + value


def file_part(name: bytes, data: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n' + data


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("extra", "code"), [(-70_000, "file-too-large"), (100_000, "too-large")])
def test_upload_over_the_limit_is_refused(sqlite_site: Site, streamed: bool, extra: int, code: str) -> None:
    """Under the door's own limit the file's limit speaks, above it the door's; nothing is kept either way."""
    limits = Limits(raster_bytes=MIB // 2, dicom_bytes=MIB)
    sqlite_site.app.state.parts = dataclasses.replace(sqlite_site.assembly.parts, limits=limits)
    picture = picture_png() + b"\x00" * (MIB + extra)
    body, kind = multipart(iter([file_part(b"scan.png", picture)]))
    content = (body[at : at + 65_536] for at in range(0, len(body), 65_536)) if streamed else body
    answer = post(sqlite_site, content, kind, f"{API}/scans", **sqlite_site.person("patient").headers)
    assert outcome(answer) == (413, code)
    check_problem(answer)
    assert sqlite_site.get("patient", "/scans").json()["items"] == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_encoded_body_is_refused(sqlite_site: Site, coding: str) -> None:
    answer = post(sqlite_site, gzip.compress(b"{}"), **{"Content-Encoding": coding})
    assert outcome(answer) == (415, "encoded-body")
    check_problem(answer)


@pytest.mark.parametrize("part", [field("a", b"b"), file_part(b"a.png", b"b")], ids=["fields", "files"])
def test_form_of_ten_thousand_parts_is_refused(sqlite_site: Site, part: bytes) -> None:
    body, kind = multipart(part for _ in range(10_000))
    answer = post(sqlite_site, body, kind, f"{API}/scans", **sqlite_site.person("patient").headers)
    assert outcome(answer) == (400, "protocol")
    check_problem(answer)


FORMS: dict[str, tuple[bytes, str]] = {
    "no boundary": (b"--edge--", "multipart/form-data"),
    "another boundary": (multipart(iter([field("a", b"b")]))[0], "multipart/form-data; boundary=other"),
    "cut off": (multipart(iter([file_part(b"a.png", b"b" * 1000)]))[0][:200], "multipart/form-data; boundary=edge"),
    "no headers": multipart(iter([b"\r\n\r\nabc"])),
    "header of 64 KiB": multipart(iter([b"X: " + b"x" * 65_536 + b"\r\n" + field("a", b"b")])),
    "no name": multipart(iter([b'Content-Disposition: form-data; filename="a.png"\r\n\r\nb'])),
    "file as a field": multipart(iter([field("file", b"text")])),
    "charset unknown": (
        multipart(iter([field("_charset_", b"x-none")]))[0],
        "multipart/form-data; boundary=edge; charset=x-none",
    ),
    "not a form at all": (b"{}", "application/json"),
    "empty": (b"", "multipart/form-data; boundary=edge"),
}


# The framework leaves the half of a cut-off file to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", FORMS)
def test_form_that_is_none_is_refused(sqlite_site: Site, name: str) -> None:
    body, kind = FORMS[name]
    check_problem(post(sqlite_site, body, kind, f"{API}/scans", **sqlite_site.person("patient").headers))


@pytest.mark.parametrize(
    "name",
    [b"../../etc/passwd", b"a\x00b.png", b"\xff\xfe\xed\xa0\x80.png", b"x" * 5000, b"", b"C:\\x\\y.png", b"a\rb.png"],
)
def test_name_of_a_file_does_no_harm(site: Site, name: bytes) -> None:
    body, kind = multipart(iter([file_part(name, picture_png())]))
    answer = post(site, body, kind, f"{API}/scans", **site.person("patient").headers)
    if answer.status_code != 202:
        check_problem(answer)
    body, kind = multipart(iter([file_part(name, b"no picture")]))
    check_problem(post(site, body, kind, f"{API}/scans", **site.person("patient").headers))


BODIES: dict[str, bytes] = {
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects nested 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "value nested 10,000 deep": b'{"email":' + b"[" * 10_000 + b"]" * 10_000 + b', "password": "x"}',
    "unfinished": b'{"email": ',
    "not UTF-8": b'{"email": "\xff\xfe", "password": "x"}',
    "UTF-16": '{"email": "a", "password": "x"}'.encode("utf-16"),
    "number of 5,000 digits": b'{"email": ' + b"9" * 5000 + b', "password": "x"}',
    "NaN": b'{"email": NaN, "password": Infinity}',
    "null": b"null",
    "list": b"[]",
    "text": b'"email"',
    "empty": b"",
    "name a lone surrogate": b'{"\\ud800": 1, "email": "a@b.example", "password": "x"}',
    "name of 64 KiB": b'{"' + b"x" * 65_536 + b'": 1}',
    "name with NUL": b'{"a\\u0000b": 1, "email": "a@b.example", "password": "x"}',
    "same name 10,000 times": b"{" + b",".join([b'"email": "x"'] * 10_000) + b"}",
}


@pytest.mark.parametrize("name", BODIES)
def test_json_that_is_none_of_ours_is_refused(sqlite_site: Site, name: str) -> None:
    check_problem(post(sqlite_site, BODIES[name]))


def test_refusal_does_not_repeat_what_was_sent(sqlite_site: Site) -> None:
    """A password that came in the wrong field must not come back in an error, nor in a log of errors."""
    answer = sqlite_site.client.post(LOGIN, json={"email": ["my secret word"], "password": {"my": "secret word"}})
    assert outcome(answer) == (422, "invalid-request")
    assert "secret word" not in answer.text


def test_body_of_another_kind_is_not_read_as_json(sqlite_site: Site) -> None:
    """A form of another site can send text/plain without asking; it must not pass for JSON."""
    body = f'{{"email": "{sqlite_site.person("patient").user.email}", "password": "violet harbour ticket 42"}}'
    assert outcome(post(sqlite_site, body.encode(), "text/plain")) == (422, "invalid-request")
    assert outcome(post(sqlite_site, body.encode())) == (200, None)


def test_upload_may_be_read_in_any_pieces(sqlite_site: Site) -> None:
    body, kind = multipart(iter([file_part(b"scan.png", picture_png())]))
    pieces = iter(partial(io.BytesIO(body).read, 7), b"")
    answer = post(sqlite_site, pieces, kind, f"{API}/scans", **sqlite_site.person("patient").headers)
    assert answer.status_code == 202
