"""A mail server that misbehaves on purpose: plain SMTP over a socket, one word of its script changed."""

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

# What it says to the first word of a line; a test changes some. "drop" hangs up instead of answering.
USUAL = {
    "EHLO": "250 here",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    ".": "250 kept",
    "RSET": "250 ok",
    "QUIT": "221 bye",
}


class OddServer:
    """Listens on a free loopback port, without encryption; ``mails`` are those that it answered with 250."""

    def __init__(self, changes: Mapping[str, str]) -> None:
        self._script = {**USUAL, **changes}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port: int = self._socket.getsockname()[1]
        self.mails: list[bytes] = []
        self.talks = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.talks += 1
                with connection, connection.makefile("rwb") as stream:
                    self._talk(stream)

    def _talk(self, stream: object) -> None:
        def say(text: str) -> None:
            stream.write(text.encode() + b"\r\n")  # type: ignore[attr-defined]
            stream.flush()  # type: ignore[attr-defined]

        with suppress(OSError):
            say("220 odd")
            for line in stream:  # type: ignore[attr-defined]
                word = line.split()[0].decode().upper()
                if word == "DATA" and self._script["DATA"].startswith("354"):
                    say(self._script["DATA"])
                    mail = b"".join(iter(stream.readline, b".\r\n"))  # type: ignore[attr-defined]
                    word = "."
                    if self._script["."].startswith("250") or self._script["."] == "drop":
                        self.mails.append(mail)
                answer = self._script.get(word, "500 what")
                if answer == "drop":
                    return
                say(answer)
                if word == "QUIT":
                    return
