"""The confined process that decodes files: it preloads the decoders, then forks once for each file.

Run by ``sandbox.Sandbox`` with one end of a socket as its file descriptor 0. It reads nothing else, has
no secret in its environment, and its children live for one file.
"""

import io
import json
import os
import select
import signal
import site
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from csss.foundation.errors import CsssError
from csss.imaging import confinement, wire
from csss.imaging.limits import Limits
from csss.imaging.readers import READERS
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.imaging.wire import HEAD, JOB

_CONTROL_BYTES = 4096


def serve() -> None:
    """Confine this process, say so, and fork a child for every job until the control socket closes."""
    control = socket.socket(fileno=0)
    _preload()
    address_space = confinement.address_space_bytes()
    nowhere = os.open(os.devnull, os.O_RDWR)
    measures = confinement.isolate(_library_folders())
    control.sendall(json.dumps(measures).encode())
    # Until here a failure to start is worth reading; from here on a hostile file could write to our log.
    os.dup2(nowhere, 2)
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, _CONTROL_BYTES)
        _reap(running)
        if control.fileno() in ready and not _accept(control, running, address_space):
            return


def _preload() -> None:
    """Decode a tiny picture of each kind: what the first file would import is then there for every child."""
    picture = Image.linear_gradient("L").resize((8, 8))
    for kind in (FileKind.PNG, FileKind.JPEG):
        encoded = io.BytesIO()
        picture.save(encoded, kind.value)
        READERS[kind](encoded.getvalue(), Limits())
    dataset = Dataset()
    dataset.SpecificCharacterSet = ["ISO 2022 IR 87", "ISO 2022 IR 149"]
    dataset.PatientName, dataset.Modality, dataset.PixelSpacing = "A^B", "OT", [1, 1]
    dataset.Rows = dataset.Columns = dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation, dataset.PixelData = "MONOCHROME2", bytes(range(64))
    dataset["PixelData"].VR = "OB"
    encoded = io.BytesIO()
    dcmwrite(encoded, dataset, implicit_vr=False, little_endian=True)
    meta = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
    READERS[FileKind.DICOM](bytes(128) + b"DICM" + meta + encoded.getvalue(), Limits())


def _library_folders() -> list[Path]:
    names = [sys.prefix, sys.base_prefix, "/usr/lib", "/lib", "/lib64", *site.getsitepackages()]
    return [*(Path(name).resolve() for name in names), Path(__file__).resolve().parents[1]]


def _accept(control: socket.socket, running: dict[int, socket.socket], address_space: int) -> bool:
    message, descriptors, _, _ = socket.recv_fds(control, JOB.size, 1)
    if len(message) != JOB.size or len(descriptors) != 1:
        return False
    kind, wall_seconds, memory_bytes, size_bytes = JOB.unpack(message)
    request = socket.socket(fileno=descriptors[0])
    child = os.fork()
    if child == 0:
        confine = partial(
            confinement.limit_resources, wall_seconds=wall_seconds, address_space=address_space + memory_bytes
        )
        _become_child(request.detach(), FileKind(kind.rstrip(b"\0").decode()), size_bytes, confine)
    running[child] = request
    return True


def _reap(running: dict[int, socket.socket]) -> None:
    while running:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        with running.pop(child) as request:
            request.setblocking(False)
            try:
                request.send(HEAD.pack(b"X", status))
            except OSError:
                # The parent has its answer, or gave up, and closed its end.
                continue


def _become_child(descriptor: int, kind: FileKind, size_bytes: int, confine: Callable[[], None]) -> NoReturn:
    """Decode one file and leave; never returns into the loop of the parent."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Descriptor 0 was the control socket, the higher ones belong to files of other people.
        os.dup2(descriptor, 0)
        os.closerange(3, 1024)
        with socket.socket(fileno=0) as request:
            request.sendall(HEAD.pack(b"P", os.getpid()))
            confine()
            answer_one(request, kind, size_bytes)
    finally:
        os._exit(0)


def answer_one(request: socket.socket, kind: FileKind, size_bytes: int) -> None:
    """Receive one file, decode it, and send a volume or an error."""
    try:
        data = receive_exactly(request, size_bytes)
        volume = READERS[kind](bytes(data), Limits())
    except MemoryError:
        _send_error(request, "DamagedFile", "decode-out-of-memory", "Decoding the file needs too much memory.")
        return
    except CsssError as error:
        _send_error(request, type(error).__name__, error.code, error.message)
        return
    _send_volume(request, volume)


def receive_exactly(source: socket.socket, size_bytes: int) -> bytearray:
    """Return exactly so many bytes from a socket; raises EOFError when it closes before."""
    data = bytearray(size_bytes)
    view, filled = memoryview(data), 0
    while filled < size_bytes:
        received = source.recv_into(view[filled:])
        if received == 0:
            raise EOFError("the other end closed the socket")
        filled += received
    return data


def _send_volume(request: socket.socket, volume: Volume) -> None:
    document = wire.encode_header(volume)[wire.PREFIX.size :]
    request.sendall(HEAD.pack(b"V", len(document)) + document)
    request.sendall(volume.pixels.reshape(-1).data)


def _send_error(request: socket.socket, name: str, code: str, message: str) -> None:
    document = json.dumps({"error": name, "code": code, "message": message}).encode()
    request.sendall(HEAD.pack(b"E", len(document)) + document)


if __name__ == "__main__":
    serve()
