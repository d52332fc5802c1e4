"""Who may ask the inference door: bearers of its token; without one, programs on this machine only, or nobody."""

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import func, select
from starlette.testclient import TestClient
from tiny_model import SIDE, make_folder

from csss.audit import AuditEvent
from csss.cli import main
from csss.entrypoints.oip.alone import check_reach, create_app
from csss.entrypoints.oip.routes import Served
from csss.foundation.clock import SetClock
from csss.foundation.database import Base
from csss.foundation.errors import BadRequest, Forbidden
from csss.imaging.sandbox import Sandbox
from csss.inference.shelf import Shelf
from entrypoints.oip.doors import BEARER, TOKEN, tensor
from mailbox_server import Mailbox
from sites import Site, open_site

LIVE = ("GET", "/v2/health/live")
ROUTES = [
    LIVE,
    ("GET", "/v2"),
    ("GET", "/v2/health/ready"),
    ("GET", "/v2/models/{name}"),
    ("GET", "/v2/models/{name}/ready"),
    ("GET", "/v2/models/{name}/versions/{version}"),
    ("GET", "/v2/models/{name}/versions/{version}/ready"),
    ("POST", "/v2/models/{name}/infer"),
    ("POST", "/v2/models/{name}/versions/{version}/infer"),
    ("POST", "/v2/repository/index"),
]
GOOD = tensor("pictures", [1, 2, 3, 4], "UINT8", [1, 2, 2])
WANTED = {"error": "Send the token of this door as Authorization: Bearer TOKEN."}


@pytest.fixture
def open_door(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> Iterator[Site]:
    """A whole site with the inference door."""
    with open_site(sqlite_url, tmp_path, clock, sandbox, tiny_models, mailbox, inference_token=TOKEN) as site:
        yield site


@pytest.fixture
def alone(tiny_models: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Served(Shelf(tiny_models), TOKEN))) as client:
        yield client


def own_routes(app: FastAPI) -> list[tuple[str, str]]:
    found = [(method, str(c.path)) for c in iter_route_contexts(app.router.routes) for method in c.methods or ()]
    return [(method, path) for method, path in found if path.startswith("/v2")]


def ask(client: TestClient, route: tuple[str, str], **headers: str) -> Any:
    method, path = route
    path = re.sub(r"{(\w+)}", lambda match: {"name": "tiny", "version": "1"}[match[1]], path)
    return client.request(method, path, json=GOOD if method == "POST" else None, headers=headers)


def test_the_list_below_names_every_route(alone: TestClient, open_door: Site) -> None:
    assert isinstance(alone.app, FastAPI)
    assert sorted(own_routes(alone.app)) == sorted(own_routes(open_door.app)) == sorted(ROUTES)


def test_site_without_a_token_has_no_such_door(sqlite_site: Site) -> None:
    assert own_routes(sqlite_site.app) == []
    for route in ROUTES:
        answer = ask(sqlite_site.client, route, **BEARER)
        assert (answer.status_code, answer.json()) == (404, {"error": "There is nothing at this address."}), route


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN.lower()}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \xe9"},
        {"Cookie": f"token={TOKEN}"},
    ],
)
def test_every_route_but_one_wants_the_token(alone: TestClient, open_door: Site, headers: dict[str, str]) -> None:
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    for client in (alone, open_door.client):
        for route in ROUTES:
            answer = ask(client, route, **sent)  # type: ignore[arg-type]
            if route == LIVE:
                assert answer.json() == {"live": True}
            else:
                assert (answer.status_code, answer.json()) == (401, WANTED), route
                assert answer.headers["www-authenticate"] == "Bearer"


def test_every_route_opens_to_the_token(alone: TestClient, open_door: Site) -> None:
    for client in (alone, open_door.client):
        assert [ask(client, route, **BEARER).status_code for route in ROUTES] == [200] * len(ROUTES)


def test_nobodys_own_session_or_token_opens_it(open_door: Site) -> None:
    for who in ("doctor", "admin"):
        assert ask(open_door.client, ROUTES[1], **open_door.person(who).headers).json() == WANTED


def test_token_is_asked_for_before_anything_else(alone: TestClient, open_door: Site) -> None:
    for client in (alone, open_door.client):
        for path in ("/v2/models/other/infer", "/v2/models/tiny/infer"):
            answer = client.post(path, content=b" " * 2_000_000, headers={"Authorization": "Bearer wrong"})
            assert (answer.status_code, answer.json()) == (401, WANTED)


def test_site_takes_a_large_picture_from_a_bearer_only(open_door: Site) -> None:
    picture = tensor("pictures", [7, *[9] * (800 * 800 - 1)], "UINT8", [1, 800, 800])
    path = "/v2/models/tiny/infer"
    assert open_door.client.post(path, json=picture, headers=BEARER).status_code == 200
    answer = open_door.client.post(path, json=picture)
    refusal = {"error": "The request is larger than the 1 MB that are accepted. Nothing was kept."}
    assert (answer.status_code, answer.json()) == (413, refusal)


def test_site_refuses_the_pages_of_other_sites(open_door: Site) -> None:
    answer = ask(open_door.client, ROUTES[7], Origin="https://elsewhere.example", **BEARER)
    refusal = {"error": "This request came from another site and was not accepted."}
    assert (answer.status_code, answer.json()) == (403, refusal)


def kept(site: Site) -> tuple[dict[str, int], int]:
    with site.assembly.shop.work() as work:
        rows = {
            name: work.session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }
    folder = site.assembly.settings.data_dir / "blobs"
    return rows, sum(1 for path in folder.rglob("*") if path.is_file())


def test_inference_leaves_no_record_and_no_log_of_what_was_asked(
    open_door: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = open_door.client
    before = kept(open_door)
    body = GOOD | {"id": "Jane Doe"}
    assert client.post("/v2/models/tiny/infer", json=body, headers=BEARER).json()["id"] == "Jane Doe"
    prepared = tensor("prepared", [0.5] * (3 * SIDE * SIDE), "FP32", [1, 3, SIDE, SIDE])
    assert client.post("/v2/models/tiny/infer", json=prepared, headers=BEARER).status_code == 200
    assert kept(open_door) == before
    own = [record for record in caplog.records if record.name.startswith("csss")]
    assert [getattr(record, "route", "") for record in own] == ["/v2/models/{name}/infer"] * 2
    assert "Jane Doe" not in "".join(str(vars(record)) for record in caplog.records)


def test_wrong_token_leaves_a_denial_in_the_audit_log(open_door: Site) -> None:
    ask(open_door.client, ROUTES[7], Authorization="Bearer wrong")
    with open_door.assembly.shop.work() as work:
        event = work.session.scalars(select(AuditEvent).order_by(AuditEvent.seq.desc())).first()
    assert event is not None
    assert (event.action, event.actor_id) == ("request.denied", None)
    assert event.detail == {
        "route": "/v2/models/{name}/infer",
        "method": "POST",
        "status": 401,
        "code": "not-signed-in",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_door_without_a_token_may_serve_this_machine(host: str) -> None:
    check_reach(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "models.hospital.example", "", "127.0.0.1.example"])
def test_door_without_a_token_may_not_serve_others(host: str) -> None:
    check_reach(host, TOKEN)
    with pytest.raises(Forbidden) as caught:
        check_reach(host, None)
    assert caught.value.code == "token-needed"


def test_infer_command_says_why_it_does_not_start(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csss.foundation.logs.set_up_logs", lambda: None)
    assert main(["infer", "--host", "0.0.0.0", "--models", str(tiny_models)]) == 2
    assert capsys.readouterr().err == (
        "csss: Without a token the models are served to this machine only, not at 0.0.0.0. "
        "Set CSSS_INFERENCE_TOKEN (at least 32 characters), or leave --host at 127.0.0.1.\n"
    )
    (tmp_path / "tiny/1").mkdir(parents=True)
    assert main(["infer", "--models", str(tmp_path)]) == 2
    told = f"csss: No model of {tmp_path} can be served. tiny/1: 1 holds no card.json.\n"
    assert capsys.readouterr().err == told
    monkeypatch.setenv("CSSS_INFERENCE_TOKEN", "too short")
    assert main(["infer"]) == 2
    assert "CSSS_INFERENCE_TOKEN must be at least 32 unguessable characters" in capsys.readouterr().err


def test_programs_that_ask_take_no_thread_from_the_pages(
    open_door: Site, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    def hang(*_: object) -> None:
        begun.release()
        gate.wait()
        raise BadRequest("enough")

    monkeypatch.setattr("csss.entrypoints.oip.routes.infer", hang)
    client = open_door.client
    asked = [threading.Thread(target=ask, args=(client, ROUTES[7]), kwargs=BEARER, daemon=True) for _ in range(50)]
    with client:  # one event loop for all of them
        for thread in asked:
            thread.start()
        for _ in range(16):
            begun.acquire()
        assert client.get("/healthz").json() == {"status": "ok"}
        assert begun.acquire(blocking=False) is False
        gate.set()
        for thread in asked:
            thread.join()


def test_a_threshold_of_no_served_model_stops_the_door_before_it_opens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csss.foundation.logs.set_up_logs", lambda: None)
    make_folder(tmp_path)
    monkeypatch.setenv("CSSS_CONFIDENCE_THRESHOLD", "tiyn/1=0.9")
    assert main(["infer", "--models", str(tmp_path)]) == 2
    assert "names tiyn, which is no model here that reads pictures. There are: tiny." in capsys.readouterr().err
