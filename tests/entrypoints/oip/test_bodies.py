"""Bodies at the inference door: too large, too slow, too many at once; and the room that each gives back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient
from tiny_model import make_folder

from csss.entrypoints.oip import bodies
from csss.entrypoints.oip.alone import create_app
from csss.entrypoints.oip.bodies import BodyRoom
from csss.entrypoints.oip.routes import Served
from csss.foundation.errors import BadRequest, CsssError, TooLarge, Unavailable
from csss.inference.shelf import Shelf


def request_of(*parts: bytes, then: str = "end") -> Request:
    """A request whose body comes in these parts and then ends, breaks off, or never ends."""
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or then != "end"}
        if then == "disconnect":
            return {"type": "http.disconnect"}
        if then == "drip":
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"x", "more_body": True}
        return await asyncio.Event().wait()  # type: ignore[return-value]

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def hold(room: BodyRoom, request: Request) -> bytes:
    async with room.body(request) as body:
        assert room.held == len(body)
        return body


def refusal(request: Request, room: BodyRoom) -> CsssError:
    with pytest.raises(CsssError) as caught:
        asyncio.run(hold(room, request))
    return caught.value


def test_a_body_takes_room_as_long_as_it_is_worked_on() -> None:
    room = BodyRoom()
    assert (asyncio.run(hold(room, request_of(b"ab", b"cd"))), room.held) == (b"abcd", 0)


def test_a_body_that_stops_or_drips_or_breaks_off_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    room = BodyRoom()
    broken = refusal(request_of(b"ab", then="disconnect"), room)
    assert (type(broken), "its body did not arrive whole" in broken.message) == (BadRequest, True)
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.01)
    assert "in time" in refusal(request_of(b"ab", then="stop"), room).message
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.05)
    assert "in time" in refusal(request_of(b"ab", then="drip"), room).message
    assert room.held == 0


def test_a_body_that_is_too_large_gives_its_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_BYTES", 3)
    room = BodyRoom()
    assert isinstance(refusal(request_of(b"ab", b"cd"), room), TooLarge)
    assert room.held == 0


def test_no_more_bodies_are_held_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "HELD_BYTES", 5)
    room = BodyRoom()

    async def two() -> None:
        async with room.body(request_of(b"abc")):
            with pytest.raises(Unavailable) as caught:
                await hold(room, request_of(b"ab", b"c"))
            assert (caught.value.code, caught.value.facts) == ("door-full", {"retry_after_seconds": 5})
            assert room.held == 3
            async with room.body(request_of(b"ab")) as small:
                assert (small, room.held) == (b"ab", 5)

    asyncio.run(two())
    assert room.held == 0


def test_a_caller_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_folder(tmp_path)
    monkeypatch.setattr(bodies, "HELD_BYTES", 10)
    with TestClient(create_app(Served(Shelf(tmp_path), None))) as client:
        answer = client.post("/v2/models/tiny/infer", content=b" " * 20)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (
        503,
        "5",
        {"error": "Too many large requests are being read just now. Send this one again in a moment."},
    )
