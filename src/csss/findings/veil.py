"""What is shown of a shadow's agreement: aggregates of five and more, from which no single scan can be read off.

Administrators see aggregates only (the product's access rules). Exact totals beside hidden cells would give them
back, so counts are shown rounded down to fives, and a share that would tell of fewer than five scans as a bound.
"""

import math
from dataclasses import dataclass

from csss.findings.shadowed import Agreement

FEWEST = 5
FEWEST_OF_A_MEAN = 20
"""A mean over fewer, looked at before and after one scan, would tell that scan's value."""


@dataclass(frozen=True, slots=True)
class Veiled:
    """An `Agreement` in words; its numbers as there, None where they are not told. ``folder`` says which one spoke."""

    model: str
    version: str
    folder: str
    scans: str
    same_stated: str
    same_top: str
    kappa: float | None
    confidence_difference: float | None
    labels: tuple[str, ...]
    counts: tuple[tuple[str, ...], ...]
    left_out: bool


def veil(agreement: Agreement) -> Veiled:
    """Return what may be shown of an agreement over at least five scans."""
    stated, top = (round(share * agreement.scans) for share in (agreement.same_stated, agreement.same_top))
    kept = [at for at in range(len(agreement.labels)) if _margin(agreement, at) >= FEWEST]
    return Veiled(
        model=agreement.model,
        version=agreement.version,
        folder=folder_in_words(agreement.seal),
        scans=roughly(agreement.scans),
        same_stated=share_in_words(stated, agreement.scans),
        same_top=share_in_words(top, agreement.scans),
        kappa=agreement.kappa if min(top, agreement.scans - top) >= FEWEST and _tells_of_none(agreement) else None,
        confidence_difference=agreement.confidence_difference if agreement.scans >= FEWEST_OF_A_MEAN else None,
        labels=tuple(agreement.labels[at] for at in kept),
        counts=tuple(tuple(roughly(agreement.counts[row][column]) for column in kept) for row in kept),
        left_out=len(kept) < len(agreement.labels),
    )


def folder_in_words(seal: str | None) -> str:
    """Return which folder spoke, as far as it tells two of one version apart."""
    return f"folder {seal[:8]}" if seal else "from before folders were noted"


def roughly(count: int) -> str:
    """Return a count rounded down to fives, such as "25+"; "<5" for less, none included."""
    return f"{count - count % FEWEST}+" if count >= FEWEST else f"<{FEWEST}"


def share_in_words(part: int, whole: int) -> str:
    """Return a share in per cent; as a bound that follows from `roughly` alone where it tells of fewer than five."""
    least = whole - whole % FEWEST
    few, few_others = part < FEWEST, whole - part < FEWEST
    if few and few_others:
        return "not shown"
    if few:
        return f"at most {math.ceil(100 * (FEWEST - 1) / least)} %"
    if few_others:
        return f"at least {math.floor(100 * (least - FEWEST + 1) / least)} %"
    return f"{round(100 * part / whole)} %"


def _tells_of_none(agreement: Agreement) -> bool:
    """Whether no cell holds a few scans: an exact kappa beside rounded counts often fits one table only."""
    return all(count == 0 or count >= FEWEST for row in agreement.counts for count in row)


def _margin(agreement: Agreement, at: int) -> int:
    """On how many scans either of the two held this label likeliest, at the most."""
    return max(sum(agreement.counts[at]), sum(row[at] for row in agreement.counts))
