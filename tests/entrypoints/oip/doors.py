"""Short ways to the inference door: as a real server on the loopback, in this process or as a command of its own."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from servers import wait_for

from csss.entrypoints.oip.alone import create_app
from csss.entrypoints.oip.routes import Served
from csss.inference.shelf import Shelf

TOKEN = "q9Zr2LwX7vTn4KbY8mHd3GpF6jQs5ce1"
BEARER = MappingProxyType({"Authorization": f"Bearer {TOKEN}"})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of an application that listens on the loopback, in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the server to listen")
        yield f"http://127.0.0.1:{server.config.port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def served_models(models: Path, token: str | None = None) -> Iterator[str]:
    """The address of the door alone, with the models of a folder."""
    with served(create_app(Served(Shelf(models), token))) as url:
        yield url


@contextmanager
def infer_command(models: Path, log: Path, **settings: str) -> Iterator[str]:
    """The address of a real `csss infer`, as a process of its own."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"]} | {f"CSSS_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "csss.cli", "infer", "--port", str(port), "--models", str(models)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"

    def is_live() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/v2/health/live").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(is_live, "csss infer", on_failure=log.read_text)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def tensor(name: str, values: Any, datatype: str, shape: list[int]) -> dict[str, Any]:
    """A body with one input as plain JSON."""
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": values}]}
