"""Find segmentation masks that are counted as pictures."""

from collections import Counter

from training.datasets.files import is_mask_name
from training.lint.finding import Finding, Severity, clear
from training.lint.looks import Look, Looked

TWO_LEVELS = 0.97
NEARLY_TWO_LEVELS = 0.90
SMALLER_LEVEL = 0.02
_CHECK = "masks"
EXAMPLES = 10


def find_masks(looked: Looked) -> Finding:
    """Pictures of two grey levels, pictures named as masks, and nearly binary ones of the size of those."""
    sure = {
        sample.file: _reason(look)
        for sample, look in zip(looked.samples, looked.looks, strict=True)
        if is_binary(look) or is_mask_name(sample.file)
    }
    sizes = {
        (look.rows, look.columns)
        for sample, look in zip(looked.samples, looked.looks, strict=True)
        if sample.file in sure and is_binary(look)
    }
    for sample, look in zip(looked.samples, looked.looks, strict=True):
        alike = look.two_level_share >= NEARLY_TWO_LEVELS and look.second_share >= SMALLER_LEVEL
        if sample.file not in sure and alike and (look.rows, look.columns) in sizes:
            sure[sample.file] = f"nearly two levels, and of the size of the masks ({look.columns} x {look.rows})"
    if not sure:
        return clear(_CHECK, "No segmentation mask is counted as a picture.")
    labels = Counter(label for sample in looked.samples if sample.file in sure for label in sample.labels)
    return Finding(
        _CHECK,
        Severity.SERIOUS,
        f"Files that look like segmentation masks and are counted as pictures: {len(sure)} "
        f"({', '.join(f'{label} {count}' for label, count in sorted(labels.items()))}).",
        len(sure),
        tuple(f"{file}: {reason}" for file, reason in sorted(sure.items())[:EXAMPLES]),
        "A mask is a drawing of the lungs and not an X-ray. A model tells masks apart without any medicine, so every "
        "mask in the test data is an easy point, and class counts that include them are too high.",
        "Remove these files and measure again. Figures published with them in the data do not hold.",
    )


def is_binary(look: Look) -> bool:
    """Whether nearly all pixels have one of two grey levels and the lesser level is no speck."""
    return look.levels == 2 or (look.two_level_share >= TWO_LEVELS and look.second_share >= SMALLER_LEVEL)


def _reason(look: Look) -> str:
    if is_binary(look):
        return f"{look.two_level_share:.1%} of the pixels have one of two grey levels ({look.levels} levels in all)"
    return "its name or folder says mask"
