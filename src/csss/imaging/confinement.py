"""Take from the current process what decoding a picture does not need: network, files, memory, time.

Linux only, without any privilege: user and network namespaces, Landlock, rlimits. Each measure that the
kernel does not offer is left out and missing from the answer, so that ``csss check`` can say so.
"""

import ctypes
import os
import resource
import signal
import struct
from collections.abc import Iterable
from pathlib import Path

CPU_SECONDS = 20
MEMORY_BYTES = 1536 * 1024 * 1024
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
# The system calls' numbers are the same on x86-64 and arm64 (asm-generic/unistd.h).
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RULE_PATH_BENEATH = 1
# Every file right of Landlock's first version (linux/landlock.h): execute, read and write files and folders.
_ALL_FILE_RIGHTS = (1 << 13) - 1
_READ_RIGHTS = 1 << 2 | 1 << 3


def isolate(readable: Iterable[Path]) -> list[str]:
    """Cut this process, and its later children, from the network and from files outside ``readable``.

    To be called once, while there is one thread. Returns the names of the measures that are in force.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    measures = ["rlimits"]
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) == 0:
        measures.append("no-network")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        measures.append("no-new-privileges")
        if _restrict_files(libc, readable):
            measures.append("read-only-libraries")
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return measures


def address_space_bytes() -> int:
    """Return how much address space this process has now; to be asked before ``isolate`` hides /proc."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def limit_resources(*, wall_seconds: float, address_space: int) -> None:
    """Bound this process: memory in bytes, CPU and wall time, no file growth, no new process.

    When a time is over the kernel ends the process (SIGXCPU or SIGALRM): no decoder can hold that off.
    """
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, wall_seconds)


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    attributes = struct.pack("<Q", _ALL_FILE_RIGHTS)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    if not path.is_dir():
        return
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("<Qi", _READ_RIGHTS, folder)
        libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(folder)
