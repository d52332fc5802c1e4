"""Which version an address without one means, and which threshold of a site applies: as far as the shelf alone says."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from csss.foundation.errors import NotFound
from csss.foundation.thresholds import Thresholds, threshold_of
from csss.inference.shelf import Model, Shelf, version_order


class VersionFrom(StrEnum):
    """Who said which version answers."""

    ADDRESS = "address"
    SITE = "site"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The version that answers, and who said so."""

    model: Model
    version_from: VersionFrom


class Chooser(Protocol):
    """What a site knows of its models beyond the shelf."""

    def choose(self, name: str) -> Chosen:
        """Return the version that answers where the address names none.

        Raises NotFound ``model-unknown`` or ``version-needed``, and what keeps the chosen version from answering.
        """
        ...

    def site_tau(self, model: Model) -> float | None:
        """Return the site's threshold for a statement of this version. Raises what forbids a statement."""
        ...


@dataclass(frozen=True, slots=True)
class ByShelf:
    """Where nobody chooses: the newest version for patients, and the thresholds of the settings."""

    shelf: Shelf
    thresholds: Thresholds = ()

    def choose(self, name: str) -> Chosen:
        return Chosen(newest(self.shelf, name), VersionFrom.NEWEST)

    def site_tau(self, model: Model) -> float | None:
        return threshold_of(self.thresholds, model.card.name, model.card.version)


def newest(shelf: Shelf, name: str) -> Model:
    """Return the newest version of ``name`` that is not kept for comparison.

    Raises NotFound ``model-unknown``, ``version-needed`` where all are kept for comparison.
    """
    found = [model for model in shelf.models if model.card.name == name]
    served = [model for model in found if model.card.purpose == "patients"]
    if found and not served:
        message = f"{name} is kept for comparison. Name the version that you ask: /v2/models/{name}/versions/VERSION."
        raise NotFound(message, code="version-needed")
    return max(served, key=_order) if served else shelf.model(name)


def _order(model: Model) -> tuple[tuple[int, str], ...]:
    return version_order(model.card.version)
