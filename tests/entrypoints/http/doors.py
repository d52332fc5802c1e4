"""Short ways for tests of the doors: every route, a browser's cookies and its CSRF token, what a problem looks like."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from csss.accounts.sign_in import Origin
from csss.accounts.tables import SessionKind, User
from csss.foundation.ids import new_id
from sites import Site

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


def routes(site: Site) -> Iterator[tuple[str, str]]:
    """Every (method, address) of the application, its placeholders filled with what fits nowhere."""
    for context in iter_route_contexts(site.app.router.routes):
        if isinstance(context.original_route, Mount):
            yield "GET", f"{context.original_route.path}/style.css"
            continue
        for method in sorted(context.methods or ()):
            yield method, re.sub(r"{\w+}", str(new_id()), str(context.path))


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser's session cookie and the token that its forms carry."""

    cookie: str
    token: str


def open_browser(site: Site, who: str) -> Browser:
    """Sign a person in as a browser does, and read the token from a page of ours."""
    with site.assembly.shop.work() as work:
        user = work.session.get_one(User, site.person(who).user.id)
        secret = site.assembly.parts.desk.open_session(
            work, user, origin=Origin("127.0.0.1"), kind=SessionKind.BROWSER
        ).secret
    cookie = f"csss_session={secret}"
    page = site.client.get("/sign-in", headers={"Cookie": cookie, "Accept": "text/html"})
    found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page.text)
    assert found, page.text
    return Browser(cookie, found[1])


def outcome(answer: Any) -> tuple[int, str | None]:
    """Status and problem code of an answer; no code for a success."""
    if answer.headers.get("content-type") != "application/problem+json":
        return answer.status_code, None
    return answer.status_code, answer.json()["code"]


def check_problem(answer: Any) -> None:
    """Assert that an answer is a problem document of RFC 9457, and that it is the client's problem."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) >= PROBLEM_MEMBERS
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:csss:problem:{body['code']}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
