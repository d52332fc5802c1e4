"""chest-mobilenetv2: the whole network fitted in courses, from the archive to a served model folder."""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csss.inference.card import FLOAT_REPLAY, INT8_REPLAY, Framing, InputSpec, Replay
from csss.inference.metrics import Cases, Figures, measure
from training.archive import Sample, fingerprint, read_manifest
from training.backbones import BACKBONES
from training.blend import Blend, State, choose_blend
from training.chest_card import demand_labels
from training.chest_net import ChestNet
from training.evidence import Trial
from training.export import export_onnx, fold_grey, halve_weights
from training.finetune import Course, Epoch, Pictures, fit_course, run_pictures
from training.folder import Fitted, finish_folder
from training.measure import softmax_rows
from training.pictures import cache_pictures
from training.quantise import Precision, is_equal, judge, pool, quantise
from training.ranks import Ranks, join_ranks
from training.teaching import Teachers
from training.trials import leave_out

SPEC = InputSpec(224, 224, "grey-repeated-3", "whole", "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DROPOUT = 0.2
_SHOWN = 150
"""Training pictures from which an 8-bit file takes its ranges."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person may ask of a run: where it writes and keeps, what it is compared with, and its seed.

    ``gate`` is the shelf with its gate; ``foreign`` an archive of other pictures; ``beside`` a model folder
    that is measured on the same test split; ``teachers`` are the model folders that taught courses ask. With a
    ``trial_share`` above 0 the ``courses`` are also run without the outside sources, with that share of the draws.
    A ``draw_share`` below 1 says that the courses draw less than the recipe: the model is then for comparison only.
    """

    out: Path
    cache: Path
    gate: Path | None
    foreign: Path | None
    beside: Path | None
    backbone: str
    courses: tuple[Course, ...]
    trial_share: float
    seed: int
    teachers: tuple[Path, ...] = ()
    draw_share: float = 1.0


def plan_courses(seed: int, share: float = 1.0) -> tuple[Course, ...]:
    """The courses of the shipped model; a ``share`` below 1 draws fewer pictures, for a quick try."""
    warm = Course(
        stages=((160, 8000),) * 4,
        head_rate=2e-3, rate=1e-3, batch=64, averaging=0.99, cell_power=0.5, strong=0.5, mixed=0.0, mixing=0.3,
        weight_decay=0.05, label_smoothing=0.05, warming_steps=60, seed=seed,
    )  # fmt: skip
    main = Course(
        stages=((160, 10000),) * 2 + ((192, 10000),) * 4 + ((224, 10000),) * 6,
        head_rate=1.5e-3, rate=8e-4, batch=64, averaging=0.998, cell_power=0.3, strong=0.4, mixed=0.3, mixing=0.3,
        weight_decay=0.05, label_smoothing=0.05, warming_steps=80, seed=seed,
    )  # fmt: skip
    last = Course(
        stages=((224, 10000),) * 6,
        head_rate=5e-4, rate=3e-4, batch=64, averaging=0.999, cell_power=0.3, strong=0.5, mixed=0.3, mixing=0.3,
        weight_decay=0.05, label_smoothing=0.05, warming_steps=80, seed=seed + 1, blended=True,
    )  # fmt: skip
    again = Course(
        stages=((224, 10000),) * 8,
        head_rate=8e-4, rate=5e-4, batch=64, averaging=0.999, cell_power=0.3, strong=0.45, mixed=0.5, mixing=0.4,
        weight_decay=0.08, label_smoothing=0.05, warming_steps=80, seed=seed + 2, dropout=0.3, blended=True,
    )  # fmt: skip
    return tuple(_draw_less(course, share) for course in (warm, main, last, again))


def plan_taught(seed: int, share: float = 1.0) -> tuple[Course, ...]:
    """The course that follows where there are teachers."""
    taught = Course(
        stages=((224, 10000),) * 12,
        head_rate=8e-4, rate=6e-4, batch=64, averaging=0.999, cell_power=0.3, strong=0.45, mixed=0.5, mixing=0.6,
        weight_decay=0.05, label_smoothing=0.02, warming_steps=100, seed=seed + 35, dropout=0.1, blended=True,
        joined=0.25, taught=0.65, bfloat16=True,
    )  # fmt: skip
    return (_draw_less(taught, share),)


def train_chest(archive: Path, weights: dict[str, torch.Tensor], wishes: Wishes) -> None:
    """Train on ``archive`` from ImageNet ``weights`` and write the model folder.

    What is slow is kept in the cache: an interrupted run goes on where it stopped.
    """
    ranks = join_ranks()
    samples = read_manifest(archive)
    demand_labels(samples)
    teachers = Teachers(wishes.teachers, samples, SPEC, torch.get_num_threads()) if wishes.teachers else None
    if wishes.trial_share > 0.0:
        leave_out(samples)  # refuses data without such sources now and not after the fit
    framings = {course.framing for course in wishes.courses}
    pictures = ranks.after_first(lambda: {each: _pictures(archive, samples, wishes.cache, each) for each in framings})
    name = f"{wishes.backbone}-{fingerprint(samples)[:12]}"
    network, history, blends = _fit(weights, pictures, wishes.courses, wishes, name, ranks, teachers)
    trials = _try_outside(weights, samples, pictures, wishes, ranks) if wishes.trial_share > 0.0 else ()
    if not ranks.first:
        return
    network = network.to("cpu")
    spec = replace(SPEC, framing=wishes.courses[-1].framing)
    stored = _store(network, pictures[spec.framing], spec)
    finish_folder(
        Fitted(
            archive=archive,
            samples=samples,
            spec=stored.spec,
            shown=spec,
            model=stored.model,
            backbone=network.backbone,
            pooled=stored.pooled,
            dense=tuple(parameter.detach().numpy() for parameter in network.head),
            history=history,
            trials=trials,
            blends=blends,
            precisions=stored.tried,
            replay=stored.replay,
            command=" ".join(["python -m training", *sys.argv[1:]]),
            seed=wishes.seed,
            ingredients=(
                BACKBONES[wishes.backbone](weights).ingredient,
                *(teachers.ingredients if teachers else ()),
            ),
            teachers=teachers.names if teachers else (),
            draw_share=wishes.draw_share,
            for_patients=True,
        ),
        out=wishes.out,
        gate=wishes.gate,
        foreign=wishes.foreign,
        beside=wishes.beside,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """The network's file and what it eats, its features (n, K) of all pictures, the figures of every file tried."""

    model: bytes
    spec: InputSpec
    pooled: NDArray[np.float32]
    tried: tuple[Precision, ...]
    replay: Replay


def _store(network: ChestNet, pictures: Pictures, shown: InputSpec) -> _Stored:
    """The smallest file that measures the same on validation; the network was fitted on pictures ``shown`` so."""
    whole = export_onnx(network.backbone, torch.zeros(1, shown.channels, shown.height_px, shown.width_px))
    folded, spec = fold_grey(whole, shown)
    some = pictures.greys[pictures.train_rows[:: max(1, len(pictures.train_rows) // _SHOWN)]]
    files = {"float16": halve_weights(folded), "int8": quantise(folded, some, spec)}
    w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in network.head)

    def logits(features: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.maximum(features @ w1.T + b1, 0.0) @ w2.T + b2, dtype=np.float64)

    rows, threads = pictures.val_rows, torch.get_num_threads()
    tried = tuple(
        judge(name, file, pool(file, pictures.greys[rows], spec, threads), pictures.truth[rows], logits)
        for name, file in files.items()
    )
    small = is_equal(tried[1], tried[0])
    model = files["int8" if small else "float16"]
    pooled = pool(model, pictures.greys, spec, threads)
    return _Stored(model, spec, pooled, tried, INT8_REPLAY if small else FLOAT_REPLAY)


def _pictures(archive: Path, samples: tuple[Sample, ...], cache: Path, framing: Framing) -> Pictures:
    labels, sources = (sorted({getattr(each, name) for each in samples}) for name in ("label", "source"))
    splits = np.array([sample.split for sample in samples])
    return Pictures(
        greys=cache_pictures(archive, samples, replace(SPEC, framing=framing), folder=cache),
        truth=np.array([labels.index(sample.label) for sample in samples], dtype=np.int64),
        source=np.array([sources.index(sample.source) for sample in samples], dtype=np.int64),
        train_rows=np.flatnonzero(splits == "train"),
        val_rows=np.flatnonzero(splits == "val"),
    )


def _fit(
    weights: dict[str, torch.Tensor],
    pictures: dict[Framing, Pictures],
    courses: tuple[Course, ...],
    wishes: Wishes,
    name: str,
    ranks: Ranks,
    teachers: Teachers | None = None,
) -> tuple[ChestNet, tuple[Epoch, ...], tuple[Blend, ...]]:
    """The fitted network, its stages, and the blends that were tried on the way."""
    torch.manual_seed(wishes.seed)
    backbone = BACKBONES[wishes.backbone](weights)
    classes = int(pictures[courses[0].framing].truth.max()) + 1
    network = ChestNet(backbone.network, backbone.channels, classes, DROPOUT)
    history: tuple[Epoch, ...] = ()
    blends: tuple[Blend, ...] = ()
    done = ""
    for number, course in enumerate(courses, start=1):
        before: State = {key: value.clone() for key, value in network.state_dict().items()}
        # A course goes on from the one before it, so its file is named by all of them, a taught one by its teachers.
        asked = ",".join(teachers.names) if teachers and course.taught > 0.0 else ""
        done = hashlib.sha256(f"{done}{course.key}{asked}".encode()).hexdigest()[:12]
        checkpoint = wishes.cache / f"{name}-{done}.pt"
        history += fit_course(
            network, pictures[course.framing], course, SPEC, checkpoint=checkpoint, ranks=ranks, teachers=teachers
        )
        if course.blended:
            blends += choose_blend(network, before, number, pictures[course.framing], SPEC, ranks.device)
    return network, tuple(replace(each, number=number) for number, each in enumerate(history, start=1)), blends


def _try_outside(
    weights: dict[str, torch.Tensor],
    samples: tuple[Sample, ...],
    pictures: dict[Framing, Pictures],
    wishes: Wishes,
    ranks: Ranks,
) -> tuple[Trial, ...]:
    """The same courses with fewer draws, without the outside sources, judged on them.

    Without taught ones: the teachers have seen those sources.
    """
    kept = leave_out(samples)
    part = {
        framing: replace(each, train_rows=kept.train, val_rows=kept.validation) for framing, each in pictures.items()
    }
    labels = tuple(sorted({sample.label for sample in samples}))
    untaught = [course for course in wishes.courses if course.taught == 0.0]
    courses = tuple(_draw_less(course, wishes.trial_share) for course in untaught)
    network, _, _ = _fit(weights, part, courses, wishes, f"trial-{wishes.backbone}-{fingerprint(samples)[:12]}", ranks)
    last = pictures[untaught[-1].framing]
    judged = [_judge(network, last, rows, labels, ranks) for rows in (kept.validation, kept.outside)]
    left_out = ", without the taught one" if len(untaught) < len(wishes.courses) else ""
    return (Trial(f"the same courses{left_out} with {wishes.trial_share:.0%} of the draws", *judged),)


def _judge(
    network: ChestNet, pictures: Pictures, rows: NDArray[np.int64], labels: tuple[str, ...], ranks: Ranks
) -> Figures:
    logits = run_pictures(network, pictures.greys[rows], SPEC, SPEC.width_px, ranks.device)
    return measure(Cases.answered_all(pictures.truth[rows], softmax_rows(logits), labels))


def _draw_less(course: Course, share: float) -> Course:
    if share == 1.0:
        return course
    return replace(
        course, stages=tuple((side, max(course.batch, round(drawn * share))) for side, drawn in course.stages)
    )
