"""Check the classes: too small ones, ones missing from a split, and ages that go with a label."""

from collections import Counter, defaultdict

import numpy as np

from training.archive import SPLITS, Sample
from training.lint.finding import Finding, Severity, clear, skipped

FEWEST_PER_SPLIT = 30
FEWEST_IN_ALL = 100
ADULT_YEARS = 18
MANY_CHILDREN, FEW_CHILDREN = 0.8, 0.1
FAR_APART_YEARS = 15
_FEWEST_AGES = 20


def check_classes(samples: tuple[Sample, ...]) -> list[Finding]:
    """The sizes of the classes and the ages inside them."""
    return [_sizes(samples), _ages(samples)]


def _sizes(samples: tuple[Sample, ...]) -> Finding:
    check = "class sizes"
    counts = Counter((label, sample.split) for sample in samples for label in sample.labels)
    labels = sorted({label for label, _ in counts})
    splits = [split for split in SPLITS if any(sample.split == split for sample in samples)]
    totals = {label: sum(count for (name, _), count in counts.items() if name == label) for label in labels}
    rows = [("label", *splits, "all")]
    rows.extend((label, *(str(counts[label, split]) for split in splits), str(totals[label])) for label in labels)
    small = [f"{label}: {totals[label]} pictures" for label in labels if totals[label] < FEWEST_IN_ALL]
    small += [
        f"{label}: {counts[label, split]} pictures in {split}"
        for label in labels
        for split in splits
        if counts[label, split] < FEWEST_PER_SPLIT and totals[label] >= FEWEST_IN_ALL
    ]
    if not small:
        return clear(check, "Every label has enough pictures to be measured.", table=tuple(rows))
    return Finding(
        check,
        Severity.WARNING,
        f"Labels with too few pictures, below {FEWEST_IN_ALL} in all or {FEWEST_PER_SPLIT} in a split: {len(small)}.",
        len(small),
        tuple(small[:10]),
        "With 30 pictures a sensitivity of 90 % means anything from about 74 % to 97 %.",
        "Report the interval beside the figure, gather more, or join classes on medical grounds.",
        tuple(rows),
    )


def _ages(samples: tuple[Sample, ...]) -> Finding:
    check = "age and label"
    ages: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.age_years is not None:
            for label in sample.labels:
                ages[label].append(sample.age_years)
    known = sum(sample.age_years is not None for sample in samples)
    enough = {label: np.array(years) for label, years in sorted(ages.items()) if len(years) >= _FEWEST_AGES}
    if len(enough) < 2:
        return skipped(
            check,
            f"The age is known for {known} of {len(samples)} pictures, too few to compare labels. If one source is "
            "of children and another of adults, a model may tell age instead of disease, and this cannot show it.",
        )
    children = {label: float((years < ADULT_YEARS).mean()) for label, years in enough.items()}
    medians = {label: float(np.median(years)) for label, years in enough.items()}
    rows = [("label", "ages known", "median age in years", "below 18")]
    rows.extend(
        (label, str(len(years)), f"{medians[label]:.0f}", f"{children[label]:.0%}") for label, years in enough.items()
    )
    apart = max(children.values()) >= MANY_CHILDREN and min(children.values()) <= FEW_CHILDREN
    far = max(medians.values()) - min(medians.values()) > FAR_APART_YEARS
    if not apart and not far:
        alike = f"Ages are alike in the labels (known for {known} of {len(samples)} pictures)."
        return clear(check, " ".join((alike, *_ageless(samples))), table=tuple(rows))
    oldest, youngest = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    return Finding(
        check,
        Severity.SERIOUS if apart else Severity.WARNING,
        "Children and adults are in different labels."
        if apart
        else f"The median age differs by more than {FAR_APART_YEARS} years between labels.",
        0,
        (
            f"{youngest}: median {medians[youngest]:.0f} years",
            f"{oldest}: median {medians[oldest]:.0f} years",
            *_ageless(samples),
        ),
        "A child's chest looks different at once. A model can tell the age and name the label that goes with it, and "
        f"errs for a child or an adult of another label. Ages are known for {known} of {len(samples)} pictures.",
        "Compare labels within an age group, and report figures per age group.",
        tuple(rows),
    )


def _ageless(samples: tuple[Sample, ...]) -> tuple[str, ...]:
    """A line naming the sources without any age, if there are some: what is said of ages leaves them out."""
    aged = {sample.source for sample in samples if sample.age_years is not None}
    ageless = sorted({sample.source for sample in samples} - aged)
    return (f"No age is known in these sources: {', '.join(ageless)}.",) if ageless else ()
