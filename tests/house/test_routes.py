"""Every route x method x actor gives what the access table says; a denial changes nothing and is audited."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import delete, func, select
from starlette.routing import Mount

from csss.accounts.tables import Throttle, User
from csss.audit import AuditEvent
from csss.delivery.tables import Delivery
from csss.foundation.clock import SetClock
from csss.foundation.ids import new_id
from csss.imaging.sandbox import Sandbox
from csss.pathway.issuing import RESEND_AFTER
from csss.pathway.states import State
from csss.pathway.tables import Case, CaseEvent, SignOff
from csss.reports.tables import Report
from house.access_table import ACTORS, API_ROWS, WEB_ROWS, Cell, Row
from house.ward import LONG_NAME, Ward, applicant
from mailbox_server import Mailbox
from model_shelves import make_version
from pictures import picture_png
from sites import NOTHING_NEEDED, PASSWORD, READING, open_site

# Reads of personal data that leave no event of their own; each is a gap against safety.md E1 and told to the owner.
UNAUDITED = {
    ("GET", "/scans/{case_id}/status"),
}


@pytest.fixture(scope="module")
def ward(
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    sandbox: Sandbox,
    mail_server: Mailbox,
) -> Iterator[Ward]:
    """A site that is shared by the whole table; what a person may see is one SQL text on both databases."""
    models = tmp_path_factory.mktemp("models")
    make_version(models, "1", evidence={"plot.png": picture_png(1)})
    make_version(models, "2")
    folder = tmp_path_factory.mktemp("ward")
    (folder / "csss.db").write_bytes(sqlite_template.read_bytes())
    clock = SetClock(datetime.fromisoformat("2026-11-02T09:00:00+00:00"))
    with open_site(f"sqlite:///{folder}/csss.db", folder, clock, sandbox, models, mail_server) as site:
        opened = Ward(site)
        site.in_care()
        site.in_care(doctor="disabled doctor")
        with site.assembly.shop.work() as work:
            work.session.get_one(User, site.person("disabled doctor").user.id).disabled_at = work.clock.now()
        yield opened


def routes_of(app: Any) -> set[tuple[str, str]]:
    """Every (method, path) of an application, those of nested routers too; a mount counts as GET."""
    found = set()
    for context in iter_route_contexts(app.router.routes):
        if isinstance(context.original_route, Mount):
            found.add(("GET", context.original_route.path))
        else:
            assert context.methods, context
            found |= {(method, context.path) for method in context.methods}
    return found


def test_every_route_has_a_row_and_every_row_a_route(ward: Ward) -> None:
    listed = {(row.method, row.path) for row in (*API_ROWS, *WEB_ROWS)}
    assert routes_of(ward.site.app) == listed


def test_table_tells_each_case_once() -> None:
    names = [str(row) for row in (*API_ROWS, *WEB_ROWS)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("row", API_ROWS, ids=str)
def test_api_gives_what_the_access_table_says(ward: Ward, row: Row) -> None:
    walk(ward, row, ask_api)


@pytest.mark.parametrize("row", WEB_ROWS, ids=str)
def test_web_gives_what_the_access_table_says(ward: Ward, row: Row) -> None:
    walk(ward, row, ask_web)


Ask = Callable[[Ward, Row, str, str], Any]


def walk(ward: Ward, row: Row, ask: Ask) -> None:
    """Ask as every actor, those who are refused first: their case must look untouched for the ones after them."""
    order = sorted(ACTORS, key=lambda actor: row.cells[actor].status < 400)
    found = {actor: visit(ward, row, actor, ask) for actor in order}
    expected = {actor: (row.cells[actor].status, row.cells[actor].to_sign_in) for actor in ACTORS}
    assert {actor: found[actor] for actor in ACTORS} == expected


def visit(ward: Ward, row: Row, actor: str, ask: Ask) -> tuple[int, bool]:
    ward.sign_in()
    with ward.site.assembly.shop.work() as work:
        work.session.execute(delete(Throttle))
    case_id = ward.case_in(State(row.state)) if row.state else ""
    prepare(ward, row, actor, case_id)
    before, seq = traces(ward, case_id), newest_event(ward)
    response = ask(ward, row, actor, case_id)
    cell = row.cells[actor]
    to_sign_in = response.status_code == 303 and response.headers["location"].startswith("/sign-in")
    if response.status_code >= 400:
        assert traces(ward, case_id) == before, f"{actor}: refused, and yet something changed"
        if response.headers["content-type"] == "application/problem+json":
            assert response.json()["code"] == cell.code, actor
    check_audit(ward, row, actor, cell, seq, response.status_code)
    return response.status_code, to_sign_in


def traces(ward: Ward, case_id: str) -> tuple[Any, ...]:
    """Everything about a case that a step could change."""
    if not case_id:
        return ()
    key = UUID(case_id)
    with ward.site.assembly.shop.work() as work:
        case = work.session.get_one(Case, key)
        columns = tuple(getattr(case, column.key) for column in Case.__table__.columns)
        events = work.session.scalar(select(func.count()).where(CaseEvent.case_id == key))
        signed = work.session.execute(select(SignOff.id, SignOff.voided_at).where(SignOff.case_id == key)).all()
        sent = work.session.scalar(select(func.count()).select_from(Delivery).join(Report).where(Report.case_id == key))
    return columns, events, signed, sent


def newest_event(ward: Ward) -> int:
    with ward.site.assembly.shop.work() as work:
        return work.session.scalar(select(func.max(AuditEvent.seq))) or 0


def check_audit(ward: Ward, row: Row, actor: str, cell: Cell, since: int, status: int) -> None:
    """A refused person leaves one denial with route and code; a look at a case or a step on it leaves its event."""
    with ward.site.assembly.shop.work() as work:
        events = work.session.scalars(select(AuditEvent).where(AuditEvent.seq > since)).all()
    if actor in ("nobody", "disabled doctor"):
        return  # not signed in: nobody to name
    own = ward.site.person(actor).user.id
    denials = [event for event in events if event.action == "request.denied"]
    if 400 <= status < 500 and row.cells["nobody"].status not in (404, 200):
        detail = {"route": row.path, "method": row.method, "status": status, "code": cell.code}
        assert [(event.actor_id, event.detail) for event in denials] == [(own, detail)], actor
    else:
        assert status >= 400 or denials == []
    if status < 400 and row.state:
        leaves_trace = (row.method, row.path) not in UNAUDITED
        assert (own in {event.actor_id for event in events}) == leaves_trace, f"{actor}: {row}"


def prepare(ward: Ward, row: Row, actor: str, case_id: str) -> None:
    """What an honest person does before this request."""
    site = ward.site
    if row.cells[actor].status >= 400 or row.cells[actor].to_sign_in:
        return
    if row.path.endswith("/verify"):
        site.get(actor, f"/scans/{case_id}/image")
    if row.path.endswith("/send"):
        site.run_jobs()
        site.clock.move(RESEND_AFTER)
        ward.sign_in()
    if row.path.endswith("/approve"):
        site.clock.move(timedelta(seconds=31))
        site.post(actor, f"/scans/{case_id}/step-up", {"method": "totp"})
    if row.path.startswith("/admin/models/") and row.method == "POST":
        ward.stand_before(row.path.rsplit("/", 1)[-1], actor)


def ask_api(ward: Ward, row: Row, actor: str, case_id: str) -> Any:
    path = address(ward, row, actor, case_id)
    headers = {} if actor == "nobody" else ward.site.person(actor).headers
    if row.path.endswith("/logout"):
        ward.signed_in_at = None
    last = row.path.rsplit("/", 1)[-1]
    body = API_BODIES[last](ward, actor) if row.method == "POST" and last in API_BODIES else {}
    return ward.site.client.request(row.method, path, headers=headers, **body)


def ask_web(ward: Ward, row: Row, actor: str, case_id: str) -> Any:
    client = ward.site.client
    client.cookies.clear()
    headers = {"Accept": "text/html"}
    if actor != "nobody":
        headers["Cookie"] = f"csss_session={ward.cookies[actor]}"
    path = address(ward, row, actor, case_id)
    if row.method == "GET":
        answer = client.get(path, headers=headers)
    else:
        form = client.get("/sign-in", headers=headers)
        visitor = client.cookies.get("csss_visitor")
        headers["Cookie"] = "; ".join(filter(None, (headers.get("Cookie"), visitor and f"csss_visitor={visitor}")))
        token = re.search(r'name="csrf_token" value="([^"]+)"', form.text)
        assert token, "no CSRF token on the sign-in page"
        last = row.path.rsplit("/", 1)[-1]
        body = WEB_BODIES[last](ward, actor) if last in WEB_BODIES else {"data": {}}
        if row.path == "/patient/upload":
            del body["data"]["patient"]
        body["data"]["csrf_token"] = token[1]
        answer = client.post(path, headers=headers, **body)
    client.cookies.clear()
    if row.path == "/sign-out":
        ward.signed_in_at = None
    return answer


def address(ward: Ward, row: Row, actor: str, case_id: str) -> str:
    """The row's path with everything in it that it asks for."""
    if row.path == "/static":
        return "/static/style.css"
    fill: dict[str, Callable[[], object]] = {
        "scan_id": lambda: case_id,
        "case_id": lambda: case_id,
        "patient_id": lambda: _patient_id(ward),
        "report_id": lambda: ward.report_of(case_id),
        "step": lambda: "retract",
        "user_id": ward.spare_user,
        "session_id": lambda: ward.own_session(actor),
        "token": ward.registration if "confirm" in row.path else ward.reset_link,
        "name": lambda: "tiny",
        "version": lambda: "1",
        "number": lambda: "1",
        "index": lambda: "0",
        "file": lambda: "plot.png",
    }
    return re.sub(r"{(\w+)}", lambda match: str(fill[match[1]]()), row.path)


def _registration_form(_ward: Ward, _actor: str) -> dict[str, Any]:
    asked = applicant()
    return {
        "email": asked.email,
        "name": asked.name,
        "birth_date": asked.birth_date.isoformat(),
        "sex": asked.sex,
        "password": asked.password,
    }


def _login(ward: Ward, _actor: str) -> dict[str, Any]:
    return {"email": ward.site.person("patient").user.email, "password": PASSWORD}


def _patient_id(ward: Ward) -> str:
    record = ward.site.person("patient").patient
    assert record is not None
    return str(record.id)


def _upload(field_name: str) -> Callable[[Ward, str], dict[str, Any]]:
    def body(ward: Ward, _actor: str) -> dict[str, Any]:
        return {"files": {"file": ("scan.png", ward.picture())}, "data": {field_name: _patient_id(ward)}}

    return body


def _json(make: Callable[[Ward, str], object]) -> Callable[[Ward, str], dict[str, Any]]:
    return lambda ward, actor: {"json": make(ward, actor)}


def _form(make: Callable[[Ward, str], dict[str, Any]]) -> Callable[[Ward, str], dict[str, Any]]:
    return lambda ward, actor: {"data": make(ward, actor)}


def _code(ward: Ward, actor: str) -> str:
    return ward.code(actor) if actor.endswith("admin") else "000000"


NEW_PATIENT = {"name": LONG_NAME, "birth_date": "1990-01-02", "sex": "female"}
REASON = {"reason": "looked at again"}
API_BODIES: dict[str, Callable[[Ward, str], dict[str, Any]]] = {
    "register": _json(_registration_form),
    "confirm": _json(lambda ward, _: {"token": ward.registration(), "password": PASSWORD}),
    "login": _json(_login),
    "patients": _json(lambda *_: NEW_PATIENT),
    "record": _json(lambda *_: {"allergies": "none known"}),
    "scans": _upload("patient_id"),
    "verify": _json(lambda *_: READING),
    "complete": _json(lambda *_: NOTHING_NEEDED),
    "step-up": _json(lambda *_: {"method": "totp"}),
    "approve": _json(lambda ward, actor: {"code": _code(ward, actor)}),
    "return": _json(lambda *_: REASON),
    "return-to-pharmacist": _json(lambda *_: REASON),
    "reject": _json(lambda *_: {"reason_code": "duplicate"}),
    "cancel": _json(lambda *_: REASON),
    "read-without-ai": _json(lambda *_: REASON),
}
_choice = _form(lambda ward, _: {"reason": "tried elsewhere", "seen": ward.newest_choice()})
WEB_BODIES: dict[str, Callable[[Ward, str], dict[str, Any]]] = {
    "sign-in": _form(_login),
    "register": _form(_registration_form),
    "{token}": _form(lambda *_: {"password": PASSWORD}),
    "upload": _upload("patient"),
    "patients": _form(lambda *_: {**NEW_PATIENT, "name": "New Person"}),
    "record": _form(lambda *_: {"allergies": "none known"}),
    "propose": _choice,
    "confirm": _form(
        lambda ward, actor: {"reason": "agreed", "seen": ward.newest_choice(), "code": _code(ward, actor)}
    ),
    "refuse": _choice,
    "withdraw": _choice,
    "switch-off": _choice,
    "shadow": _choice,
    "stop-shadow": _choice,
    "roll-back": _choice,
    "invite": _form(lambda *_: {"email": f"{new_id().hex[-8:]}@x.example", "role": "doctor"}),
    "verify": _form(lambda *_: {**READING, "agrees": "yes"}),
    "complete": _form(lambda *_: {**NOTHING_NEEDED, "decision": "none"}),
    "step-up": _form(lambda *_: {"method": "totp"}),
    "approve": _form(lambda ward, actor: {"code": _code(ward, actor)}),
    "return": _form(lambda *_: REASON),
    "return-to-pharmacist": _form(lambda *_: REASON),
    "reject": _form(lambda *_: {"reason_code": "duplicate"}),
    "cancel": _form(lambda *_: REASON),
    "read-without-ai": _form(lambda *_: REASON),
}
