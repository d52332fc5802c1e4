"""Find pictures that are there twice: inside a split, across splits, across labels."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from training.archive import Sample
from training.lint.finding import Finding, Severity, clear, skipped
from training.lint.looks import Looked
from training.lint.masks import is_binary
from training.lint.near import find_twins

EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Copies:
    """Pictures that show the same, and how they are related: "same file", "same pixels", "nearly the same"..."""

    samples: tuple[Sample, ...]
    kind: str

    def across(self, what: str) -> bool:
        """Whether the copies differ in ``split`` or ``label``."""
        return len({getattr(sample, what) for sample in self.samples}) > 1

    def describe(self) -> str:
        """One line with every file, its label and its split (the first four)."""
        names = [f"{each.file} ({each.label}, {each.split or 'no split'})" for each in self.samples[:4]]
        rest = f" and {len(self.samples) - 4} more" if len(self.samples) > 4 else ""
        return f"{self.kind}: " + " = ".join(names) + rest


def find_copies(looked: Looked) -> list[Copies]:
    """Every set of exact or near copies. Masks are left to their own check: all lungs drawn small look alike."""
    places = [index for index, look in enumerate(looked.looks) if not is_binary(look)]
    by_pixels: dict[bytes, list[int]] = defaultdict(list)
    for index in places:
        by_pixels[looked.looks[index].pixel_sha256].append(index)
    firsts = [members[0] for members in by_pixels.values()]
    near = _near_sets(looked, firsts)
    in_near = {index for members, _ in near for index in members}
    copies = [
        _copies(looked, [copy for index in members for copy in by_pixels[looked.looks[index].pixel_sha256]], kind)
        for members, kind in near
    ]
    for first, members in zip(firsts, by_pixels.values(), strict=True):
        if len(members) > 1 and first not in in_near:
            files = {looked.looks[index].file_sha256 for index in members}
            copies.append(_copies(looked, members, "same file" if len(files) == 1 else "same pixels"))
    return sorted(copies, key=lambda each: each.samples[0].file)


def _near_sets(looked: Looked, firsts: list[int]) -> list[tuple[list[int], str]]:
    if len(firsts) < 2:
        return []
    twins = find_twins(np.stack([looked.looks[index].thumb for index in firsts]))
    sets: dict[int, set[int]] = {}
    mirrored: dict[int, bool] = defaultdict(bool)
    for twin in twins:
        one, other = sets.get(twin.first, {twin.first}), sets.get(twin.second, {twin.second})
        joined = one | other
        turned = twin.mirrored or any(mirrored[index] for index in joined)
        for index in joined:
            sets[index] = joined
            mirrored[index] = turned
    whole = {min(members): members for members in sets.values()}
    return [
        (sorted(firsts[index] for index in members), "mirrored" if mirrored[low] else "nearly the same")
        for low, members in sorted(whole.items())
    ]


def _copies(looked: Looked, members: list[int], kind: str) -> Copies:
    return Copies(tuple(sorted((looked.samples[index] for index in members), key=lambda each: each.file)), kind)


def judge_copies(copies: list[Copies], *, has_splits: bool) -> list[Finding]:
    """The findings: copies across splits, copies with different labels, copies inside one split."""
    across = [each for each in copies if each.across("split")]
    conflicting = [each for each in copies if each.across("label")]
    inside = [each for each in copies if not each.across("split") and not each.across("label")]
    crossing = (
        _finding(
            "copies across splits",
            Severity.SERIOUS,
            across,
            "Pictures that are in more than one split, exactly or nearly the same",
            "No picture is in more than one split.",
            "The model is examined on pictures that it has learned by heart, so the figures are too good.",
            "Keep one of each, or put all copies into the same split, and train and measure again.",
        )
        if has_splits
        else skipped("copies across splits", "The data has no split, so no copy can cross one.")
    )
    return [
        crossing,
        _finding(
            "copies with different labels",
            Severity.SERIOUS,
            conflicting,
            "Pictures that occur with different labels, exactly or nearly the same",
            "No picture occurs with different labels.",
            "At least one of the labels is wrong. Errors of this kind bound what any model can reach, and show how "
            "reliable the labels are.",
            "Have a radiologist decide, or remove all copies.",
        ),
        _finding(
            "copies inside a split",
            Severity.WARNING,
            inside,
            "Pictures that are there more than once, with one label and not across splits",
            "No picture is there twice.",
            "Such pictures count more than others, and intervals computed as if all pictures were independent are "
            "too narrow.",
            "Keep one of each.",
        ),
    ]


def _finding(
    check: str, severity: Severity, copies: list[Copies], found: str, nothing: str, why: str, what_to_do: str
) -> Finding:
    if not copies:
        return clear(check, nothing)
    examples = tuple(each.describe() for each in copies[:EXAMPLES])
    return Finding(check, severity, f"{found}: {len(copies)}.", len(copies), examples, why, what_to_do)
