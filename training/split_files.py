"""Write a division down: split.csv, split.json, split.png, split.log, and a zip that trains if asked."""

import csv
import hashlib
import json
import sys
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from csss.foundation.errors import Conflict
from training.archive import COLUMN_OF, MANIFEST, SPLITS, Sample, fingerprint
from training.datasets import Dataset
from training.split import Division, Plan

FILES = ("split.csv", "split.json", "split.png", "split.log")
PACKED = "data.zip"
_RESOLUTION_DPI = 80


def refuse_overwriting(out: Path, *, packed: bool) -> None:
    """Raise Conflict when the folder already holds one of the files that would be written."""
    there = [name for name in (*FILES, *([PACKED] if packed else [])) if (out / name).exists()]
    if there:
        raise Conflict(f"{out} already holds {', '.join(there)}; nothing is overwritten.", code="already-there")


def hash_files(dataset: Dataset) -> Dataset:
    """The dataset with the sha256 of every file, computed where the manifest did not say it."""
    with dataset.pictures() as pictures:
        samples = []
        for index, sample in enumerate(dataset.samples):
            digest = sample.sha256 or hashlib.sha256(pictures.read_bytes(sample)).hexdigest()
            samples.append(replace(sample, sha256=digest))
            if index % 2000 == 0:
                print(f"files {index}/{len(dataset.samples)}", file=sys.stderr, flush=True)
    return replace(dataset, samples=tuple(samples))


def write_division(division: Division, plan: Plan, out: Path, *, command: str) -> None:
    """Write ``FILES`` into ``out``. Raises Conflict when one of them is there."""
    refuse_overwriting(out, packed=False)
    out.mkdir(parents=True, exist_ok=True)
    write_manifest(division.samples, out / "split.csv")
    facts = _facts(division, plan, command)
    (out / "split.json").write_text(json.dumps(facts, indent=2) + "\n")
    (out / "split.log").write_text(_log(division, plan, command))
    _draw(division).savefig(out / "split.png", dpi=_RESOLUTION_DPI, metadata={"Software": None})


def pack_division(dataset: Dataset, division: Division, path: Path) -> None:
    """One zip with manifest.csv and the pictures, as `python -m training chest --data` reads it."""
    partial = path.with_suffix(".partial")
    with dataset.pictures() as pictures, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for sample in division.samples:
            archive.writestr(sample.file, pictures.read_bytes(sample))
        manifest = path.with_suffix(".csv.partial")
        write_manifest(division.samples, manifest)
        archive.write(manifest, MANIFEST)
    manifest.unlink()
    partial.replace(path)


def write_manifest(samples: tuple[Sample, ...], path: Path) -> None:
    """The samples in the form of a manifest.csv."""
    names = [field.name for field in fields(Sample)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([COLUMN_OF.get(name, name) for name in names])
        writer.writerows(
            [["" if (value := getattr(each, name)) is None else value for name in names] for each in samples]
        )


def _facts(division: Division, plan: Plan, command: str) -> dict[str, object]:
    samples = division.samples
    labels, sources = _labels(samples), sorted({sample.source for sample in samples})
    return {
        "command": command,
        "seed": plan.seed,
        "keep_official": plan.keep_official,
        "data_fingerprint_sha256": fingerprint(samples),
        "shares_asked": dict(zip(SPLITS, plan.shares, strict=True)),
        "shares_reached": {split: division.count(split) / len(samples) for split in SPLITS},
        "pictures": {split: division.count(split) for split in SPLITS},
        "groups": {split: len({each.split_group for each in samples if each.split == split}) for split in SPLITS},
        "labels": {label: {split: division.count(split, label) for split in SPLITS} for label in labels},
        "sources": {
            source: {
                label: {split: division.count(split, label, source) for split in SPLITS}
                for label in labels
                if any(sample.source == source and label in sample.labels for sample in samples)
            }
            for source in sources
        },
        "warnings": list(division.warnings),
    }


def _log(division: Division, plan: Plan, command: str) -> str:
    total = len(division.samples)
    lines = [f"command: {command}", f"seed: {plan.seed}", f"pictures: {total}"]
    for split, asked in zip(SPLITS, plan.shares, strict=True):
        count = division.count(split)
        lines.append(f"{split}: {count} pictures, {count / total:.2%} (asked {asked:.2%})")
    for label in _labels(division.samples):
        lines.append(f"{label}: " + ", ".join(f"{split} {division.count(split, label)}" for split in SPLITS))
    lines.append("No patient and no group is in more than one split: proved over all rows.")
    lines.extend(f"warning: {warning}" for warning in division.warnings)
    return "\n".join(lines) + "\n"


def _draw(division: Division) -> Figure:
    mpl.rcParams["font.size"] = 9
    labels = _labels(division.samples)
    sources = sorted({sample.source for sample in division.samples})
    figure = Figure(figsize=(10, 0.6 + 0.9 * max(3, len(labels))), layout="constrained")
    for axes, split in zip(figure.subplots(1, 3, sharey=True), SPLITS, strict=True):
        left = [0] * len(labels)
        for source in sources:
            counts = [division.count(split, label, source) for label in labels]
            axes.barh(labels, counts, left=left, label=source)
            left = [before + count for before, count in zip(left, counts, strict=True)]
        for label, count in zip(labels, left, strict=True):
            axes.text(count, label, f" {count}", va="center")
        axes.set(title=f"{split}: {division.count(split)} pictures", xlabel="pictures")
        axes.margins(x=0.18)
    figure.legend(sources, title="source", loc="outside lower center", ncols=4)
    return figure


def _labels(samples: tuple[Sample, ...]) -> list[str]:
    return sorted({label for sample in samples for label in sample.labels})
