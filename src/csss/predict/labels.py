"""Known labels from a manifest, matched to the files that were given."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from csss.foundation.errors import NotFound, Unprocessable
from csss.inference.findings_rule import NO_FINDING

_FILE = ("file", "path", "filename")
_LABEL = ("label",)
_SOURCE = ("source",)
_GROUP = ("split_group", "group", "patient_id")
_SPLIT = ("split",)
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class Truth:
    """One row of a manifest: ``file`` as it is written there, ``group`` what belongs together (a patient).

    ``label`` joins several findings with "|".
    """

    file: str
    label: str
    source: str
    group: str
    split: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Every finding of the file; one of a file with a single label."""
        return tuple(self.label.split(_SEPARATOR))


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file to be read, and the folder that was named to find it (its own folder when it was named itself)."""

    path: Path
    root: Path


@dataclass(frozen=True, slots=True)
class Match:
    """``truths`` by file. Left over: ``unlabelled`` files without a row, ``ambiguous`` files of which more than
    one could belong to a row or to which more than one row could belong, and ``missing`` rows without a file."""

    truths: Mapping[Path, Truth]
    unlabelled: tuple[Path, ...]
    ambiguous: tuple[Path, ...]
    missing: tuple[Truth, ...]

    @property
    def complete(self) -> bool:
        """Whether every file has its row and every row its file."""
        return not (self.unlabelled or self.ambiguous or self.missing)


def read_truths(manifest: Path) -> tuple[Truth, ...]:
    """The rows of a CSV file with columns file (or path, filename) and label; source, split_group (or group,
    patient_id) and split where it has them. A row without a group is a group of its own.

    Raises NotFound ``labels-missing`` and Unprocessable ``labels-unreadable``, ``labels-column-missing``.
    """
    try:
        text = manifest.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True))
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {manifest}.", code="labels-missing") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Unprocessable(f"{manifest} cannot be read as a CSV file.", code="labels-unreadable") from error
    titles = [title.strip().lower() for title in rows[0]] if rows else []
    places = [_find(titles, names) for names in (_FILE, _LABEL, _SOURCE, _GROUP, _SPLIT)]
    for place, names in zip(places[:2], (_FILE, _LABEL), strict=True):
        if place is None:
            message = f"{manifest} has no column {' or '.join(names)}."
            raise Unprocessable(message, code="labels-column-missing")
    filled = [row for row in rows[1:] if any(cell.strip() for cell in row)]
    return tuple(_truth(number, [_cell(row, place) for place in places]) for number, row in enumerate(filled))


def choose_split(matched: Match, truths: Sequence[Truth], split: str) -> Match:
    """The part of ``matched`` that belongs to ``split``.

    Raises Unprocessable ``split-unknown`` when no row of ``truths`` does.
    """
    splits = {truth.split for truth in truths}
    if split not in splits:
        there = ", ".join(sorted(splits - {""})) or "none"
        raise Unprocessable(
            f'No row of the labels has the split "{split}". Splits there: {there}.', code="split-unknown"
        )
    return Match(
        truths={file: truth for file, truth in matched.truths.items() if truth.split == split},
        unlabelled=matched.unlabelled,
        ambiguous=matched.ambiguous,
        missing=tuple(truth for truth in matched.missing if truth.split == split),
    )


def demand_known(truths: Iterable[Truth], labels: Sequence[str], model: str) -> None:
    """Raise Unprocessable ``labels-unknown``, naming them, when a row has a label that ``model`` does not know."""
    unknown = Counter(truth.label for truth in truths if truth.label not in labels)
    if unknown:
        named = ", ".join(f'"{label}" ({count})' for label, count in sorted(unknown.items()))
        message = f"{model} does not know these labels: {named}. It knows: {', '.join(labels)}."
        raise Unprocessable(message, code="labels-unknown")


def demand_findings(truths: Iterable[Truth], labels: Sequence[str], model: str) -> None:
    """The same for a ``model`` of several findings: "A|B", or "No Finding" alone."""
    unknown = Counter(
        truth.label
        for truth in truths
        if truth.label != NO_FINDING and (set(truth.labels) - set(labels) or len(set(truth.labels)) < len(truth.labels))
    )
    if unknown:
        named = ", ".join(f'"{label}" ({count})' for label, count in sorted(unknown.items()))
        message = f'{model} does not know these labels: {named}. It knows "{NO_FINDING}", and: {", ".join(labels)}.'
        raise Unprocessable(message, code="labels-unknown")


def match(files: Sequence[GivenFile], truths: Sequence[Truth], manifest_folder: Path) -> Match:
    """Find the row of each file: by its path relative to the manifest, to the named folder or as it was typed;
    where no row has that path, by its name when no other row and no other file is called so."""
    by_path: defaultdict[str, list[Truth]] = defaultdict(list)
    by_name: defaultdict[str, list[Truth]] = defaultdict(list)
    for truth in truths:
        by_path[truth.file].append(truth)
        by_name[PurePosixPath(truth.file).name].append(truth)
    names = Counter(file.path.name for file in files)
    base = manifest_folder.resolve()
    resolved = {root: root.resolve() for root in {file.root for file in files}}
    found: list[tuple[Path, list[Truth]]] = []
    for file in files:
        forms = _forms(file, resolved[file.root], base)
        rows = next((by_path[form] for form in forms if form in by_path), [])
        if not rows:
            rows = by_name.get(file.path.name, []) * names[file.path.name]
        found.append((file.path, rows))
    return _settle(found, truths)


def _settle(found: Sequence[tuple[Path, list[Truth]]], truths: Sequence[Truth]) -> Match:
    """``found`` are the rows that could belong to each file."""
    claims = Counter(rows[0] for _, rows in found if len(rows) == 1)
    settled: dict[Path, Truth] = {}
    unlabelled: list[Path] = []
    ambiguous: list[Path] = []
    for file, rows in found:
        if not rows:
            unlabelled.append(file)
        elif len(rows) > 1 or claims[rows[0]] > 1:
            ambiguous.append(file)
        else:
            settled[file] = rows[0]
    touched = {row for _, rows in found for row in rows}
    missing = tuple(truth for truth in truths if truth not in touched)
    return Match(settled, tuple(unlabelled), tuple(ambiguous), missing)


def _forms(file: GivenFile, resolved_root: Path, manifest_folder: Path) -> Iterator[str]:
    """How a manifest may write the path of ``file``."""
    inside = file.path.relative_to(file.root)
    whole = resolved_root / inside
    if whole.is_relative_to(manifest_folder):
        yield whole.relative_to(manifest_folder).as_posix()
    yield inside.as_posix()
    yield file.path.as_posix()


def _truth(number: int, cells: Sequence[str]) -> Truth:
    file, label, source, group, split = cells
    # A backslash separates folders in manifests that were written on Windows.
    return Truth(file.replace("\\", "/").removeprefix("./"), label, source, group or f"row {number}", split)


def _find(titles: Sequence[str], names: Sequence[str]) -> int | None:
    return next((titles.index(name) for name in names if name in titles), None)


def _cell(row: Sequence[str], place: int | None) -> str:
    return row[place].strip() if place is not None and place < len(row) else ""


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)
