"""Headers that every answer carries, whatever it is an answer to."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from csss.entrypoints.http.guards import CSP
from csss.foundation.clock import SetClock
from csss.imaging.sandbox import Sandbox
from csss.pathway.states import State
from entrypoints.http.doors import PROBLEM_MEMBERS, routes
from mailbox_server import Mailbox
from pictures import picture_png
from sites import API, BASE_URL, PASSWORD, Site, open_site

FIXED = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


def missing(answer: Any) -> dict[str, str | None]:
    """The headers that are not as they should be."""
    wanted = dict(FIXED)
    if answer.request.url.path.startswith("/static/"):
        del wanted["cache-control"]
    return {name: answer.headers.get(name) for name, value in wanted.items() if answer.headers.get(name) != value}


def test_every_route_carries_the_security_headers(sqlite_site: Site) -> None:
    answers = [
        sqlite_site.client.request(method, path, headers=headers)
        for method, path in routes(sqlite_site)
        for headers in ({}, sqlite_site.person("doctor").headers)
    ]
    assert {str(answer.request.url): missing(answer) for answer in answers if missing(answer)} == {}
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


ERRORS: dict[int, tuple[str, str, dict[str, Any]]] = {
    400: ("POST", f"{API}/auth/login", {"content": b"9" * 5000, "headers": {"Content-Type": "application/json"}}),
    401: ("GET", f"{API}/auth/me", {}),
    403: ("POST", f"{API}/auth/login", {"headers": {"Origin": "https://evil.example"}}),
    404: ("GET", "/nowhere", {}),
    405: ("DELETE", "/healthz", {}),
    413: ("POST", f"{API}/auth/login", {"content": b" " * (1024 * 1024 + 1)}),
    415: ("POST", f"{API}/auth/login", {"content": b"{}", "headers": {"Content-Encoding": "gzip"}}),
    422: ("POST", f"{API}/auth/login", {"json": {}}),
}


@pytest.mark.parametrize("status", ERRORS)
def test_errors_carry_the_security_headers_and_are_problem_documents(sqlite_site: Site, status: int) -> None:
    method, path, options = ERRORS[status]
    answer = sqlite_site.client.request(method, path, **options)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert missing(answer) == {}
    body = answer.json()
    assert set(body) >= PROBLEM_MEMBERS
    assert body["status"] == status


def test_fault_of_our_own_carries_them_too_and_tells_nothing(sqlite_site: Site) -> None:
    def broken(_data: bytes, _kind: object) -> Any:
        raise ZeroDivisionError("the secret reason")

    sqlite_site.app.state.parts = dataclasses.replace(sqlite_site.assembly.parts, decode=broken)
    token = sqlite_site.person("patient").headers
    with TestClient(sqlite_site.app, base_url=BASE_URL, raise_server_exceptions=False) as client:
        answer = client.post(f"{API}/scans", files={"file": ("a.png", picture_png())}, headers=token)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert missing(answer) == {}
    assert set(answer.json()) == PROBLEM_MEMBERS
    assert answer.json()["code"] == "internal-error"
    assert "secret reason" not in answer.text


def test_pictures_are_served_in_a_sandbox(sqlite_site: Site) -> None:
    case_id = sqlite_site.bring_to(State.AI_ANALYZED)
    for name in ("image", "heatmap"):
        answer = sqlite_site.get("doctor", f"/scans/{case_id}/{name}")
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
        assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == ("image/png", "nosniff")
        assert answer.headers["cache-control"] == "no-store"


def test_request_id_of_the_caller_is_not_taken_over(sqlite_site: Site) -> None:
    answer = sqlite_site.client.get("/healthz", headers={"X-Request-Id": "mine"})
    assert answer.headers["x-request-id"] != "mine"


def test_plain_http_sets_no_transport_security(sqlite_site: Site) -> None:
    assert "strict-transport-security" not in sqlite_site.client.get("/healthz").headers


def sign_in_by_form(site: Site) -> Any:
    page = site.client.get("/sign-in")
    found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page.text)
    assert found
    form = {"email": site.person("patient").user.email, "password": PASSWORD, "csrf_token": found[1]}
    visitor = page.headers["set-cookie"].split(";")[0]
    return site.client.post("/sign-in", data=form, headers={"Cookie": visitor})


def cookie_parts(answer: Any, name: str) -> set[str]:
    (found,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith(f"{name}=")]
    return {part.strip().lower() for part in found.split(";")[1:] if not part.strip().lower().startswith("max-age")}


def test_session_cookie_is_out_of_reach_for_scripts_and_other_sites(sqlite_site: Site) -> None:
    answer = sign_in_by_form(sqlite_site)
    assert cookie_parts(answer, "csss_session") == {"httponly", "path=/", "samesite=lax"}


def test_session_cookie_over_https_is_bound_to_host_and_to_https(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> None:
    address = "https://csss.example"
    with open_site(sqlite_url, tmp_path, clock, sandbox, tiny_models, mailbox, base_url=address) as site:
        answer = sign_in_by_form(site)
        assert answer.status_code == 303
        assert cookie_parts(answer, "__Host-csss_session") == {"httponly", "path=/", "samesite=lax", "secure"}
        assert answer.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
