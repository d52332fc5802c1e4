"""Read picture files with one model, without server or database: the Python call behind ``csss predict``."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol

from csss.foundation.errors import CsssError, NotFound, Unprocessable
from csss.imaging.limits import Limits
from csss.imaging.sniff import HEAD_BYTES, FileKind, sniff
from csss.imaging.volume import Volume
from csss.inference.card import Risk
from csss.inference.prediction import Prediction, Stage, raise_threshold
from csss.inference.shelf import Model, Shelf, accepts

COLUMNS = (
    "file",
    "label",
    "top_label",
    "findings",
    "confidence",
    "threshold",
    "uncertain",
    "uncertain_reasons",
    "conformal_set",
    "coverage",
    "ood_distance",
    "ood_limit",
    "quality",
    "gate",
    "phantom",
    "phantom_trained",
    "risk",
    "heat_of",
    "heat_against",
    "regions",
    "probabilities",
    "model",
    "version",
    "calibration",
    "model_sha256",
    "sha256",
    "milliseconds",
    "error",
    "message",
)


class Decoder(Protocol):
    """What decodes a file: the imaging sandbox, or a reader in this process for trusted files."""

    def decode(self, data: bytes, kind: FileKind) -> Volume: ...


@dataclass(frozen=True, slots=True)
class FileError:
    """Why a file got no prediction."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class FileReading:
    """What came of one file: either ``prediction`` (and the decoded ``volume``) or ``error``.

    ``sha256`` is the hash of the file's bytes, None when they could not be read. ``stage_ms`` are the
    wall-clock milliseconds of read, decode, prepare, model and explain, as far as the file came.
    ``phantom_trained`` says that the model was made from drawn phantoms.
    """

    file: str
    sha256: str | None
    volume: Volume | None
    prediction: Prediction | None
    error: FileError | None
    stage_ms: tuple[tuple[Stage, float], ...]
    phantom_trained: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FileReader:
    """Reads one file after the other with ``model``.

    ``modality`` and ``body_part`` are taken for files that do not state their own; a file that states
    another kind gets the error ``no-model-fits``. ``site_tau`` can raise the model's threshold, never lower it.
    """

    model: Model
    decoder: Decoder
    modality: str = "DX"
    body_part: str = "CHEST"
    site_tau: float | None = None

    def read(self, file: Path) -> FileReading:
        """What came of ``file``; every refusal is a reading with its error code, never an exception."""
        stages: list[tuple[Stage, float]] = []
        sha256: str | None = None
        try:
            started = perf_counter()
            kind, data = _load(file)
            sha256 = hashlib.sha256(data).hexdigest()
            loaded = perf_counter()
            stages.append((Stage.READ, 1000.0 * (loaded - started)))
            volume = self.decoder.decode(data, kind)
            stages.append((Stage.DECODE, 1000.0 * (perf_counter() - loaded)))
            _check_fits(volume, self.model, self.modality, self.body_part)
            prediction = self._predict(volume)
        except CsssError as error:
            return FileReading(str(file), sha256, None, None, FileError(error.code, error.message), tuple(stages))
        phantom_trained = self.model.card.phantom_trained
        return FileReading(
            str(file), sha256, volume, prediction, None, (*stages, *prediction.stage_ms), phantom_trained
        )

    def _predict(self, volume: Volume) -> Prediction:
        prediction = self.model.predict(volume)
        if self.site_tau is None or self.site_tau <= prediction.tau:
            return prediction
        return raise_threshold(prediction, self.site_tau, floor=Risk(self.model.card.risk.floor_when_uncertain))


def predict_files(
    paths: Iterable[Path],
    *,
    shelf: Shelf,
    decoder: Decoder,
    model: str = "chest-mobilenetv2",
    modality: str = "DX",
    body_part: str = "CHEST",
) -> Iterator[FileReading]:
    """One reading per file, in the order given; folders are walked in sorted order, hidden files skipped.

    Raises NotFound ``model-unknown`` and CardError before the first file.
    """
    chosen = shelf.model(model)
    chosen.open()
    reader = FileReader(chosen, decoder, modality, body_part)
    return (reader.read(file) for path in paths for file in walk_files(path))


def to_json(reading: FileReading) -> str:
    """One line of JSON: the result of the file, or its error with code and message."""
    return _storable(json.dumps(_content(reading), ensure_ascii=False, allow_nan=False))


def to_row(reading: FileReading) -> tuple[str, ...]:
    """The cells of ``COLUMNS`` for a CSV file; no cell can start a formula in a spreadsheet."""
    content = _content(reading)
    refusal = content.pop("error", None)
    if isinstance(refusal, dict):
        content |= {"error": refusal["code"], "message": refusal["message"]}
    if reading.prediction is not None:
        content["quality"] = [finding.check for finding in reading.prediction.quality]
    return tuple(_cell(content.get(column)) for column in COLUMNS)


def walk_files(path: Path, passed_over: list[Path] | None = None) -> Iterator[Path]:
    """``path`` itself, or every file below a folder in sorted order; what is hidden is skipped.

    So is a pipe, a device, a link to a folder, or a folder that may not be looked into; these are added to
    ``passed_over``.
    """
    others = [] if passed_over is None else passed_over
    if not path.is_dir():
        yield path
        return
    for folder, below, names in os.walk(path, onerror=lambda error: others.append(Path(error.filename))):
        below[:] = sorted(name for name in below if not name.startswith("."))
        linked = [Path(folder, name) for name in below if Path(folder, name).is_symlink()]
        files = [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
        others.extend([*linked, *filter(_is_special, files)])
        yield from (file for file in files if not _is_special(file))


def _is_special(file: Path) -> bool:
    """Whether reading might never end, or do something; a file that is missing is no such thing."""
    return file.exists() and not file.is_file()


def _load(file: Path) -> tuple[FileKind, bytes]:
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            kind = sniff(head, file.name)
            limit = Limits().max_bytes(kind)
            data = head + stream.read(max(limit + 1 - len(head), 0))
    except FileNotFoundError as error:
        raise NotFound("There is no such file.", code="file-missing") from error
    except OSError as error:
        raise Unprocessable("The file cannot be read.", code="file-unreadable") from error
    Limits().check_size(kind, len(data))
    return kind, data


def _check_fits(volume: Volume, model: Model, modality: str, body_part: str) -> None:
    said = (volume.modality or modality, volume.body_part or body_part)
    if not accepts(model.card, *said):
        raise Unprocessable(
            f"The picture is {said[0]} of {said[1]}; {model.card.name} does not read that.",
            code="no-model-fits",
        )


def _content(reading: FileReading) -> dict[str, object]:
    prediction = reading.prediction
    if prediction is None:
        error = reading.error or FileError("internal-error", "The file was not read.")
        return {
            "file": reading.file,
            "sha256": reading.sha256,
            "error": {"code": error.code, "message": error.message},
        }
    return {
        "file": reading.file,
        "label": prediction.label,
        "top_label": prediction.top_label,
        "findings": list(prediction.findings),
        "confidence": prediction.confidence,
        "probabilities": dict(prediction.probabilities),
        "threshold": prediction.tau,
        "uncertain": prediction.uncertain,
        "uncertain_reasons": list(prediction.uncertain_reasons),
        "conformal_set": list(prediction.conformal_set),
        "coverage": prediction.coverage,
        "ood_distance": prediction.ood_distance,
        "ood_limit": prediction.ood_limit,
        "quality": [asdict(finding) for finding in prediction.quality],
        "gate": asdict(prediction.gate) if prediction.gate else None,
        "phantom": prediction.phantom,
        "phantom_trained": reading.phantom_trained,
        "risk": prediction.risk,
        "heat_of": prediction.heat_of,
        "heat_against": prediction.heat_against,
        "regions": list(prediction.regions),
        "model": prediction.model,
        "version": prediction.version,
        "calibration": prediction.calibration,
        "model_sha256": prediction.model_sha256,
        "sha256": reading.sha256,
        "milliseconds": {stage: round(value, 3) for stage, value in reading.stage_ms},
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(str(item) for item in value)
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | bool) else str(value)
    text = _storable(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _storable(text: str) -> str:
    """The bytes of a file's name that are no UTF-8 as escapes, which JSON reads back as what they were."""
    return text.encode("utf-8", "backslashreplace").decode()
