"""Decode files in a confined child process, so that a hostile one can harm nothing but itself."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from csss.foundation.errors import CsssError, Unavailable
from csss.imaging import refusals, wire
from csss.imaging.confinement import MEMORY_BYTES
from csss.imaging.limits import Limits
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.imaging.wire import HEAD, JOB

WALL_SECONDS = 30.0
START_SECONDS = 60.0
MAX_PIXEL_BYTES = 4 * 3 * Limits().dicom_pixels
_GRACE_SECONDS = 2.0
_REFUSALS: dict[str, type[CsssError]] = {
    refusal.__name__: refusal
    for refusal in (
        refusals.UnsupportedFile,
        refusals.FileTooLarge,
        refusals.DamagedFile,
        refusals.BlankImage,
        refusals.RefusedFile,
    )
}
_TIMES_OUT = frozenset({signal.SIGALRM, signal.SIGXCPU})
_START = "import sys; sys.path.insert(0, sys.argv[1]); from csss.imaging.sandbox_child import serve; serve()"


class Sandbox:
    """Decodes untrusted files, at most ``pool`` at a time; safe to share between threads.

    One process without network, secrets or write access is started on first use and forks a child for
    each file (``confinement`` says what the child may still do). A child has ``wall_seconds`` and
    ``memory_bytes`` (above what the idle process has) for its file. Use it as a context manager, or ``close`` it.
    """

    def __init__(self, *, wall_seconds: float = WALL_SECONDS, memory_bytes: int = MEMORY_BYTES, pool: int = 2) -> None:
        self._wall_seconds = wall_seconds
        self._memory_bytes = memory_bytes
        self._slots = threading.BoundedSemaphore(pool)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = os.getpid()
        self._measures: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def isolation(self) -> str:
        """The measures in force, for example "rlimits, no-network"; starts the process when needed."""
        with self._lock:
            self._ensure_started()
            return ", ".join(self._measures)

    def close(self) -> None:
        """End the process; a later ``decode`` starts a new one."""
        with self._lock:
            self._stop()

    def decode(self, data: bytes, kind: FileKind) -> Volume:
        """Return the picture in a file of a kind that ``sniff`` found.

        Raises what the reader refuses (UnsupportedFile, FileTooLarge, DamagedFile, BlankImage, RefusedFile),
        DamagedFile with the codes ``decode-timeout``, ``decode-out-of-memory`` or ``decode-crashed`` when
        the child did not survive the file, and Unavailable when no child can be had.
        """
        Limits().check_size(kind, len(data))
        with self._slots:
            try:
                return self._decode_once(data, kind)
            except _NeverStartedError:
                # The process that forks has died, which no file can cause: not the fault of this one.
                with self._lock:
                    self._stop()
            try:
                return self._decode_once(data, kind)
            except _NeverStartedError as error:
                raise _unavailable() from error

    def _decode_once(self, data: bytes, kind: FileKind) -> Volume:
        with self._open_request(kind, len(data)) as request:
            return _Answer(request, self._wall_seconds).receive(data)

    def _open_request(self, kind: FileKind, size_bytes: int) -> socket.socket:
        job = JOB.pack(kind.value.encode(), self._wall_seconds, self._memory_bytes, size_bytes)
        for _ in range(2):
            ours, theirs = socket.socketpair()
            with theirs, self._lock:
                control = self._ensure_started()
                try:
                    socket.send_fds(control, [job], [theirs.fileno()])
                    return ours
                except OSError:
                    # The process has died since the last file: once more with a new one.
                    ours.close()
                    self._stop()
        raise _unavailable()

    def _ensure_started(self) -> socket.socket:
        if self._owner != os.getpid():
            self._forget()
        if self._process is not None and self._process.poll() is not None:
            self._stop()
        if self._control is None:
            self._start()
        assert self._control is not None  # noqa: S101 - for the type checker
        return self._control

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
                [sys.executable, "-I", "-c", _START, root],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                cwd="/",
            )
        self._control = ours
        ours.settimeout(START_SECONDS)
        try:
            self._measures = [str(measure) for measure in json.loads(ours.recv(4096))]
        except (OSError, ValueError) as error:
            self._stop()
            raise _unavailable() from error
        ours.settimeout(_GRACE_SECONDS)

    def _stop(self) -> None:
        if self._owner != os.getpid():
            self._forget()
            return
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control, self._process = None, None

    def _forget(self) -> None:
        # After a fork of our own process: the decoder belongs to the parent and must not be ended here.
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.returncode = 0
        self._control, self._process, self._owner = None, None, os.getpid()


class _NeverStartedError(Exception):
    """No child has taken up the file."""


class _Answer:
    """One file's conversation: sends the bytes, checks all that comes back, enforces the wall limit."""

    def __init__(self, request: socket.socket, wall_seconds: float) -> None:
        self._request = request
        # The kernel ends the child at the wall limit; the grace is for its status to arrive.
        self._deadline = time.monotonic() + wall_seconds + _GRACE_SECONDS
        self._child: int | None = None

    def receive(self, data: bytes) -> Volume:
        try:
            self._request.setblocking(False)
            self._send(data)
            return self._take()
        except TimeoutError as error:
            self._kill()
            raise _timed_out() from error
        except (EOFError, ConnectionError, wire.WireError) as error:
            raise _crashed() from error

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(writing=True)
            try:
                rest = rest[self._request.send(rest) :]
            except (BrokenPipeError, ConnectionResetError):
                # The child died while it was being fed; its status tells why.
                return

    def _take(self) -> Volume:
        # The child names itself before it has seen a byte of the file. It is believed only then: a child
        # that the file has taken over must not choose which process is killed.
        try:
            kind, value = self._read_head()
        except (EOFError, ConnectionError) as error:
            raise _NeverStartedError from error
        if kind == b"P":
            self._child = value
            kind, value = self._read_head()
        if kind == b"V":
            return self._volume(value)
        if kind == b"E":
            raise self._refusal(value)
        if kind == b"X":
            raise _death(value)
        raise wire.WireError("the answer is none")

    def _read_head(self) -> tuple[bytes, int]:
        kind, value = HEAD.unpack(bytes(self._read(HEAD.size)))
        return kind, value

    def _refusal(self, length: int) -> CsssError:
        if length > wire.MAX_HEADER_BYTES:
            raise wire.WireError("the error is too long")
        try:
            document = json.loads(bytes(self._read(length)))
            refusal = _REFUSALS[document["error"]]
            return refusal(str(document["message"])[:500], code=str(document["code"])[:50])
        except (ValueError, KeyError, TypeError) as error:
            raise wire.WireError("the error is none") from error

    def _volume(self, length: int) -> Volume:
        if length > wire.MAX_HEADER_BYTES:
            raise wire.WireError("the header is too long")
        header = wire.decode_header(bytes(self._read(length)), max_pixel_bytes=MAX_PIXEL_BYTES)
        if header.deflated:
            raise wire.WireError("the sandbox does not deflate")
        return wire.build_volume(header, self._read(header.pixel_bytes))

    def _read(self, size_bytes: int) -> bytearray:
        data = bytearray(size_bytes)
        view, filled = memoryview(data), 0
        while filled < size_bytes:
            self._wait(writing=False)
            received = self._request.recv_into(view[filled:])
            if received == 0:
                raise EOFError("the child is gone")
            filled += received
        return data

    def _wait(self, *, writing: bool) -> None:
        left = max(0.0, self._deadline - time.monotonic())
        event = select.POLLOUT if writing else select.POLLIN
        poller = select.poll()
        poller.register(self._request, event)
        if not poller.poll(left * 1000):
            raise TimeoutError

    def _kill(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._child, signal.SIGKILL)


def _unavailable() -> Unavailable:
    return Unavailable("The image decoder cannot be started.", code="sandbox-unavailable")


def _death(status: int) -> refusals.DamagedFile:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _TIMES_OUT:
        return _timed_out()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return refusals.DamagedFile("Decoding the file needs too much memory.", code="decode-out-of-memory")
    return _crashed()


def _timed_out() -> refusals.DamagedFile:
    return refusals.DamagedFile("Decoding the file takes too long.", code="decode-timeout")


def _crashed() -> refusals.DamagedFile:
    return refusals.DamagedFile("Decoding the file crashed the decoder.", code="decode-crashed")
