"""What one side measures about its own process; standard library only, as either side runs it."""

import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

STARTED_VARIABLE = "CSSS_BENCH_STARTED"
"""Environment variable with the parent's monotonic clock (s) just before it started this process."""
THREADS_VARIABLE = "CSSS_BENCH_THREADS"
"""Environment variable with the number of threads that each library of a side may use."""
WARM_UP = 5
_TICKS = os.sysconf("SC_CLK_TCK")


def time_side(answer: Callable[[], object], repeats: int) -> None:
    """Call ``answer`` once, note the start, warm up, call it ``repeats`` times, print the figures as JSON.

    Figures: milliseconds from the start of the process to the first answer (wall and CPU), median wall
    milliseconds and mean CPU milliseconds of a later answer, peak memory in MiB. CPU and memory are those
    of this process and of its children.
    """
    answer()
    figures = {
        "first_wall_ms": 1000.0 * (time.monotonic() - float(os.environ[STARTED_VARIABLE])),
        "first_cpu_ms": 1000.0 * cpu_seconds(),
    }
    for _ in range(min(WARM_UP, repeats)):
        answer()
    figures |= _time_repeats(answer, repeats)
    figures["peak_mib"] = peak_mib()
    print(json.dumps(figures), flush=True)


def allowed_threads() -> int:
    """The number of threads that each library of this side may use."""
    return int(os.environ[THREADS_VARIABLE])


def _time_repeats(answer: Callable[[], object], repeats: int) -> dict[str, float]:
    walls, cpu = [], cpu_seconds()
    for _ in range(repeats):
        started = time.perf_counter()
        answer()
        walls.append(1000.0 * (time.perf_counter() - started))
    return {"wall_ms": statistics.median(walls), "cpu_ms": 1000.0 * (cpu_seconds() - cpu) / repeats}


def cpu_seconds() -> float:
    """CPU seconds of this process, its living children and all that these have ended and waited for."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    living = (sum(int(ticks) for ticks in fields[11:15]) / _TICKS for _, fields in _children())
    return sum(usage.ru_utime + usage.ru_stime for usage in own) + sum(living)


def peak_mib() -> float:
    """Peak resident memory of this process plus that of each living child; shared pages count twice."""
    return sum(_peak_kib(number) for number in [os.getpid(), *(number for number, _ in _children())]) / 1024


def _peak_kib(number: int) -> int:
    status = Path(f"/proc/{number}/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def _children() -> list[tuple[int, list[str]]]:
    """Process number and the fields of /proc/N/stat from the third on, of each living child."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.append((int(entry.name), fields))
    return found
