"""Read files in several processes at once, in order, surviving the death of any of them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import NoReturn

from csss.foundation.errors import CsssError, Unavailable
from csss.imaging.sandbox import Sandbox
from csss.inference.engines import EngineChoice
from csss.inference.read_files import FileError, FileReader, FileReading
from csss.inference.shelf import Shelf
from csss.predict.heat import write_heat_map

_START = "import sys; sys.path.insert(0, sys.argv[1]); from csss.predict.workers import serve; serve()"
_AHEAD = 16
"""Files per process that may be read before their turn: one slow file holds up nobody for a while."""
_GRACE_SECONDS = 3.0
_READY = "ready"


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """What each process needs to read files: the model, its site's threshold, what runs it, and where heat maps go."""

    models: Path
    model: str
    version: str
    modality: str
    body_part: str
    heat_maps: Path | None
    engines: EngineChoice = field(default_factory=EngineChoice)
    site_tau: float | None = None


def read_here(files: Iterable[Path], plan: ReadingPlan) -> Generator[FileReading]:
    """One reading per file, in order, without its volume; heat maps are written.

    Raises NotFound ``model-unknown``, CardError, and Unprocessable when a heat map cannot be written.
    """
    with Sandbox() as sandbox:
        model = Shelf(plan.models, engines=plan.engines).model(plan.model, plan.version)
        model.open()
        reader = FileReader(model, sandbox, plan.modality, plan.body_part, plan.site_tau)
        for file in files:
            yield _read(reader, file, plan)


def read_in_processes(files: Iterable[Path], plan: ReadingPlan, jobs: int) -> Generator[FileReading]:
    """As `read_here` with ``jobs`` processes, each with its own shelf and sandbox.

    A process that dies costs the file that it had in hand, whose reading then has the error
    ``worker-died``; another takes its place. Closing the iterator ends all processes. Raises Unavailable
    ``worker-unavailable`` when a process dies before it can read anything.
    """
    pool = _Pool(plan)
    waiting = enumerate(files)
    results: dict[int, FileReading] = {}
    turn, exhausted = 0, False
    try:
        while True:
            while not exhausted and pool.has_room(jobs) and pool.newest < turn + _AHEAD * jobs:
                following = next(waiting, None)
                exhausted = following is None
                if following is not None:
                    pool.hand_out(*following)
            if turn in results:
                yield results.pop(turn)
                turn += 1
            elif pool.busy:
                results |= pool.collect()
            else:
                return
    finally:
        pool.close()


def serve() -> None:
    """The life of one process: read the files that are named on descriptor 0 until it closes."""
    signal.signal(signal.SIGTERM, _leave)
    with Connection(os.dup(0)) as parent, Sandbox(pool=1) as sandbox:
        try:
            plan: ReadingPlan = parent.recv()
            model = Shelf(plan.models, engines=plan.engines).model(plan.model, plan.version)
            model.open()
            parent.send(_READY)
            reader = FileReader(model, sandbox, plan.modality, plan.body_part, plan.site_tau)
            while True:
                parent.send(_read(reader, parent.recv(), plan))
        except CsssError as problem:
            parent.send(problem)
        except (EOFError, ConnectionError):
            # The parent is gone or wants no more.
            return


class _Pool:
    """The processes, and which file each has in hand."""

    def __init__(self, plan: ReadingPlan) -> None:
        self._plan = plan
        self._idle: list[_Process] = []
        self._at_work: dict[Connection, tuple[_Process, int, Path]] = {}
        self.newest = -1

    @property
    def busy(self) -> bool:
        return bool(self._at_work)

    def has_room(self, jobs: int) -> bool:
        return len(self._at_work) < jobs

    def hand_out(self, number: int, file: Path) -> None:
        process = self._idle.pop() if self._idle else _Process(self._plan)
        while not process.ask(file):
            process = _Process(self._plan)
        self._at_work[process.link] = (process, number, file)
        self.newest = number

    def collect(self) -> dict[int, FileReading]:
        """The next readings, by the numbers of their files; waits for at least one message."""
        readings: dict[int, FileReading] = {}
        for link in wait(list(self._at_work)):
            assert isinstance(link, Connection)  # noqa: S101 - for the type checker: nothing else was waited for
            process, number, file = self._at_work[link]
            answer = process.answer(file)
            if answer is None:
                continue
            del self._at_work[link]
            readings[number] = answer
            if process.alive:
                self._idle.append(process)
        return readings

    def close(self) -> None:
        processes = [*self._idle, *(process for process, _, _ in self._at_work.values())]
        for process in processes:
            process.stop()
        for process in processes:
            process.join()


class _Process:
    """One reading process and the line to it."""

    def __init__(self, plan: ReadingPlan) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
                [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[2])],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **os.environ},
                # Ctrl-C in a terminal is for the parent, who ends its processes itself.
                start_new_session=True,
            )
        self.link = Connection(ours.detach())
        self.alive = True
        self._ready = False
        self._send(plan)

    def ask(self, file: Path) -> bool:
        """Hand over one file; False when the process had died before, with nothing in hand."""
        if self._ready and self._child.poll() is not None:
            self._bury()
            return False
        self._send(file)
        return True

    def answer(self, file: Path) -> FileReading | None:
        """The reading of the file in hand; None when the process has only said that it is ready."""
        try:
            message = self.link.recv()
        except (EOFError, ConnectionError) as error:
            self._bury()
            if not self._ready:
                text = "A process that reads files cannot be started."
                raise Unavailable(text, code="worker-unavailable") from error
            return FileReading(str(file), None, None, None, _DIED, ())
        if isinstance(message, CsssError):
            raise message
        if message == _READY:
            self._ready = True
            return None
        assert isinstance(message, FileReading)  # noqa: S101 - for the type checker: the process is our own
        return message

    def stop(self) -> None:
        self.link.close()
        self._child.terminate()

    def join(self) -> None:
        try:
            self._child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _send(self, message: ReadingPlan | Path) -> None:
        try:
            self.link.send(message)
        except ConnectionError:
            # It has died: what it had in hand is settled when its end of the line is read.
            return

    def _bury(self) -> None:
        self.alive = False
        self.link.close()
        self._child.kill()
        self._child.wait()


_DIED = FileError("worker-died", "The process that read this file has died.")


def _read(reader: FileReader, file: Path, plan: ReadingPlan) -> FileReading:
    reading = reader.read(file)
    if plan.heat_maps is not None:
        write_heat_map(reading, plan.heat_maps)
    # A volume is large and of no more use.
    return replace(reading, volume=None)


def _leave(_: int, __: FrameType | None) -> NoReturn:
    raise SystemExit(0)
