"""Write the model folder of input-gate: network, head, golden case, METRICS.md and card."""

import hashlib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits
from csss.imaging.phantom import phantom_chest
from csss.imaging.readers import READERS
from csss.imaging.sniff import HEAD_BYTES, FileKind, sniff
from csss.imaging.volume import Volume
from csss.inference.card import (
    GOLDEN_FILE,
    HEAD_FILE,
    MODEL_FILE,
    UNSTATED,
    Calibration,
    Explanation,
    FileHash,
    InputSpec,
    Label,
    ModelCard,
    OutOfDistribution,
    Replay,
    Risk,
    RiskRule,
    Threshold,
    TrainingData,
    write_card,
)
from csss.inference.engines.onnx import open_onnx
from csss.inference.golden import keep_golden, write_golden
from csss.inference.head import Head, write_head
from csss.inference.metrics import Cases, Figures, measure
from csss.inference.prediction import Prediction
from csss.inference.prepare import open_picture
from csss.inference.tasks.classify import classify
from training.ahead import demand_new
from training.pretrained import imagenet_ingredient
from training.quantise import Precision

DISPLAYS = {
    "brain-mr": "an MR slice of the brain",
    "cardiac-mr": "an MR slice of the heart",
    "chest-ct": "a CT slice of the chest",
    "chest-phantom": "a drawn chest phantom",
    "chest-xray": "a frontal chest X-ray",
    "chest-xray-inverted": "a chest X-ray with black and white swapped",
    "chest-xray-turned": "a chest X-ray on its side or upside down",
    "echo": "an echocardiogram",
    "other": "a photograph, a document or another kind of picture",
}
READ = "chest-xray"
_LIMITS = (
    "Photographs stand for everything that is no medical picture; other medical pictures than the kinds named "
    "(other X-rays, ultrasound of other organs, CT of other regions) were hardly in its data.",
    "A lateral chest X-ray was in none of its data and may be taken for a frontal one.",
    "Echo rests on two cines, whose frames are in every split: its figures say nothing about other machines.",
    "A picture that was mirrored is not noticed.",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One measured picture: what it is, what the gate took it for, and whether it was sure."""

    split: str
    label: str
    origin: str
    answer: str
    sure: bool


@dataclass(frozen=True, slots=True)
class GateEvidence:
    """``rows`` are of validation and test; ``fingerprint_sha256`` names all pictures, those of the fit included.

    ``stored`` are the validation figures of every way to store the network; ``strangers`` is an archive of DICOM
    files of many kinds that took no part in the fit.
    """

    rows: tuple[Row, ...]
    train_pictures: int
    fingerprint_sha256: str
    test_ece: float
    stored: tuple[Precision, ...]
    strangers: Path | None
    command: str
    seed: int

    def figures(self, split: str) -> Figures:
        """The figures of one split, by the kind that each picture was taken for."""
        rows = [row for row in self.rows if row.split == split]
        names = tuple(sorted({name for row in self.rows for name in (row.label, row.answer)}))
        truth, taken = (np.array([names.index(name) for name in column], dtype=np.int64)
                        for column in zip(*((row.label, row.answer) for row in rows), strict=True))  # fmt: skip
        return measure(Cases.answered_all(truth, np.eye(len(names))[taken], names))


def write_gate(
    out: Path,
    names: tuple[str, ...],
    spec: InputSpec,
    model: bytes,
    head: Head,
    *,
    replay: Replay,
    temperature: float,
    tau: float,
    limit: float,
    evidence: GateEvidence,
) -> ModelCard:
    """Write every file of the folder ``out`` (NAME/VERSION), the card last; returns the card."""
    demand_new(out)
    out.mkdir(parents=True, exist_ok=True)
    card = _draft(out, names, spec, model, head, (temperature, tau, limit), replay, evidence)
    engine = open_onnx(model, 1)

    def answer(volume: Volume) -> Prediction:
        return classify(open_picture(volume), card, head, engine)

    pixels = phantom_chest(1, size=(320, 320))
    golden = keep_golden(pixels, answer(Volume(pixels=pixels[None], kind=FileKind.PNG)))
    files = {
        MODEL_FILE: model,
        HEAD_FILE: write_head(head),
        GOLDEN_FILE: write_golden(golden),
        "METRICS.md": _metrics(card, evidence, answer).encode(),
    }
    for name, data in files.items():
        (out / name).write_bytes(data)
    card = replace(card, files=tuple(FileHash(name, _sha256(data)) for name, data in files.items()))
    write_card(card, out)
    return card


def _draft(
    out: Path,
    names: tuple[str, ...],
    spec: InputSpec,
    model: bytes,
    head: Head,
    points: tuple[float, float, float],
    replay: Replay,
    evidence: GateEvidence,
) -> ModelCard:
    temperature, tau, limit = points
    name, version = out.resolve().parent.name, out.resolve().name
    test = evidence.figures("test")
    return ModelCard(
        name=name,
        version=version,
        task="gate",
        purpose="patients",
        engine="onnx",
        modalities=(UNSTATED,),
        body_parts=(UNSTATED,),
        input=spec,
        labels=tuple(Label(label, DISPLAYS[label], None, Risk.LOW) for label in names),
        threshold=Threshold(
            tau,
            "the share that 99.5 % of the validation split's chest X-rays reach, within [0.5, 0.95]",
            version,
            _sha256(model),
            _sha256(write_head(head)),
        ),
        calibration=Calibration("temperature", temperature, (), (), "the validation split, never below 1"),
        ood=OutOfDistribution(
            "pca-mahalanobis", limit, "99.5 % of the validation split's chest X-rays are nearer than this"
        ),
        conformal=None,
        gate=None,
        quality=None,
        risk=RiskRule(0.5, Risk.MODERATE, "A gate rates no risk; the model behind it does."),
        explanation=Explanation("grad-cam-closed-form", False, "A gate explains itself by its label and its distance."),
        intended_use="To keep pictures of another kind away from a diagnostic model. It is no diagnosis of anything.",
        limits=_LIMITS,
        training_data=TrainingData(
            fingerprint_sha256=evidence.fingerprint_sha256,
            description="Chest X-rays, CT and MR slices, echo frames, photographs; drawings by training/drawn.py",
            train_images=evidence.train_pictures,
            validation_images=sum(row.split == "val" for row in evidence.rows),
            test_images=test.images,
            test_accuracy=test.accuracy or 0.0,
            test_balanced_accuracy=test.balanced_accuracy or 0.0,
            test_macro_f1=test.macro_f1 or 0.0,
            test_ece=evidence.test_ece,
            sources=(),
        ),
        ingredients=(replace(imagenet_ingredient(), name=f"{imagenet_ingredient().name}, blocks 0 to 13"),),
        phantom_trained=False,
        replay=replay,
        files=(FileHash(MODEL_FILE, _sha256(model)), FileHash(HEAD_FILE, _sha256(write_head(head)))),
    )


def _metrics(card: ModelCard, evidence: GateEvidence, answer: Callable[[Volume], Prediction]) -> str:
    test = [row for row in evidence.rows if row.split == "test"]
    parts = [
        f"# {card.name}, version {card.version}: what was measured\n",
        "Every figure is of pictures whose patient, case or file was not in the fit. The training command wrote it.\n",
        f"- Command: `{evidence.command}`",
        f"- Seed: {evidence.seed}",
        f"- Operating point: share at least {card.threshold.tau:.3f} and distance at most {card.ood.limit:.3f}; "
        f"{card.threshold.derivation}.\n",
        "## All kinds together\n",
        "| split | pictures | accuracy | balanced accuracy | macro F1 |\n| --- | --- | --- | --- | --- |",
    ]
    for split in ("val", "test"):
        part = evidence.figures(split)
        values = (part.accuracy, part.balanced_accuracy, part.macro_f1)
        parts.append(f"| {split} | {part.images} | " + " | ".join(f"{value or 0.0:.4f}" for value in values) + " |")
    parts.append("\n## How the network is stored\n")
    parts.append("| stored as | bytes | validation macro F1 | balanced accuracy |\n| --- | --- | --- | --- |")
    parts += [
        f"| {way.name} | {way.size_bytes} | {way.macro_f1:.4f} | {way.balanced_accuracy:.4f} |"
        for way in evidence.stored
    ]
    parts += [
        "\n## What each kind was taken for (test split)\n",
        "The column `read` is the share for which a chest model may state a label: taken for a chest X-ray, and "
        "sure. `unsure` is taken for one without being sure: read, and always Uncertain. The rest is refused, or is "
        "turned, inverted or a phantom and says so.\n",
        "| kind | collection | pictures | right kind | read | unsure |\n| --- | --- | --- | --- | --- | --- |",
    ]
    for label, origin in sorted({(row.label, row.origin) for row in test}):
        rows = [row for row in test if (row.label, row.origin) == (label, origin)]
        parts.append(
            f"| {label} | {origin} | {len(rows)} | {_share(r.label == r.answer for r in rows)} | {_read(rows)} |"
        )
    parts += ["\n## Confusions (test split)\n", "| kind | taken for | pictures |\n| --- | --- | --- |"]
    wrong = Counter((row.label, row.answer) for row in test if row.label != row.answer)
    parts += [f"| {label} | {taken} | {count} |" for (label, taken), count in sorted(wrong.items())]
    if evidence.strangers is not None:
        parts.append(_strangers(evidence.strangers, answer))
    parts += ["\n## Limits\n", *(f"- {limit}" for limit in card.limits)]
    return "\n".join(parts) + "\n"


def _read(rows: list[Row]) -> str:
    read = _share(row.answer == READ and row.sure for row in rows)
    return f"{read} | {_share(row.answer == READ and not row.sure for row in rows)}"


def _strangers(archive: Path, answer: Callable[[Volume], Prediction]) -> str:
    """What single DICOM pictures of many kinds were taken for; none of them took part in the fit."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist()):
            data = files.read(name)
            try:
                volume = READERS[sniff(data[:HEAD_BYTES], name)](data, Limits())
                said = answer(volume)
            except (CsssError, KeyError):
                continue
            counts[(volume.modality or "unstated", said.top_label, not said.uncertain)] += 1
    lines = ["\n## Strangers: single DICOM pictures of many kinds that took no part\n"]
    lines.append("| stated modality | taken for | sure | pictures |\n| --- | --- | --- | --- |")
    lines += [
        f"| {said} | {taken} | {'yes' if sure else 'no'} | {n} |" for (said, taken, sure), n in sorted(counts.items())
    ]
    return "\n".join(lines)


def _share(parts: Iterable[bool]) -> str:
    values = list(parts)
    return f"{sum(values) / len(values):.3f}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
