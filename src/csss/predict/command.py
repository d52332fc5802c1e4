"""The command ``csss predict``: read files, write what came of each, and measure it against known labels."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from csss.foundation.errors import Unprocessable
from csss.foundation.legible import legible
from csss.foundation.thresholds import Thresholds, demand_models, threshold_of
from csss.inference.card import MODEL_FILE, ModelCard
from csss.inference.engines import EngineChoice
from csss.inference.packaged import packaged_models
from csss.inference.read_files import COLUMNS, FileReading, to_json, to_row, walk_files
from csss.inference.shelf import Model, Shelf, version_order
from csss.predict.casebook import Casebook
from csss.predict.findings_book import FindingsBook
from csss.predict.heat import why_no_heat_map
from csss.predict.labels import GivenFile, Match, choose_split, demand_findings, demand_known, match, read_truths
from csss.predict.progress import Progress
from csss.predict.summary import Report, in_words, to_document
from csss.predict.workers import ReadingPlan, read_here, read_in_processes

_LISTED_AT_MOST = 20
_PASSED_OVER = "pipes, devices, linked folders and folders without permission, passed over"


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What was asked for; None where an option was not given."""

    paths: tuple[Path, ...]
    json: bool = False
    csv: Path | None = None
    heat_maps: Path | None = None
    model: str = "chest-mobilenetv2"
    models: Path | None = None
    modality: str = "DX"
    body_part: str = "CHEST"
    jobs: int = 1
    labels: Path | None = None
    split: str | None = None
    summary: Path | None = None
    engines: EngineChoice = field(default_factory=EngineChoice)
    thresholds: Thresholds = ()


@dataclass(frozen=True, slots=True)
class _Work:
    """The files to read, their labels when those were given, and what lay among them and is no file."""

    files: tuple[Path, ...]
    matched: Match | None
    passed_over: tuple[Path, ...]


def run_predict(options: PredictOptions, output: TextIO, notes: TextIO) -> int:
    """Run the command; ``output`` gets the results, ``notes`` the progress and what does not fit together.

    Returns 0, or 1 when a file was not read or files and labels do not fit together. Raises CsssError when
    nothing can be read at all: no file, an unknown model, a threshold that the site set for another version or an
    unknown model, unusable labels, a place that cannot be written.
    """
    shelf = Shelf(options.models or packaged_models(), engines=options.engines)
    model = shelf.demand(options.model)
    demand_models(options.thresholds, shelf.reading_names())
    _tell_of_refused_versions(shelf, model, notes)
    work = _plan_work(options, model.card)
    _list(_PASSED_OVER, list(map(str, work.passed_over)), notes)
    _list_leftovers(work.matched, notes)
    with _summary_file(options.summary) as summary_file, _writer(options, output) as write:
        book, failed, mapless = _read_all(options, work, model.card, write, Progress(len(work.files), notes))
        if options.heat_maps is not None:
            _tell_of_missing_maps(mapless, len(work.files) - failed, notes)
        if work.matched is not None:
            report = _report(options, model, work.matched, book)
            document = to_document(report)
            output.write(
                json.dumps({"summary": document}, allow_nan=False) if options.json else "\n" + in_words(report)
            )
            output.write("\n")
            if summary_file is not None:
                summary_file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
    return 1 if failed or (work.matched is not None and not work.matched.complete) else 0


def in_one_line(reading: FileReading) -> str:
    """What came of one file, for a person; nothing in it can steer a terminal or pass for another line."""
    return legible(_in_words(reading))


def _in_words(reading: FileReading) -> str:
    result = reading.prediction
    if result is None:
        error = reading.error
        return f"{reading.file}: not read, {error.message} ({error.code})" if error else f"{reading.file}: not read"
    shares = ", ".join(f"{name} {share:.3f}" for name, share in result.probabilities)
    reasons = f" because of {', '.join(result.uncertain_reasons)}" if result.uncertain else ""
    stated = ", ".join(result.findings) if result.findings and not result.uncertain else result.label
    text = f"{reading.file}: {stated}{reasons} (threshold {result.tau:.2f}; {shares})"
    if result.quality:
        text += f", picture quality: {', '.join(finding.check for finding in result.quality)}"
    text += ", a phantom and no picture of a person" if result.phantom else ""
    return text + (", by a model that was made from phantoms" if reading.phantom_trained else "")


def _read_all(
    options: PredictOptions,
    work: _Work,
    card: ModelCard,
    write: Callable[[FileReading], None],
    progress: Progress,
) -> tuple[Casebook | FindingsBook, int, Counter[str]]:
    """Read and write every file; return the labelled ones, how many were not read, and why some have no heat map."""
    book, failed, mapless = _new_book(card), 0, Counter[str]()
    with closing(_readings(options, work.files, card)) as readings:
        for file, reading in zip(work.files, readings, strict=True):
            failed += reading.error is not None
            mapless.update(filter(None, [why_no_heat_map(reading, card)]))
            if options.csv is None:
                progress.clear()
            write(reading)
            if work.matched is not None and file in work.matched.truths:
                book.add(work.matched.truths[file], reading)
            progress.advance()
    progress.clear()
    return book, failed, mapless


def _new_book(card: ModelCard) -> Casebook | FindingsBook:
    return FindingsBook(card) if card.findings else Casebook(tuple(label.name for label in card.labels))


def _readings(options: PredictOptions, files: Sequence[Path], card: ModelCard) -> Generator[FileReading]:
    if options.heat_maps is not None:
        with _demanding_place(options.heat_maps):
            options.heat_maps.mkdir(parents=True, exist_ok=True)
    plan = ReadingPlan(
        models=(options.models or packaged_models()).absolute(),
        model=card.name,
        version=card.version,
        modality=options.modality.upper(),
        body_part=options.body_part.upper(),
        heat_maps=options.heat_maps,
        engines=options.engines,
        site_tau=threshold_of(options.thresholds, card.name, card.version),
    )
    return read_in_processes(files, plan, options.jobs) if options.jobs > 1 else read_here(files, plan)


def _plan_work(options: PredictOptions, card: ModelCard) -> _Work:
    threshold_of(options.thresholds, card.name, card.version)  # a stale one is told before anything is written
    if options.labels is None:
        if options.split is not None or options.summary is not None:
            raise Unprocessable("--split and --summary need --labels.", code="labels-needed")
        given, passed_over = _find_files(options)
        return _Work(tuple(file.path for file in given), None, passed_over)
    truths = read_truths(options.labels)
    given, passed_over = _find_files(options)
    matched = match(given, truths, options.labels.parent)
    if options.split is not None:
        matched = choose_split(matched, truths, options.split)
        truths = tuple(truth for truth in truths if truth.split == options.split)
    demand = demand_findings if card.findings else demand_known
    demand(truths, tuple(label.name for label in card.labels), card.name)
    return _Work(
        tuple(file.path for file in given if options.split is None or file.path in matched.truths),
        matched,
        passed_over,
    )


def _find_files(options: PredictOptions) -> tuple[list[GivenFile], tuple[Path, ...]]:
    """Every file below the named paths but the ones that the command itself reads or writes there, and what is no file.

    Raises Unprocessable ``no-files`` where there is none.
    """
    passed_over: list[Path] = []
    own = {path.resolve() for path in (options.labels, options.csv, options.summary) if path is not None}
    names = {path.name for path in own}
    found = [
        GivenFile(file, path if path.is_dir() else path.parent)
        for path in options.paths
        for file in walk_files(path, passed_over)
        if file.name not in names or file.resolve() not in own
    ]
    if not found:
        places, passed = (", ".join(legible(str(path)) for path in paths) for paths in (options.paths, passed_over))
        rest = f" Passed over (pipe, device, link or no permission): {passed}." if passed else ""
        raise Unprocessable(f"There is no file to read in {places}.{rest}", code="no-files")
    return found, tuple(path for path in passed_over if path not in options.paths)


def _report(options: PredictOptions, model: Model, matched: Match, book: Casebook | FindingsBook) -> Report:
    return Report(
        model=model.card.name,
        version=model.card.version,
        model_sha256=model.card.file_sha256(MODEL_FILE) or "",
        labels_file=str(options.labels),
        split=options.split,
        summary=book.summary(),
        refusals=book.refusals,
        phantom_trained=model.card.phantom_trained,
        unlabelled=tuple(map(str, matched.unlabelled)),
        ambiguous=tuple(map(str, matched.ambiguous)),
        missing=tuple(truth.file for truth in matched.missing),
    )


def _tell_of_refused_versions(shelf: Shelf, model: Model, notes: TextIO) -> None:
    """An older version reads than the newest folder that is there: whoever asked should know."""
    for problem in shelf.problems:
        name, _, version = problem.folder.partition("/")
        if name == model.card.name and version_order(version) > version_order(model.card.version):
            notes.write(
                f"csss: {legible(problem.folder)} is not served: {legible(problem.message)} "
                f"Version {model.card.version} reads instead.\n"
            )


def _tell_of_missing_maps(reasons: Counter[str], read: int, notes: TextIO) -> None:
    if reasons:
        listed = "; ".join(f"{count:,}: {reason}" for reason, count in reasons.most_common())
        notes.write(f"csss: no heat map of {reasons.total():,} of the {read:,} files that were read ({listed}).\n")


def _list_leftovers(matched: Match | None, notes: TextIO) -> None:
    if matched is None:
        return
    for what, names in (
        ("files without a row in the labels", list(map(str, matched.unlabelled))),
        ("files that fit several rows, or rows that fit several files", list(map(str, matched.ambiguous))),
        ("rows of the labels without a file", [truth.file for truth in matched.missing]),
    ):
        _list(what, names, notes)


def _list(what: str, names: Sequence[str], notes: TextIO) -> None:
    if not names:
        return
    notes.write(f"csss: {len(names):,} {what}:\n")
    notes.writelines(f"  {legible(name)}\n" for name in names[:_LISTED_AT_MOST])
    if len(names) > _LISTED_AT_MOST:
        notes.write(f"  and {len(names) - _LISTED_AT_MOST:,} more\n")


@contextmanager
def _writer(options: PredictOptions, output: TextIO) -> Iterator[Callable[[FileReading], None]]:
    """What writes each reading as soon as there is one: a run that is ended leaves all rows so far."""
    if options.csv is None:
        form = to_json if options.json else in_one_line
        yield lambda reading: print(form(reading), file=output, flush=True)
        return
    with _demanding_place(options.csv):
        table = options.csv.open("w", newline="", encoding="utf-8")
    with table:
        writer = csv.writer(table)

        def write(cells: Iterable[str]) -> None:
            writer.writerow(cells)
            table.flush()

        write(COLUMNS)
        yield lambda reading: write(to_row(reading))


@contextmanager
def _summary_file(path: Path | None) -> Iterator[TextIO | None]:
    """Opened before the first file is read: after a long run it would be late to find that it cannot be."""
    if path is None:
        yield None
        return
    with _demanding_place(path):
        file = path.open("w", encoding="utf-8")
    with file:
        yield file


@contextmanager
def _demanding_place(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unprocessable(f"{path} cannot be written.", code="not-writable") from error
