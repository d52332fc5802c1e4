"""Every field, parameter and id of the API with values that nobody sends by accident: never a fault of ours."""

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from csss.foundation.ids import new_id
from csss.pathway.states import State
from entrypoints.http.doors import check_problem
from sites import API, NOTHING_NEEDED, PASSWORD, READING, Site

ITEM = {"medicine": "A", "dose": "1", "route": "oral", "frequency": "daily", "duration": "1 week", "remarks": "x"}
FORMS: dict[str, tuple[str, str, State | None, dict[str, Any]]] = {
    "register": (
        "nobody",
        "/auth/register",
        None,
        {
            "email": "a@b.example",
            "name": "New Person",
            "birth_date": "1990-01-02",
            "sex": "male",
            "password": PASSWORD,
        },
    ),
    "confirm": ("nobody", "/auth/confirm", None, {"token": "x", "password": PASSWORD}),
    "login": ("nobody", "/auth/login", None, {"email": "a@b.example", "password": PASSWORD, "code": "123456"}),
    "patients": ("doctor", "/patients", None, {"name": "New Person", "birth_date": "1990-01-02", "sex": "male"}),
    "verify": ("doctor", "/scans/{}/verify", State.AI_ANALYZED, READING | {"recommendations": "None."}),
    "complete": (
        "pharmacist",
        "/scans/{}/complete",
        State.DOCTOR_VERIFIED,
        NOTHING_NEEDED | {"items": [ITEM], "none_statement": None},
    ),
    "step-up": ("admin", "/scans/{}/step-up", State.PHARMACIST_COMPLETED, {"method": "totp"}),
    "approve": ("admin", "/scans/{}/approve", State.PHARMACIST_COMPLETED, {"code": "123456"}),
    "return": ("doctor", "/scans/{}/return", State.DOCTOR_VERIFIED, {"reason": "again"}),
    "return-to-pharmacist": (
        "admin",
        "/scans/{}/return-to-pharmacist",
        State.PHARMACIST_COMPLETED,
        {"reason": "again"},
    ),
    "reject": ("doctor", "/scans/{}/reject", State.AI_ANALYZED, {"reason_code": "duplicate"}),
    "cancel": ("patient", "/scans/{}/cancel", State.PENDING_AI, {"reason": "not needed"}),
}
TEXTS: dict[str, Any] = {
    "NUL": "a\x00bcdefgh",
    "lone surrogate": "abcdefg\ud800",
    "64 KiB": "x" * 65_536,
    "right to left": "abc\u202edefgh",
    "no characters": "",
    "blanks": " \t\r\n",
    "control characters": "".join(map(chr, range(32))),
    "outside the BMP": "\U0001f9ec" * 40,
    "quotes": "'; DROP TABLE scan_case; --",
    "template": "{{ 7 * 7 }} ${7*7} %s %n <script>",
    "number": 1,
    "huge number": 10**400,
    "yes": True,
    "list": ["a"],
    "object": {"a": "b"},
    "nothing": None,
}


def places(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a body something can be put."""
    if path:
        yield path
    parts = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, inner in parts:
        yield from places(inner, (*path, name))


def put(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(body)
    part = changed
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return changed


@pytest.mark.parametrize("name", FORMS)
def test_field_with_a_hostile_value_is_refused_or_harmless(site: Site, name: str) -> None:
    """Each case starts over: a value that a step accepts moves the case on, and the next is refused with 409."""
    who, path, state, body = FORMS[name]
    case_id = site.bring_to(state) if state else ""
    if name == "verify":
        site.get("doctor", f"/scans/{case_id}/image")
    headers = {} if who == "nobody" else site.person(who).headers
    for place in places(body):
        for value in TEXTS.values():
            sent = json.dumps(put(body, place, value)).encode()
            answer = site.client.post(
                API + path.format(case_id), content=sent, headers=headers | {"Content-Type": "application/json"}
            )
            if answer.status_code >= 300:
                check_problem(answer)


@pytest.mark.parametrize("name", FORMS)
def test_form_with_a_field_more_or_less_is_refused(sqlite_site: Site, name: str) -> None:
    who, path, _, body = FORMS[name]
    headers = {} if who == "nobody" else sqlite_site.person(who).headers
    path = API + path.format(new_id())
    more = sqlite_site.client.post(path, json=body | {"state": "REPORT_READY"}, headers=headers)
    assert (more.status_code, more.json()["fields"][-1]["field"]) == (422, "state")


def cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


QUERIES = [
    "/scans?cursor=x",
    "/scans?cursor=%00",
    "/scans?cursor=%ff%fe",
    f"/scans?cursor={cursor([])}",
    f"/scans?cursor={cursor(['2026-01-01T00:00:00', str(new_id())])}",
    f"/scans?cursor={cursor(['0001-01-01T00:00:00+23:59', str(new_id())])}",
    f"/scans?cursor={cursor(['9999-12-31T23:59:59-23:59', str(new_id())])}",
    f"/scans?cursor={cursor([1, 2])}",
    f"/scans?cursor={cursor(['2026-01-01T00:00:00+00:00', 'x'])}",
    f"/scans?cursor={cursor({'a': 1})}",
    f"/scans?cursor={'W' * 301}",
    "/scans?limit=0",
    "/scans?limit=101",
    f"/scans?limit={'9' * 5000}",
    "/scans?limit=1.5",
    "/scans?state=NOPE",
    "/scans?state=%00",
    "/scans?patient=x",
    "/scans?patient=%00",
    f"/patients?search={'x' * 101}",
    "/patients?search=%00",
    "/patients?search=%ed%a0%80",
    "/patients?search=%25_%5C",
    "/scans/%00",
    "/scans/..%2f..%2fetc",
    f"/scans/{'0' * 5000}",
    "/scans/nil/image",
    "/reports/%ff",
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda text: text[:60])
def test_query_with_a_hostile_value_is_refused_or_harmless(site: Site, query: str) -> None:
    site.in_care()
    answer = site.get("doctor", query)
    if answer.status_code >= 300:
        check_problem(answer)


@pytest.mark.parametrize("version", ["x", "-1", '"', "9" * 30, 'W/"1"', "1, 2", ""])
def test_version_that_is_none_is_refused(sqlite_site: Site, version: str) -> None:
    case_id = sqlite_site.bring_to(State.AI_ANALYZED)
    answer = sqlite_site.post("doctor", f"/scans/{case_id}/verify", READING, headers={"If-Match": version})
    check_problem(answer)
    assert sqlite_site.state(case_id) is State.AI_ANALYZED


@pytest.mark.parametrize("field", ["patient_id", "doctor_id", "modality", "body_part"])
def test_upload_form_with_a_hostile_value_is_refused(site: Site, field: str) -> None:
    for value in ("\x00", "x" * 65_536, "\u202e", "'; --", "{{7*7}}"):
        check_problem(site.upload("patient", **{field: value}))
    assert site.get("patient", "/scans").json()["items"] == []
