"""Divide a dataset into train, val and test by patient or group, alike in label and source."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from csss.foundation.errors import Unprocessable
from training.archive import SPLITS, Sample, SplitLeak, prove_whole
from training.datasets import Dataset
from training.datasets.nih import TRAIN_VAL

FEWEST_GROUPS = 3
_TOLERATED_SHARE = 0.02
_PART_OF_OFFICIAL: Mapping[str, tuple[str, ...]] = {TRAIN_VAL: ("train", "val")} | {each: (each,) for each in SPLITS}

Stratum = tuple[str, ...]


class UnfitShares(Unprocessable):
    """The shares are not three positive numbers."""

    code = "unfit-shares"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to split: shares of train, val and test (they sum to 1), seed, whether an official split is kept."""

    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 42
    keep_official: bool = False


@dataclass(frozen=True, slots=True)
class Division:
    """The samples with their new split, and what a reader should be warned of."""

    samples: tuple[Sample, ...]
    warnings: tuple[str, ...]

    def count(self, split: str, label: str | None = None, source: str | None = None) -> int:
        """Pictures of the split, of one label and one source if given."""
        return sum(
            sample.split == split
            and (label is None or label in sample.labels)
            and (source is None or sample.source == source)
            for sample in self.samples
        )


def parse_shares(text: str) -> tuple[float, float, float]:
    """Shares from "70/15/15". Raises UnfitShares."""
    try:
        parts = tuple(float(part) for part in text.split("/"))
    except ValueError:
        parts = ()
    if len(parts) != 3 or not all(0 < part < float("inf") for part in parts):
        raise UnfitShares(f'Shares are three positive numbers, as in 70/15/15; "{text}" is not.')
    train, val, test = (part / sum(parts) for part in parts)
    return train, val, test


def split_dataset(dataset: Dataset, plan: Plan) -> Division:
    """Every sample with its split. Groups and patients stay whole, which is proved at the end.

    Groups are shuffled by the seed and given out one by one, the largest first, each to the split that has least of
    what the group brings, measured against the asked share: the Webster / Sainte-Lague rule, over the sums of every
    label x source, every label, and all pictures, a rare sum weighing as much as a common one.
    An official split is kept as it is; its part for training and validation together is divided between the two.
    Raises SplitLeak when the official split itself divides a group.
    """
    groups = join_groups(dataset.samples)
    split_of = _give_out(groups, plan)
    samples = tuple(replace(sample, split=split_of[sample.file]) for sample in dataset.samples)
    prove_whole(samples)
    return Division(samples, tuple(_warnings(dataset, samples, groups, plan)))


def join_groups(samples: tuple[Sample, ...]) -> list[list[Sample]]:
    """Samples that must stay together: of one group or of one patient, also by several steps. Sorted by file."""
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for sample in samples:
        root = find(f"group {sample.split_group}")
        if sample.patient:
            parent[find(f"patient {sample.patient}")] = root
    groups = defaultdict(list)
    for sample in sorted(samples, key=lambda each: each.file):
        groups[find(f"group {sample.split_group}")].append(sample)
    return sorted(groups.values(), key=lambda group: group[0].file)


def _give_out(groups: list[list[Sample]], plan: Plan) -> dict[str, str]:
    shares = dict(zip(SPLITS, plan.shares, strict=True))
    totals = _strata([sample for group in groups for sample in group])
    filled = {split: Counter[Stratum]() for split in SPLITS}
    order = [groups[index] for index in np.random.default_rng(plan.seed).permutation(len(groups))]
    order.sort(key=len, reverse=True)
    if plan.keep_official:
        # What is settled by others counts before anything is chosen.
        order.sort(key=lambda group: len(_allowed(group, plan)))
    split_of: dict[str, str] = {}
    for group in order:
        needs = _strata(group)

        fullness = {
            split: sum(
                count / totals[stratum] * (filled[split][stratum] + count / 2) / (shares[split] * totals[stratum])
                for stratum, count in needs.items()
            )
            for split in _allowed(group, plan)
        }
        chosen = min(fullness, key=fullness.__getitem__)
        filled[chosen].update(needs)
        split_of |= {sample.file: chosen for sample in group}
    return split_of


def _strata(group: list[Sample]) -> Counter[Stratum]:
    strata: Counter[Stratum] = Counter({(): len(group)})
    for sample in group:
        for label in sample.labels:
            strata[(label,)] += 1
            strata[(label, sample.source)] += 1
    return strata


def _allowed(group: list[Sample], plan: Plan) -> tuple[str, ...]:
    """The splits that may hold the group: those that the official splits of its pictures have in common."""
    official = {sample.split for sample in group if sample.split} if plan.keep_official else set()
    parts = [set(_PART_OF_OFFICIAL[split]) for split in official]
    allowed = tuple(split for split in SPLITS if all(split in part for part in parts))
    if not allowed:
        raise SplitLeak(
            f"The official split divides the group {group[0].split_group} ({', '.join(sorted(official))}); "
            "split anew without keeping it."
        )
    return allowed


def _warnings(dataset: Dataset, samples: tuple[Sample, ...], groups: list[list[Sample]], plan: Plan) -> Iterator[str]:
    yield from dataset.notes
    held = Counter(label for group in groups for label in {label for sample in group for label in sample.labels})
    if plan.keep_official and not any(sample.split for sample in dataset.samples):
        yield "The data has no official split; there was none to keep."
    for label in sorted(held):
        if held[label] < FEWEST_GROUPS:
            yield f"{label} has only {held[label]} patients or groups: it cannot be in every split."
        counts = Counter(sample.split for sample in samples if label in sample.labels)
        yield from (f"{label} has no picture in {split}." for split in SPLITS if not counts[split])
        for split, asked in zip(SPLITS, plan.shares, strict=True):
            reached = counts[split] / sum(counts.values())
            if abs(reached - asked) > _TOLERATED_SHARE:
                yield f"{label}: {reached:.1%} of its pictures are in {split}; {asked:.1%} was asked."
        sources = {sample.source for sample in samples if label in sample.labels}
        if len(sources) == 1 and len({sample.source for sample in samples}) > 1:
            yield f"{label} comes from the source {sources.pop()} alone: no split can tell the label from the source."
