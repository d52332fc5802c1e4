"""Read the Kermany layout: the patient and the kind of pneumonia come from the names of the files."""

import re
from pathlib import PurePosixPath

from training.archive import Sample
from training.datasets.found import Found, new_sample
from training.datasets.problems import UnreadableDataset, quote_some

NORMAL, BACTERIAL, VIRAL = "NORMAL", "PNEUMONIA_BACTERIAL", "PNEUMONIA_VIRAL"
SOURCE = "kermany"
PLACE = re.compile(r"(train|val|test)/(NORMAL|PNEUMONIA)/[^/]+")
_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d+")
_IMAGE = re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+(?:-\d+)?")
# The names of the archive's third edition: kind, number of the patient, number of the picture.
_THIRD_EDITION = re.compile(r"(NORMAL|BACTERIA|VIRUS)-(\d+)-\d+")
_KINDS = {"bacteria": BACTERIAL, "virus": VIRAL, "normal": NORMAL}


def read_kermany(found: Found) -> list[Sample]:
    """One sample per picture; labels NORMAL, PNEUMONIA_BACTERIAL, PNEUMONIA_VIRAL. Raises UnreadableDataset.

    The number of a person is taken to mean the same child wherever it stands, so that nobody crosses splits.
    """
    samples, strange = [], []
    for inner, name in found.pictures:
        place, named = PLACE.fullmatch(inner), _parse(PurePosixPath(inner).stem)
        if not place or not named or (place[2] == NORMAL) != (named[1] == NORMAL):
            strange.append(name)
            continue
        patient, label = named
        samples.append(new_sample(name, label, SOURCE, split=place[1], patient=patient))
    if strange:
        raise UnreadableDataset(
            f"{len(strange)} pictures have no name of the Kermany layout in their folder: {quote_some(strange)}. "
            'Expected: "PNEUMONIA/person12_virus_34.jpeg", "PNEUMONIA/person12_bacteria_34.jpeg", '
            '"NORMAL/IM-0001-0001.jpeg", "NORMAL/NORMAL2-IM-0001-0001.jpeg". '
            "Data of your own in such folders is read with --layout class-folders."
        )
    return samples


def _parse(stem: str) -> tuple[str, str] | None:
    """Patient and label that a name states."""
    if match := _PERSON.fullmatch(stem):
        return match[1], _KINDS[match[2]]
    if match := _IMAGE.fullmatch(stem):
        return match[1], NORMAL
    if match := _THIRD_EDITION.fullmatch(stem):
        return match[2], _KINDS[match[1].lower()]
    return None
