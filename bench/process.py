"""Runs each side as a process of its own, in turn, and collects what it and the operating system report."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stopwatch import STARTED_VARIABLE, THREADS_VARIABLE

ROOT = Path(__file__).parents[1]
PEER_VARIABLE = "CSSS_BENCH_PEER"
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


@dataclass(frozen=True, slots=True)
class Side:
    """One column of a comparison: a module of this folder, run by an interpreter; papers = the other side."""

    name: str
    python: str
    module: str
    arguments: tuple[str, ...]
    is_papers: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of one side took; the first answer is counted from the start of the interpreter."""

    cpu_ms: float
    wall_ms: float
    first_wall_ms: float
    first_cpu_ms: float
    process_cpu_ms: float
    peak_mib: float


def peer_python() -> str | None:
    """The interpreter that has the papers' packages, or None when none is named."""
    return os.environ.get(PEER_VARIABLE) or None


def run_in_turn(sides: Sequence[Side], *, runs: int, repeats: int, threads: int) -> dict[str, list[Figures]]:
    """Figures of ``runs`` runs of each side; the sides take turns, so that a busy minute hits them all.

    A first round, which fills the file cache, is thrown away. A side that cannot run is left out, and what
    it printed tells why.
    """
    able = [side for side in sides if run_side(side, repeats=1, threads=threads) is not None]
    figures: dict[str, list[Figures]] = {side.name: [] for side in able}
    for _ in range(runs):
        for side in able:
            print(f"\r{side.module}: {side.name:<40}", end="", file=sys.stderr, flush=True)
            found = run_side(side, repeats=repeats, threads=threads)
            if found is not None:
                figures[side.name].append(found)
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
    return {name: found for name, found in figures.items() if found}


def run_side(side: Side, *, repeats: int, threads: int) -> Figures | None:
    """Figures of one process of this side, or None when it failed; its last line is on the screen then."""
    command = [side.python, "-m", side.module, *side.arguments, "--repeats", str(repeats)]
    started = time.monotonic()
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=complaints, env=_environment(started, threads), cwd=ROOT
            )
        except OSError as error:
            print(f"{side.name} cannot run: {side.python}: {error.strerror}", file=sys.stderr)
            return None
        assert process.stdout is not None
        with process.stdout:
            printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            complaints.seek(0)
            print(f"{side.name} cannot run: {_last_line(complaints.read())}", file=sys.stderr)
            return None
    report = json.loads(printed.splitlines()[-1])
    return Figures(**report, process_cpu_ms=1000.0 * (usage.ru_utime + usage.ru_stime))


def _environment(started: float, threads: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        STARTED_VARIABLE: repr(started),
        THREADS_VARIABLE: str(threads),
        "OMP_WAIT_POLICY": "passive",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _last_line(complaints: bytes) -> str:
    lines = complaints.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."
