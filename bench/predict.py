"""Compares one chest picture from file to prediction, and to its heat map, with the papers' pipeline."""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.pictures import write_scans
from bench.process import Figures, Side, peer_python, run_in_turn
from bench.table import print_comparison

SIZES_PX = (299, 1024)
"""Sides of the pictures of COVID-19 Radiography and of NIH ChestX-ray14, the papers' collections."""
_TITLES = {
    "prediction": "one file to prediction (ours with heat map and regions as numbers)",
    "heat map": "one file to prediction and heat map as PNG",
}

Result = dict[str, Mapping[str, Sequence[Figures]]]


def compare(asked: argparse.Namespace) -> Result:
    """Run and print all comparisons of this kind; returns the figures by title and side."""
    results: Result = {}
    for size_px in asked.size or SIZES_PX:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_scans(folder, size_px)
            for answer, words in _TITLES.items():
                sides = _sides(answer, folder, asked)
                title = f"{size_px} x {size_px} JPEG: {words}"
                figures = run_in_turn(sides, runs=asked.runs, repeats=asked.repeats, threads=asked.threads)
                print_comparison(title, sides, figures)
                results[title] = figures
    return results


def _sides(answer: str, folder: Path, asked: argparse.Namespace) -> list[Side]:
    pictures = ("--folder", str(folder))
    shelf = (*pictures, "--models", str(asked.models), "--model", asked.model)

    def ours(name: str, *arguments: str) -> Side:
        return Side(name, sys.executable, "bench.predict_ours", (*shelf, *arguments))

    if answer == "prediction":
        sides = [
            ours("prediction and no more", "--answer", "prediction", "--bare"),
            ours("decoded here", "--answer", "prediction"),
            ours("sandboxed", "--answer", "prediction", "--sandbox"),
        ]
    else:
        sides = [
            ours("layer, decoded here", "--answer", "layer"),
            ours("layer, sandboxed", "--answer", "layer", "--sandbox"),
            ours("picture, sandboxed", "--answer", "picture", "--sandbox"),
        ]
    peer = peer_python()
    if peer is not None:
        theirs = "prediction" if answer == "prediction" else "picture"
        arguments = (*pictures, "--answer", theirs)
        sides.append(Side("papers", peer, "bench.predict_papers", arguments, is_papers=True))
    return sides
