"""Thresholds that a site sets: each belongs to one version of one model, and is stale for any other."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from csss.foundation.errors import CsssError, Unprocessable


@dataclass(frozen=True, slots=True)
class SiteThreshold:
    """A threshold ``tau`` in [0.5, 1) that this site set for one version of one model, and for no other."""

    model: str
    version: str
    tau: float


Thresholds = tuple[SiteThreshold, ...]


class ThresholdForm(CsssError):
    """The setting cannot be read."""

    code = "bad-configuration"


class ThresholdUnknown(Unprocessable):
    """The site set a threshold for a model that is not there."""

    code = "threshold-unknown"


class ThresholdStale(Unprocessable):
    """The site set its threshold for another version than the one that is asked."""

    code = "threshold-stale"


def parse_thresholds(text: str) -> Thresholds:
    """Parse ``MODEL/VERSION=TAU,MODEL/VERSION=TAU``; raises `ThresholdForm`.

    A number alone is refused: a threshold without a version would outlive the weights that it was chosen for.
    """
    found: dict[tuple[str, str], SiteThreshold] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        place, _, number = part.partition("=")
        model, _, version = (word.strip() for word in place.partition("/"))
        if not (model and version and number) or "/" in version:
            raise ThresholdForm(
                "CSSS_CONFIDENCE_THRESHOLD must read MODEL/VERSION=TAU[,MODEL/VERSION=TAU...], "
                "because a threshold belongs to one version of a model"
            )
        if not 0.5 <= (tau := _number(number)) < 1.0:
            raise ThresholdForm("CSSS_CONFIDENCE_THRESHOLD: a threshold is a number from 0.5 up to, not with, 1")
        if (model, version) in found:
            raise ThresholdForm("CSSS_CONFIDENCE_THRESHOLD names each version once")
        found[model, version] = SiteThreshold(model, version, tau)
    return tuple(found.values())


def threshold_of(thresholds: Thresholds, model: str, version: str) -> float | None:
    """Return the site's threshold for this version, None where it set none for the model.

    Raises `ThresholdStale` when it set one for other versions of the model only.
    """
    set_for = {entry.version: entry.tau for entry in thresholds if entry.model == model}
    if set_for and version not in set_for:
        raise ThresholdStale(
            f"This site's threshold for {model} was set for version {', '.join(set_for)}, not for version {version}. "
            f"Set one for version {version} (CSSS_CONFIDENCE_THRESHOLD), or none."
        )
    return set_for.get(version)


def find_unknown(thresholds: Thresholds, models: Collection[str]) -> ThresholdUnknown | None:
    """Return what is wrong when a threshold is for none of these models: most likely its name is mistyped."""
    unknown = sorted({entry.model for entry in thresholds} - set(models))
    if not unknown:
        return None
    return ThresholdUnknown(
        f"CSSS_CONFIDENCE_THRESHOLD names {', '.join(unknown)}, which is no model here that reads pictures. "
        f"There are: {', '.join(sorted(models)) or 'none'}.",
        facts={"models": unknown},
    )


def demand_models(thresholds: Thresholds, models: Collection[str]) -> None:
    """Raise what `find_unknown` finds."""
    if trouble := find_unknown(thresholds, models):
        raise trouble


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
