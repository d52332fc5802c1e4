"""`python -m bench [predict|report|throughput]`: run the comparisons and print their tables."""

import argparse
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import predict, report, throughput
from bench.process import PEER_VARIABLE, peer_python
from csss.foundation.errors import CsssError
from csss.inference.packaged import packaged_models
from csss.inference.shelf import Shelf

COMPARISONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "predict": predict.compare,
    "report": report.compare,
    "throughput": throughput.compare,
}


def main() -> int:
    asked = _parser().parse_args()
    machine = describe_machine(asked.threads)
    print(machine)
    if peer_python() is None:
        print(f"No papers' side: {PEER_VARIABLE} names no Python. Ours alone, no ratios; see bench/README.md.")
    try:
        if asked.comparison != "report":
            Shelf(asked.models).model(asked.model)
        results: dict[str, Any] = {}
        for name in [asked.comparison] if asked.comparison else COMPARISONS:
            results |= COMPARISONS[name](asked)
    except CsssError as error:
        print(f"bench: {error.message}", file=sys.stderr)
        return 2
    print(f"\nload average at the end: {_load()}")
    if asked.out is not None:
        document = {"machine": machine, "results": results}
        asked.out.write_text(json.dumps(document, indent=1, default=dataclasses.asdict) + "\n", encoding="utf-8")
    return 0


def describe_machine(threads: int) -> str:
    """One line: when and on what the figures were measured."""
    cpu = next((line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")), "CPU")
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{when}, {os.cpu_count()} cores of {cpu}, Python {platform.python_version()}, "
        f"load average at the start {_load()}, {threads} thread(s) a library on both sides"
    )


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare CSSS with the papers' pipeline")
    parser.add_argument("comparison", nargs="?", choices=COMPARISONS, help="one comparison alone (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="processes a side (default 3)")
    parser.add_argument("--repeats", type=int, default=200, help="pictures a process; a tenth of it for reports")
    parser.add_argument("--threads", type=int, default=1, help="threads a library may use, on both sides")
    parser.add_argument("--size", type=int, nargs="*", help="sides of the square pictures, in pixels")
    parser.add_argument("--model", default="chest-mobilenetv2")
    parser.add_argument("--models", type=Path, default=packaged_models(), help="another shelf of models")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="also write all figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
