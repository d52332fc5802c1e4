"""Check patients and groups: nobody in two splits, and what a patient's labels say."""

from collections import defaultdict
from collections.abc import Callable

from training.archive import Sample
from training.lint.finding import Finding, Severity, clear, skipped

EXAMPLES = 10


def check_people(samples: tuple[Sample, ...]) -> list[Finding]:
    """Patients across splits, groups across splits, patients with different labels, patients unknown."""
    has_splits = any(sample.split for sample in samples)
    known = tuple(sample for sample in samples if sample.patient)
    by_patient = _collect(known, lambda sample: sample.patient or "")
    by_group = _collect(samples, lambda sample: sample.split_group)
    found = []
    for word, sets in (("patients", by_patient), ("groups", by_group)):
        check = f"{word} across splits"
        if not has_splits:
            found.append(skipped(check, f"The data has no split, so {word} cannot cross one. Make one with `split`."))
        elif word == "patients" and not known:
            found.append(skipped(check, "No patient is named in the data."))
        else:
            found.append(_crossing(check, word, sets))
    found.append(_contradictions(by_patient))
    found.append(_unknown(samples, by_group))
    return found


def _crossing(check: str, word: str, sets: dict[str, list[Sample]]) -> Finding:
    crossing = {name: members for name, members in sets.items() if len({each.split for each in members}) > 1}
    if not crossing:
        return clear(check, f"None of the {len(sets)} {word} is in more than one split.")
    examples = tuple(
        f"{name}: " + ", ".join(f"{each.file} ({each.split or 'no split'})" for each in members[:4])
        for name, members in sorted(crossing.items())[:EXAMPLES]
    )
    return Finding(
        check,
        Severity.SERIOUS,
        f"{word.capitalize()} in more than one split: {len(crossing)} of {len(sets)}.",
        len(crossing),
        examples,
        "The model can recognise the person (build, devices, earlier disease) instead of the disease. Figures measured "
        "so do not hold for a new patient.",
        "Split again by patient (`python -m training split`), then train and measure again.",
    )


def _contradictions(by_patient: dict[str, list[Sample]]) -> Finding:
    check = "patients with different labels"
    if not by_patient:
        return skipped(check, "No patient is named in the data.")
    several = {name: sorted({each.label for each in members}) for name, members in by_patient.items()}
    several = {name: labels for name, labels in several.items() if len(labels) > 1}
    if not several:
        return clear(check, "No named patient has pictures with different labels.")
    return Finding(
        check,
        # Where a picture has several findings, those of a patient come and go from visit to visit.
        Severity.NOTE
        if any(len(each.labels) > 1 for members in by_patient.values() for each in members)
        else Severity.WARNING,
        f"Named patients whose pictures have different labels: {len(several)} of {len(by_patient)}.",
        len(several),
        tuple(f"{name}: {', '.join(labels)}" for name, labels in sorted(several.items())[:EXAMPLES]),
        "It may be true (a disease came or went between two visits), a wrong label (two causes of one pneumonia), or "
        "one number given to two persons. Only the dates and the record can tell.",
        "Look at some of them. If the dates do not explain it, treat the labels as uncertain.",
    )


def _unknown(samples: tuple[Sample, ...], by_group: dict[str, list[Sample]]) -> Finding:
    check = "patients unknown"
    # A group of several pictures was put together by someone; a picture alone with no patient was not.
    alone = sum(len(members) == 1 and not members[0].patient for members in by_group.values())
    if alone <= len(samples) / 10:
        return clear(check, f"{len(samples) - alone} of {len(samples)} pictures have a patient or stand in a group.")
    return Finding(
        check,
        Severity.NOTE,
        f"Pictures that have no patient and stand alone: {alone} of {len(samples)}.",
        alone,
        (),
        "Whether two of them are of one person cannot be checked, so a patient may cross splits unseen. Intervals "
        "computed as if all were independent may be too narrow.",
        "Ask the source for patient numbers. Until then say so beside every figure.",
    )


def _collect(samples: tuple[Sample, ...], name: Callable[[Sample], str]) -> dict[str, list[Sample]]:
    sets: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        sets[name(sample)].append(sample)
    return dict(sets)
