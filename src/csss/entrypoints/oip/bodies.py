"""Bodies of requests while they come in: bounded in size, in time, and in how much of them all is held at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from csss.entrypoints.oip.requests import BODY_BYTES, MIB
from csss.entrypoints.oip.tensors import wrong
from csss.foundation.errors import TooLarge, Unavailable

PATIENCE_SECONDS = 30.0
"""So long may nothing come."""
BODY_SECONDS = 120.0
"""So long may the whole take: 64 MB at half a megabyte a second. Who sends a byte now and then gains nothing."""
HELD_BYTES = 4 * BODY_BYTES
"""So much of all requests is held at once; what comes beyond is refused and may be sent again."""
RETRY_SECONDS = 5


class BodyRoom:
    """The bytes that this door holds just now; used by the one event loop of the application, so without a lock."""

    def __init__(self) -> None:
        self.held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, which takes room until the block ends. Raises TooLarge, BadRequest, Unavailable."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise wrong("compressed bodies are not accepted")
        body = bytearray()
        try:
            async for part in _parts(request):
                self._take(len(part))
                body += part  # together with the line above: whatever is raised, `held` and `body` agree
                if len(body) > BODY_BYTES:
                    raise TooLarge(f"The request is larger than the {BODY_BYTES // MIB} MB that are accepted.")
            yield bytes(body)
        finally:
            self.held -= len(body)

    def _take(self, size_bytes: int) -> None:
        if self.held + size_bytes > HELD_BYTES:
            raise Unavailable(
                "Too many large requests are being read just now. Send this one again in a moment.",
                code="door-full",
                facts={"retry_after_seconds": RETRY_SECONDS},
            )
        self.held += size_bytes


async def _parts(request: Request) -> AsyncIterator[bytes]:
    """The parts of the body as they come. Raises BadRequest when they stop coming, or come too slowly."""
    stream = request.stream()
    until = asyncio.get_running_loop().time() + BODY_SECONDS
    try:
        while True:
            left = until - asyncio.get_running_loop().time()
            part = await asyncio.wait_for(anext(stream, b""), min(PATIENCE_SECONDS, max(left, 0.0)))
            if not part:
                return
            yield part
    except TimeoutError as error:
        raise wrong("its body did not arrive in time") from error
    except ClientDisconnect as error:
        raise wrong("its body did not arrive whole") from error
