"""What a reader gets: the files of one place, sorted into pictures, masks and the rest."""

from dataclasses import dataclass, field

from training.archive import Sample
from training.datasets.files import Files, is_mask_name, is_picture


@dataclass(slots=True)
class Found:
    """The files below ``top`` (a folder that holds everything, "" when none does).

    Each entry is (path below ``top``, name as ``Files`` knows it). Readers add to ``notes``.
    """

    files: Files
    top: str
    pictures: list[tuple[str, str]]
    masks: list[tuple[str, str]]
    others: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)


def look_through(files: Files, names: list[str], top: str) -> Found:
    """Sort the names below ``top``."""
    found = Found(files, top, [], [], [])
    for name in names:
        entry = (name[len(top) :], name)
        if not is_picture(name):
            found.others.append(entry)
        elif is_mask_name(entry[0]):
            found.masks.append(entry)
        else:
            found.pictures.append(entry)
    return found


def new_sample(
    file: str,
    label: str,
    source: str,
    *,
    split: str | None = None,
    patient: str | None = None,
    view: str | None = None,
    age_years: float | None = None,
    sex: str | None = None,
) -> Sample:
    """A sample whose group is its patient, or itself where no patient is known."""
    group = f"p:{source}:{patient}" if patient else f"f:{file}"
    return Sample(file, label, source, split, group, "not stated", "", patient, view, age_years, sex)
