"""Check the files themselves: broken ones, odd sizes, borders and burned-in marks that go with a label."""

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

from training.lint.finding import Finding, Severity, clear, skipped
from training.lint.looks import Look, Looked

EXAMPLES = 10
MANY_BROKEN = 0.01
SMALLEST_SIDE_PX = 160
WIDEST_RATIO = 2.0
WIDE_BORDER = 0.08
MARKED_CORNER = 0.001
UNEQUAL = 0.3
_FEWEST = 20


def check_files(looked: Looked) -> list[Finding]:
    """Broken and changed files, odd sizes, sizes that go with labels, borders and marks in the corners."""
    found = [_broken(looked), _changed(looked)]
    if not looked.looks:
        return [*found, skipped("sizes", "No picture was readable.")]
    return [*found, _sizes(looked), _sizes_by_label(looked), _borders(looked), _marks(looked)]


def _broken(looked: Looked) -> Finding:
    total = len(looked.samples) + len(looked.broken)
    if not looked.broken:
        return clear("broken files", f"All {total} files could be read to their end.")
    grave = len(looked.broken) > MANY_BROKEN * total
    return Finding(
        "broken files",
        Severity.SERIOUS if grave else Severity.WARNING,
        f"Files that are cut, damaged, empty or blank and cannot be read: {len(looked.broken)} of {total}.",
        len(looked.broken),
        tuple(f"{each.sample.file} ({each.sample.label}): {each.reason}" for each in looked.broken[:EXAMPLES]),
        "Training programs often fill a cut picture with grey without a word, and the model learns the grey.",
        "Fetch these files again, or leave them out and say how many.",
    )


def _changed(looked: Looked) -> Finding:
    check = "changed files"
    stated = [(each, look) for each, look in zip(looked.samples, looked.looks, strict=True) if each.sha256]
    changed = [each.file for each, look in stated if look.file_sha256.hex() != each.sha256.lower()]
    if not changed:
        return clear(check, f"No file differs from the sha256 that its manifest states (stated for {len(stated)}).")
    return Finding(
        check,
        Severity.SERIOUS,
        f"Files that differ from the sha256 that their manifest states: {len(changed)} of {len(stated)}.",
        len(changed),
        tuple(changed[:EXAMPLES]),
        "These are not the pictures that were labelled or measured before; figures and fingerprints of the two cannot "
        "be compared.",
        "Fetch the original files, or make a manifest of these (`python -m training split`) and measure again.",
    )


def _sizes(looked: Looked) -> Finding:
    odd = []
    for sample, look in zip(looked.samples, looked.looks, strict=True):
        short, long = sorted((look.rows, look.columns))
        if short < SMALLEST_SIDE_PX or long > WIDEST_RATIO * short:
            odd.append(f"{sample.file}: {look.columns} x {look.rows} pixels")
    if not odd:
        return clear("sizes", "No picture is very small, very long or very wide.")
    return Finding(
        "sizes",
        Severity.WARNING,
        f"Pictures smaller than {SMALLEST_SIDE_PX} pixels, or with one side more than {WIDEST_RATIO:.0f} times "
        f"the other: {len(odd)}.",
        len(odd),
        tuple(odd[:EXAMPLES]),
        "Such a picture is often a thumbnail, a cut-out or another kind of examination; fine findings are lost in it.",
        "Look at them; fetch the original or leave them out.",
    )


def _sizes_by_label(looked: Looked) -> Finding:
    check = "size and label"
    sizes: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for sample, look in zip(looked.samples, looked.looks, strict=True):
        sizes[sample.label][(look.rows, look.columns)] += 1
    if len({size for counts in sizes.values() for size in counts}) == 1:
        return clear(check, "All pictures have the same size.")
    only: list[str] = []
    for label, counts in sizes.items():
        (size, count), total = counts.most_common(1)[0], sum(counts.values())
        elsewhere = max(
            (other[size] / sum(other.values()) for name, other in sizes.items() if name != label), default=1
        )
        if total >= _FEWEST and count / total - elsewhere > UNEQUAL + 0.2:
            only.append(f"{label}: {count / total:.0%} are {size[1]} x {size[0]}, elsewhere at most {elsewhere:.0%}")
    if not only:
        return clear(check, "No size of picture belongs to one label.")
    return Finding(
        check,
        Severity.WARNING,
        f"Labels with a size of picture of their own: {len(only)}.",
        len(only),
        tuple(only[:EXAMPLES]),
        "Pictures of different size are blurred differently when they are brought to the size of the network, which "
        "then tells the label by the blur.",
        "Bring all pictures to one size from originals of like resolution.",
    )


def _borders(looked: Looked) -> Finding:
    return _unequal(
        looked,
        "borders",
        lambda look: look.border_share >= WIDE_BORDER,
        f"a border of one level over {WIDE_BORDER:.0%} of the picture or more",
        "A frame that goes with a label gives the label away.",
        "Cut the borders off in all pictures alike.",
    )


def _marks(looked: Looked) -> Finding:
    return _unequal(
        looked,
        "marks in corners",
        lambda look: look.mark_share >= MARKED_CORNER,
        "sharp bright marks in a corner (letters, side markers, burned-in text)",
        "Markers differ between hospitals and wards. A model can read them instead of the lungs; text may also name "
        "a patient.",
        "Look at some; blot out the corners as a test and see whether the figures fall.",
    )


def _unequal(looked: Looked, check: str, has: Callable[[Look], bool], what: str, why: str, what_to_do: str) -> Finding:
    """A trait that is much commoner in one label than in another; its share by label in any case."""
    held: dict[str, list[bool]] = defaultdict(list)
    for sample, look in zip(looked.samples, looked.looks, strict=True):
        for label in sample.labels:
            held[label].append(has(look))
    shares = {label: float(np.mean(values)) for label, values in sorted(held.items())}
    table = (("label", "share of pictures"), *((label, f"{share:.1%}") for label, share in shares.items()))
    counted = [shares[label] for label, values in held.items() if len(values) >= _FEWEST]
    overall = float(np.mean([has(look) for look in looked.looks]))
    if len(counted) < 2 or max(counted) - min(counted) <= UNEQUAL:
        return clear(check, f"{overall:.1%} of the pictures have {what}; no label much more than another.", table=table)
    return Finding(
        check,
        Severity.WARNING,
        f"Between {min(counted):.0%} and {max(counted):.0%} of the pictures of a label have {what}.",
        round(overall * len(looked.looks)),
        (),
        why,
        what_to_do,
        table,
    )
