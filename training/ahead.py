"""Look at everything that a run was given before it begins: hours of fitting should not end in a misspelt path."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from csss.foundation.errors import Conflict, Unprocessable
from csss.inference.card import CARD_FILE
from csss.inference.shelf import Shelf

GATE = "input-gate"
"""The model that every other one trained here stands behind."""


class VersionExists(Conflict):
    """A finished model stands where one was to be written."""

    code = "version-exists"


def demand_new(out: Path) -> None:
    """Raise VersionExists where ``out`` (NAME/VERSION) holds a finished model: a version is never changed."""
    if (out / CARD_FILE).exists():
        raise VersionExists(f"{out} holds a finished model, and a version is never changed. Give a new version number.")


def demand_there(*, gate: Path | None = None, beside: Path | None = None, zips: Iterable[Path | None] = ()) -> None:
    """Raise NotFound unless the shelf ``gate`` has a gate and ``beside`` is a model that can be asked.

    Raises Unprocessable ``no-zip`` for any of ``zips`` that is given and is none.
    """
    if gate is not None:
        Shelf(gate).demand(GATE)
    if beside is not None:
        place = beside.resolve()
        Shelf(place.parent.parent).demand(place.parent.name, place.name)
    for path in zips:
        if path is not None and not zipfile.is_zipfile(path):
            raise Unprocessable(f"{path} is no zip.", code="no-zip")
