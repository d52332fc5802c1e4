"""A real server process for journeys: started, killed without warning, started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx


@dataclass
class Server:
    """`csss serve` as a process of its own, on a free loopback port that stays the same over restarts."""

    environment: dict[str, str]
    log: Path
    port: int = field(default_factory=lambda: _free_port())
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it is ready."""
        environment = {
            "PATH": os.environ["PATH"],
            "CSSS_BASE_URL": self.url,
            "CSSS_PORT": str(self.port),
            **self.environment,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "csss.cli", "serve"], env=environment, stdout=log, stderr=log
            )
        wait_for(self._is_ready, "the server to be ready", on_failure=self.log.read_text)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


def wait_for(condition, what: str, *, seconds: float = 60.0, on_failure=lambda: "") -> None:  # type: ignore[no-untyped-def]
    """Wait until ``condition()`` is true; fails with what was waited for."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}: {on_failure()}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
