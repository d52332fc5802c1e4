import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from csss.imaging import confinement


def outcome_in_child(act: Callable[[], object], *, readable: list[Path]) -> str:
    """What happens when a confined child process does this: "done" or the name of the exception."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            address_space = confinement.address_space_bytes() + 64 * 1024 * 1024
            measures = confinement.isolate(readable)
            confinement.limit_resources(wall_seconds=20, address_space=address_space)
            os.write(send, ",".join(measures).encode() + b"\n")
            act()
            os.write(send, b"done")
        except (OSError, MemoryError) as error:
            os.write(send, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(send)
    os.waitpid(child, 0)
    with os.fdopen(receive) as answer:
        measures, result = answer.read().split("\n")
    return result if len(measures.split(",")) == 4 else pytest.skip(f"this kernel offers only {measures}")


def connect() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))


def test_confined_child_has_no_network(tmp_path: Path) -> None:
    assert outcome_in_child(connect, readable=[]) == "OSError"


def test_confined_child_reads_only_what_it_may(tmp_path: Path) -> None:
    library, secret = tmp_path / "library", tmp_path / "secret"
    for folder in (library, secret):
        folder.mkdir()
        (folder / "file").write_text("x", encoding="utf-8")
    assert outcome_in_child((library / "file").read_bytes, readable=[library]) == "done"
    assert outcome_in_child((secret / "file").read_bytes, readable=[library]) == "PermissionError"


@pytest.mark.parametrize("act", ["write_text", "unlink", "mkdir"])
def test_confined_child_changes_no_file(tmp_path: Path, act: str) -> None:
    file = tmp_path / "file"
    file.write_text("kept", encoding="utf-8")
    acts: dict[str, Callable[[], object]] = {
        "write_text": lambda: file.write_text("changed", encoding="utf-8"),
        "unlink": file.unlink,
        "mkdir": lambda: (tmp_path / "new").mkdir(),
    }
    assert outcome_in_child(acts[act], readable=[tmp_path]) == "PermissionError"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert file.read_text(encoding="utf-8") == "kept"


def test_confined_child_has_bounded_memory(tmp_path: Path) -> None:
    assert outcome_in_child(lambda: bytearray(32 * 1024 * 1024), readable=[]) == "done"
    assert outcome_in_child(lambda: bytearray(128 * 1024 * 1024), readable=[]) == "MemoryError"
