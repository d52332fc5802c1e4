"""`read_dataset`: recognise the layout of a folder or zip and read its samples."""

from collections.abc import Callable
from pathlib import Path

from training.archive import MANIFEST, Sample
from training.datasets.dataset import Dataset, Layout
from training.datasets.files import Files
from training.datasets.folders import (
    CARDIAC_PLACE,
    RADIOGRAPHY_CLASSES,
    RADIOGRAPHY_PLACE,
    SPLIT_FOLDERS,
    read_cardiac,
    read_class_folders,
    read_radiography,
)
from training.datasets.found import Found, look_through
from training.datasets.kermany import PLACE, read_kermany
from training.datasets.manifest import read_manifest_form
from training.datasets.nih import TABLE, read_nih
from training.datasets.problems import UnreadableDataset, quote_some

_EXPECTED = (
    "Expected one of: manifest.csv with the columns file and label; LABEL/FILE or train|val|test/LABEL/FILE; "
    "COVID-19 Radiography (COVID/images, COVID/masks ...); Kermany (train/NORMAL, train/PNEUMONIA); "
    "NIH ChestX-ray14 (Data_Entry_2017*.csv, images_001/images); CAD cardiac (Normal/Directory_1, Sick/Directory_2)."
)


def read_dataset(path: Path, *, layout: Layout | None = None, label_column: str = "label") -> Dataset:
    """The samples of a folder or zip; its layout is recognised unless it is given.

    A folder that holds everything else is looked into. ``label_column`` is the column of a manifest that says the
    label. Raises UnreadableDataset, which says what was found and what was expected.
    """
    with Files(path) as files:
        names = files.names()
        top, chosen = _find(files, names, layout)
        found = look_through(files, names, top)
        samples = _read(found, chosen, label_column)
    if len({label for sample in samples for label in sample.labels}) < 2:
        raise UnreadableDataset(f"{path} has fewer than two labels: {quote_some(_tops(names))}. {_EXPECTED}")
    if found.masks and chosen is not Layout.MANIFEST:
        found.notes.append(f"{len(found.masks)} mask files were left out; they are not pictures to learn from.")
    return Dataset(path, chosen, tuple(sorted(samples, key=lambda sample: sample.file)), tuple(found.notes))


def _find(files: Files, names: list[str], layout: Layout | None) -> tuple[str, Layout]:
    """Where the data begins and its layout: the first place, from the top down, where a layout fits."""
    for top in _chain(names):
        found = look_through(files, names, top)
        for candidate, fits in _SIGNS.items():
            if layout in (None, candidate) and fits(found):
                return top, candidate
    if not names:
        raise UnreadableDataset(f"There are no files. {_EXPECTED}")
    wanted = f"It does not look like {layout}. " if layout else ""
    raise UnreadableDataset(f"{wanted}Found {len(names)} files in {quote_some(_tops(names))}. {_EXPECTED}")


def _chain(names: list[str]) -> list[str]:
    """ "" and then each folder below it that holds all files."""
    chain, top = [""], ""
    while heads := {name[len(top) :].split("/", 1)[0] for name in names if "/" in name[len(top) :]}:
        if len(heads) > 1 or any("/" not in name[len(top) :] for name in names):
            break
        top += heads.pop() + "/"
        chain.append(top)
    return chain


def _tops(names: list[str]) -> list[str]:
    return sorted({name.split("/", 1)[0] for name in names})


def _is_manifest(found: Found) -> bool:
    return any(inner == MANIFEST for inner, _ in found.others)


def _is_nih(found: Found) -> bool:
    return any(TABLE.fullmatch(inner) for inner, _ in found.others)


def _is_kermany(found: Found) -> bool:
    return bool(found.pictures) and all(PLACE.fullmatch(inner) for inner, _ in found.pictures)


def _is_radiography(found: Found) -> bool:
    places = [RADIOGRAPHY_PLACE.fullmatch(inner) for inner, _ in found.pictures]
    return any(place and place[1] in RADIOGRAPHY_CLASSES for place in places)


def _is_cardiac(found: Found) -> bool:
    return any(CARDIAC_PLACE.fullmatch(inner) for inner, _ in found.pictures)


def _is_class_folders(found: Found) -> bool:
    parts = [inner.split("/") for inner, _ in found.pictures]
    with_splits = [len(each) == 3 and each[0].lower() in SPLIT_FOLDERS for each in parts]
    plain = [len(each) == 2 and each[0].lower() not in SPLIT_FOLDERS for each in parts]
    # One class alone is more likely a folder around everything. Most files, not all: one at the wrong depth should
    # be named by the reader and not hide the layout.
    labels = {each[-2] for each in parts if len(each) > 1}
    return len(labels) > 1 and max(sum(with_splits), sum(plain)) > len(parts) / 2


_SIGNS: dict[Layout, Callable[[Found], bool]] = {
    Layout.MANIFEST: _is_manifest,
    Layout.NIH14: _is_nih,
    Layout.KERMANY: _is_kermany,
    Layout.COVID19_RADIOGRAPHY: _is_radiography,
    Layout.CAD_CARDIAC: _is_cardiac,
    Layout.CLASS_FOLDERS: _is_class_folders,
}
_READERS: dict[Layout, Callable[[Found], list[Sample]]] = {
    Layout.NIH14: read_nih,
    Layout.KERMANY: read_kermany,
    Layout.COVID19_RADIOGRAPHY: read_radiography,
    Layout.CAD_CARDIAC: read_cardiac,
    Layout.CLASS_FOLDERS: read_class_folders,
}


def _read(found: Found, layout: Layout, label_column: str) -> list[Sample]:
    if layout is Layout.MANIFEST:
        return read_manifest_form(found, label_column)
    return _READERS[layout](found)
