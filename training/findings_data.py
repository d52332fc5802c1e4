"""Read pictures with any number of findings for `python -m training findings`, split as the data or NIH's lists say."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csss.foundation.errors import Unprocessable
from csss.inference.findings_rule import NO_FINDING
from training.archive import SPLITS, Sample, fingerprint, prove_whole
from training.datasets import Dataset, read_dataset
from training.datasets.nih import TRAIN_VAL
from training.split import Plan, split_dataset
from training.split_files import hash_files

VALIDATION_SHARE = 0.15
"""Of NIH's joint part for training and validation."""


class UnfitFindings(Unprocessable):
    """The labels or splits of the data are not such that findings can be fitted to them."""

    code = "unfit-findings"


@dataclass(frozen=True, slots=True, eq=False)
class FindingsData:
    """``truth`` int64 (n, C): 1 for each of ``labels`` that a picture of ``samples`` has; all 0 for "No Finding".

    Every sample has one of the three splits; no patient and no group is in two. ``path`` is a folder or zip.
    """

    path: Path
    layout: str
    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    notes: tuple[str, ...]

    @property
    def fingerprint_sha256(self) -> str:
        """Names files, labels and splits exactly."""
        return fingerprint(self.samples)

    def rows(self, split: str) -> NDArray[np.int64]:
        """The rows of one split."""
        return np.flatnonzero([sample.split == split for sample in self.samples])

    def of(self, split: str) -> tuple[Sample, ...]:
        """The samples of one split."""
        return tuple(sample for sample in self.samples if sample.split == split)


def read_findings(path: Path, *, seed: int) -> FindingsData:
    """The labelled pictures of a folder or zip, each with its split.

    NIH's joint part for training and validation is divided by patient, its test list is kept. Pictures in neither
    list are left out and noted. Raises UnreadableDataset, SplitLeak, and UnfitFindings, which says what is missing.
    """
    dataset = _divide(read_dataset(path), seed)
    _demand_consistent(dataset.samples)
    labels = tuple(label for label in dataset.labels if label != NO_FINDING)
    _demand_learnable(dataset.samples, labels)
    dataset = hash_files(dataset)
    for note in dataset.notes:
        print(note, file=sys.stderr, flush=True)
    truth = np.array([[label in sample.labels for label in labels] for sample in dataset.samples], dtype=np.int64)
    return FindingsData(path, str(dataset.layout), dataset.samples, labels, truth, dataset.notes)


def _divide(dataset: Dataset, seed: int) -> Dataset:
    known = tuple(sample for sample in dataset.samples if sample.split)
    if missing := len(dataset.samples) - len(known):
        note = f"{missing} pictures without a split were left out."
        dataset = replace(dataset, samples=known, notes=(*dataset.notes, note))
    joint = sum(sample.split == TRAIN_VAL for sample in known) / max(len(known), 1)
    if 0.0 < joint < 1.0:
        shares = (joint * (1.0 - VALIDATION_SHARE), joint * VALIDATION_SHARE, 1.0 - joint)
        division = split_dataset(dataset, Plan(shares, seed, keep_official=True))
        dataset = replace(dataset, samples=division.samples, notes=division.warnings)
    prove_whole(dataset.samples)
    gaps = [split for split in SPLITS if not any(sample.split == split for sample in dataset.samples)]
    if gaps:
        raise UnfitFindings(
            f"No picture is in {', '.join(gaps)}. `python -m training split DATA --out DIR --pack` divides data by "
            "patient and writes DIR/data.zip, which this command reads."
        )
    return dataset


def _demand_consistent(samples: tuple[Sample, ...]) -> None:
    for sample in samples:
        if len(set(sample.labels)) < len(sample.labels) or (NO_FINDING in sample.labels and len(sample.labels) > 1):
            raise UnfitFindings(f'The labels "{sample.label}" of {sample.file} contradict or repeat each other.')


def _demand_learnable(samples: tuple[Sample, ...], labels: tuple[str, ...]) -> None:
    if len(labels) < 2:
        raise UnfitFindings("There are fewer than two findings; `python -m training chest` is for one label a picture.")
    held = {label for sample in samples if sample.split == "train" for label in sample.labels}
    if absent := [label for label in labels if label not in held]:
        raise UnfitFindings(f"No training picture has {', '.join(absent)}: nothing can be learned of it.")
