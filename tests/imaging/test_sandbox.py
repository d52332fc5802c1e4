import os
import signal
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from csss.foundation.errors import CsssError
from csss.imaging import wire
from csss.imaging.refusals import DamagedFile
from csss.imaging.sandbox import Sandbox, _Answer, _NeverStartedError
from csss.imaging.sandbox_child import HEAD
from csss.imaging.sniff import FileKind
from imaging.makers_imaging import dicom, encoded, gradient, jpeg_with_sides, nested_dicom, png, volume, zeros

GREY = gradient(40, 30)
GOOD = encoded(GREY, "PNG")
LARGE = png(5_000, 5_000, data=zlib.compress(bytes(5_000) + b"\1" + bytes(5_001 * 4_999), 1))


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as shared:
        yield shared


def refusal_of(sandbox: Sandbox, data: bytes, kind: FileKind) -> tuple[int, str]:
    with pytest.raises(CsssError) as refusal:
        sandbox.decode(data, kind)
    return refusal.value.status, refusal.value.code


def assert_alive(sandbox: Sandbox) -> None:
    assert np.array_equal(sandbox.decode(GOOD, FileKind.PNG).pixels[0], GREY)


def test_sandbox_returns_the_whole_volume(sandbox: Sandbox) -> None:
    data = dicom(PatientName="DOE^JANE", WindowCenter="50", WindowWidth="20", BurnedInAnnotation="YES")
    picture = sandbox.decode(data, FileKind.DICOM)
    assert np.array_equal(picture.pixels[0], gradient())
    assert (picture.kind, picture.modality, picture.window) == (FileKind.DICOM, "DX", (50.0, 20.0))
    assert (picture.burned_in, picture.acquisition.study_uid) == (True, "2.25.2")
    assert picture.identity is not None
    assert (picture.identity.patient_id, picture.identity.patient_name) == ("P1", "DOE^JANE")
    assert not picture.pixels.flags.writeable


@pytest.mark.parametrize(
    ("data", "kind", "status", "code"),
    [
        (GOOD[:200], FileKind.PNG, 422, "truncated"),
        (png(12_000, 12_000, data=zeros(1 << 20)), FileKind.PNG, 413, "too-many-pixels"),
        (png(data=zeros(50 << 20)), FileKind.PNG, 422, "damaged-png"),
        (jpeg_with_sides(65_500, 65_500), FileKind.JPEG, 413, "too-many-pixels"),
        (nested_dicom(5_000), FileKind.DICOM, 422, "nested-too-deep"),
        (dicom(np.zeros((4, 4), np.uint8)), FileKind.DICOM, 422, "blank-image"),
        (dicom(BitsAllocated=12), FileKind.DICOM, 415, "bits-unsupported"),
        (bytes(10 * 1024 * 1024 + 1), FileKind.PNG, 413, "file-too-large"),
    ],
)  # fmt: skip
def test_sandbox_passes_refusals_on_and_survives(
    sandbox: Sandbox, data: bytes, kind: FileKind, status: int, code: str
) -> None:
    assert refusal_of(sandbox, data, kind) == (status, code)
    assert_alive(sandbox)


def test_sandbox_ends_a_decode_that_takes_too_long() -> None:
    with Sandbox(wall_seconds=0.03) as sandbox:
        assert refusal_of(sandbox, LARGE, FileKind.PNG) == (422, "decode-timeout")
    with Sandbox() as sandbox:
        assert sandbox.decode(LARGE, FileKind.PNG).pixels.shape == (1, 5_000, 5_000)


def test_sandbox_ends_a_decode_that_needs_too_much_memory() -> None:
    with Sandbox(memory_bytes=40 * 1024 * 1024) as sandbox:
        assert refusal_of(sandbox, LARGE, FileKind.PNG) == (422, "decode-out-of-memory")
        assert_alive(sandbox)


def test_sandbox_keeps_the_memory_of_its_owner_flat(sandbox: Sandbox) -> None:
    bomb = png(8, 8, data=zeros(200 << 20))
    assert_alive(sandbox)
    before = resident_bytes()
    for _ in range(5):
        assert refusal_of(sandbox, bomb, FileKind.PNG) == (422, "damaged-png")
    assert resident_bytes() - before < 20 * 1024 * 1024


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def test_sandbox_is_shared_by_threads(sandbox: Sandbox) -> None:
    pictures = [gradient(20 + number, 30) for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        decoded = list(threads.map(lambda each: sandbox.decode(encoded(each, "PNG"), FileKind.PNG), pictures))
    for picture, expected in zip(decoded, pictures, strict=True):
        assert np.array_equal(picture.pixels[0], expected)


def test_sandbox_starts_again_when_its_process_was_killed_or_closed() -> None:
    with Sandbox() as sandbox:
        assert_alive(sandbox)
        assert sandbox._process is not None
        os.kill(sandbox._process.pid, signal.SIGKILL)
        assert_alive(sandbox)
        sandbox.close()
        assert sandbox._process is None
        assert_alive(sandbox)


def test_sandbox_names_its_measures_and_hides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSSS_SECRET", "canary")
    with Sandbox() as sandbox:
        assert sandbox.isolation.split(", ")[0] == "rlimits"
        assert sandbox._process is not None
        probe = f"/proc/{sandbox._process.pid}/environ"
        assert b"canary" not in Path(probe).read_bytes()


def answer_to(*parts: bytes) -> CsssError:
    """What the parent makes of a child that answers with these bytes and then closes."""
    ours, theirs = socket.socketpair()

    def child() -> None:
        with theirs:
            theirs.recv(1)
            theirs.sendall(b"".join(parts))

    thread = threading.Thread(target=child)
    thread.start()
    with ours, pytest.raises(CsssError) as refusal:
        _Answer(ours, 5.0).receive(b"x")
    thread.join()
    return refusal.value


DOCUMENT = wire.encode_header(volume())[wire.PREFIX.size :]
DEFLATED = DOCUMENT.replace(b'"deflated":false', b'"deflated":true')
HUGE = DOCUMENT.replace(b"[1,24,16]", b"[1,99999,99999]")


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD.pack(b"P", 1),),
        (HEAD.pack(b"P", 1), HEAD.pack(b"P", 1)),
        (HEAD.pack(b"Q", 1),),
        (HEAD.pack(b"X", signal.SIGSEGV),),
        (HEAD.pack(b"X", 0),),
        (HEAD.pack(b"V", len(DOCUMENT)), DOCUMENT, bytes(100)),
        (HEAD.pack(b"V", len(HUGE)), HUGE, bytes(100)),
        (HEAD.pack(b"V", len(DEFLATED)), DEFLATED, bytes(384)),
        (HEAD.pack(b"V", 0xFFFFFFFF), bytes(100)),
        (HEAD.pack(b"V", 10), b"not json!!", bytes(100)),
        (HEAD.pack(b"E", 2), b"{}"),
        (HEAD.pack(b"E", 0xFFFFFFFF), b"{}"),
        (HEAD.pack(b"E", 51), b'{"error":"SystemExit","code":"a","message":"abcdef"}'[:51]),
    ],
)
def test_sandbox_treats_an_answer_that_is_none_as_a_crash(parts: tuple[bytes, ...]) -> None:
    error = answer_to(*parts)
    assert (type(error), error.status, error.code) == (DamagedFile, 422, "decode-crashed")


@pytest.mark.parametrize("parts", [(), (b"V",)])
def test_sandbox_does_not_blame_the_file_when_no_child_took_it(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(_NeverStartedError):
        answer_to(*parts)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (signal.SIGALRM, "decode-timeout"),
        (signal.SIGXCPU, "decode-timeout"),
        (signal.SIGKILL, "decode-out-of-memory"),
        (signal.SIGABRT, "decode-crashed"),
    ],
)
def test_sandbox_names_how_the_child_died(status: int, code: str) -> None:
    assert answer_to(HEAD.pack(b"X", status)).code == code


def test_sandbox_gives_up_on_a_child_that_says_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(DamagedFile) as refusal:
        _Answer(ours, -1.95).receive(b"x")
    assert refusal.value.code == "decode-timeout"
