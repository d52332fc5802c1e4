"""Compares one sealed report with the papers' pipeline."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import report_facts
from bench.pictures import write_report_pictures
from bench.process import Figures, Side, peer_python, run_in_turn
from bench.report_ours import ISSUED_AT, KEY_FILE, KEY_PASSWORD
from bench.table import print_comparison
from csss.reports.seal import make_site_identity

SIZE_PX = 900
"""What the product shrinks the pictures of a report to."""
_TITLE = f"one report with two pictures of {SIZE_PX} x {SIZE_PX} (ours: two copies, both signed; papers: one)"


def compare(asked: argparse.Namespace) -> dict[str, Mapping[str, Sequence[Figures]]]:
    """Run and print the comparison; returns the figures by title and side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_report_pictures(folder, SIZE_PX)
        # A site makes its key once: no part of a report.
        key = make_site_identity(report_facts.HOSPITAL, password=KEY_PASSWORD, made_at=ISSUED_AT)
        (folder / KEY_FILE).write_bytes(key)
        sides = [Side("ours", sys.executable, "bench.report_ours", ("--folder", name))]
        peer = peer_python()
        if peer is not None:
            sides.append(Side("papers", peer, "bench.report_papers", ("--folder", name), is_papers=True))
        repeats = max(1, asked.repeats // 10)
        figures = run_in_turn(sides, runs=asked.runs, repeats=repeats, threads=asked.threads)
        print_comparison(_TITLE, sides, figures)
    return {_TITLE: figures}
