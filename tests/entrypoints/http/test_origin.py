"""Requests from pages of other sites: refused when unsafe, and never readable across origins."""

from typing import Any

import pytest

from csss.entrypoints.http.guards import CSP
from entrypoints.http.doors import UNSAFE, open_browser, outcome, routes
from sites import API, BASE_URL, Site

FOREIGN: dict[str, dict[str, str]] = {
    "another site": {"Origin": "https://evil.example"},
    "no origin to speak of": {"Origin": "null"},
    "our host, another port": {"Origin": "http://127.0.0.1:8001"},
    "our host as a prefix": {"Origin": f"{BASE_URL}.evil.example"},
    "our host in https": {"Origin": BASE_URL.replace("http:", "https:")},
    "Fetch Metadata of another site": {"Sec-Fetch-Site": "cross-site"},
    "Fetch Metadata of a sibling site": {"Sec-Fetch-Site": "same-site"},
    "a referring page of another site": {"Referer": f"https://evil.example/?{BASE_URL}"},
    "an origin that contradicts the Fetch Metadata": {
        "Origin": "https://evil.example",
        "Sec-Fetch-Site": "same-origin",
    },
}
CONTENT = (
    {"json": {}},
    {"data": {"a": "b"}},
    {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
)
OURS = (
    {"Origin": BASE_URL},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Referer": f"{BASE_URL}/sign-in"},
    {},
)


@pytest.mark.parametrize("name", FOREIGN)
def test_unsafe_request_from_elsewhere_is_refused_on_every_route(sqlite_site: Site, name: str) -> None:
    bearer = sqlite_site.person("admin").headers
    unsafe = [(method, path) for method, path in routes(sqlite_site) if method in UNSAFE]
    assert len(unsafe) > 20
    answers = {
        (method, path, number): outcome(send(sqlite_site, method, path, content, bearer | FOREIGN[name]))
        for method, path in unsafe
        for number, content in enumerate(CONTENT)
    }
    assert {key: value for key, value in answers.items() if value != (403, "foreign-origin")} == {}


def send(site: Site, method: str, path: str, content: dict[str, Any], headers: dict[str, str]) -> Any:
    return site.client.request(method, path, **content | {"headers": headers | content.get("headers", {})})


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_unsafe_request_from_our_own_pages_passes(sqlite_site: Site, headers: dict[str, str]) -> None:
    assert sqlite_site.post("patient", "/auth/logout", headers=headers).status_code == 204


@pytest.mark.parametrize("name", FOREIGN)
def test_safe_request_from_elsewhere_passes_and_is_not_readable_there(sqlite_site: Site, name: str) -> None:
    answer = sqlite_site.get("patient", "/auth/me")
    answer = sqlite_site.client.get(f"{API}/auth/me", headers=sqlite_site.person("patient").headers | FOREIGN[name])
    assert answer.status_code == 200
    assert cors_headers(answer) == []
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def cors_headers(answer: Any) -> list[str]:
    return [header for header in answer.headers if header.lower().startswith("access-control-")]


def test_no_route_answers_a_preflight(sqlite_site: Site) -> None:
    headers = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-csrf-token, content-type",
    }
    answers = [sqlite_site.client.options(path, headers=headers) for _, path in routes(sqlite_site)]
    assert {answer.status_code for answer in answers} == {405}
    assert [cors_headers(answer) for answer in answers if cors_headers(answer)] == []


def test_cookie_session_needs_the_token_of_its_own_pages(sqlite_site: Site) -> None:
    browser, other = open_browser(sqlite_site, "patient"), open_browser(sqlite_site, "other patient")

    def log_out(**headers: str | bytes) -> tuple[int, str | None]:
        return outcome(sqlite_site.client.post(f"{API}/auth/logout", headers={"Cookie": browser.cookie} | headers))

    assert log_out() == (403, "csrf")
    assert log_out(**{"X-CSRF-Token": ""}) == (403, "csrf")
    assert log_out(**{"X-CSRF-Token": "0" * 64}) == (403, "csrf")
    assert log_out(**{"X-CSRF-Token": b"\xe4"}) == (403, "csrf")
    assert log_out(**{"X-CSRF-Token": other.token}) == (403, "csrf")
    assert log_out(**{"X-CSRF-Token": browser.token}) == (204, None)


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer", "Bearer ", "Negotiate x", "x"])
def test_authorization_that_signs_nobody_in_does_not_replace_the_token(sqlite_site: Site, authorization: str) -> None:
    """A browser behind a proxy sends its Basic credentials by itself, as it does with cookies."""
    browser = open_browser(sqlite_site, "patient")
    headers = {"Cookie": browser.cookie, "Authorization": authorization}
    api = sqlite_site.client.post(f"{API}/auth/logout", headers=headers)
    page = sqlite_site.client.post("/sign-out", headers=headers)
    assert (outcome(api), outcome(page)) == ((403, "csrf"), (403, "csrf"))


def test_every_unsafe_route_asks_a_cookie_session_for_the_token(sqlite_site: Site) -> None:
    browser = open_browser(sqlite_site, "patient")
    unsafe = [(method, path) for method, path in routes(sqlite_site) if method in UNSAFE]
    answers = {
        (method, path): outcome(sqlite_site.client.request(method, path, headers={"Cookie": browser.cookie}))
        for method, path in unsafe
    }
    assert {key: value for key, value in answers.items() if value != (403, "csrf")} == {}


def test_sign_in_form_needs_the_visitors_token(sqlite_site: Site) -> None:
    """Otherwise another site could sign a visitor in as somebody else and have them upload there."""
    body = {"email": sqlite_site.person("patient").user.email, "password": "whatever it may be"}
    assert outcome(sqlite_site.client.post("/sign-in", data=body)) == (403, "csrf")


def test_bearer_token_needs_no_csrf_token(sqlite_site: Site) -> None:
    assert sqlite_site.post("patient", "/auth/logout").status_code == 204


def test_policy_for_scripts_and_styles_allows_nothing_inline() -> None:
    parts = dict(part.strip().split(" ", 1) for part in CSP.split(";"))
    assert parts["default-src"] == "'none'"
    assert (parts["script-src"], parts["style-src"]) == ("'self'", "'self'")
    assert (parts["frame-ancestors"], parts["base-uri"], parts["form-action"]) == ("'none'", "'none'", "'self'")
    assert "unsafe" not in CSP
    assert "*" not in CSP


def test_token_in_a_form_that_is_no_text_is_a_wrong_token(sqlite_site: Site) -> None:
    browser = open_browser(sqlite_site, "patient")
    answer = sqlite_site.client.post("/sign-out", data={"csrf_token": "\u00e4"}, headers={"Cookie": browser.cookie})
    assert outcome(answer) == (403, "csrf")
