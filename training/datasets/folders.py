"""Read the layouts that say everything by folders: plain classes, COVID-19 Radiography, CAD cardiac."""

import re

from training.archive import UNSTATED_SOURCE, Sample
from training.datasets.found import Found, new_sample
from training.datasets.problems import UnreadableDataset, quote_some

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
RADIOGRAPHY_CLASSES = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
RADIOGRAPHY_PLACE = re.compile(r"([^/]+)/images/[^/]+")
CARDIAC_PLACE = re.compile(r"(Normal|Sick)/(Directory_\d+)/(?:.+/)?[^/]+")
_NO_PATIENTS = (
    "Patients are not known in this layout: each picture is a group of its own, so a patient may cross splits."
)


def read_class_folders(found: Found) -> list[Sample]:
    """root/LABEL/file, or root/SPLIT/LABEL/file with SPLIT of ``SPLIT_FOLDERS``. Raises UnreadableDataset."""
    samples, strange = [], []
    with_splits = all(inner.split("/")[0].lower() in SPLIT_FOLDERS for inner, _ in found.pictures)
    for inner, name in found.pictures:
        parts = inner.split("/")
        split = SPLIT_FOLDERS[parts.pop(0).lower()] if with_splits else None
        if len(parts) == 2:
            samples.append(new_sample(name, parts[0], UNSTATED_SOURCE, split=split))
        else:
            strange.append(name)
    if strange:
        raise UnreadableDataset(
            f"{len(strange)} pictures are not at LABEL/FILE or SPLIT/LABEL/FILE: {quote_some(strange)}."
        )
    found.notes.append(_NO_PATIENTS)
    return samples


def read_radiography(found: Found) -> list[Sample]:
    """CLASS/images/file of COVID-19 Radiography; CLASS/masks is never counted. Raises UnreadableDataset."""
    samples, strange = [], []
    for inner, name in found.pictures:
        place = RADIOGRAPHY_PLACE.fullmatch(inner)
        if place and place[1] in RADIOGRAPHY_CLASSES:
            samples.append(new_sample(name, place[1], "covid19-radiography"))
        else:
            strange.append(name)
    if strange:
        raise UnreadableDataset(
            f"{len(strange)} pictures are not in CLASS/images with a class of COVID-19 Radiography "
            f"({', '.join(RADIOGRAPHY_CLASSES)}): {quote_some(strange)}."
        )
    absent = [label for label in RADIOGRAPHY_CLASSES if label not in {sample.label for sample in samples}]
    if absent:
        found.notes.append(f"No pictures of the classes {', '.join(absent)}.")
    found.notes.append(_NO_PATIENTS)
    return samples


def read_cardiac(found: Found) -> list[Sample]:
    """Normal|Sick/Directory_N/...: the directory is the patient. Raises UnreadableDataset."""
    samples, strange = [], []
    for inner, name in found.pictures:
        place = CARDIAC_PLACE.fullmatch(inner)
        if place:
            samples.append(new_sample(name, place[1], "cad-cardiac", patient=f"{place[1]}/{place[2]}"))
        else:
            strange.append(name)
    if strange:
        raise UnreadableDataset(
            f"{len(strange)} pictures are not in Normal/Directory_N or Sick/Directory_N: {quote_some(strange)}."
        )
    return samples
