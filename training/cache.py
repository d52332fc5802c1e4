"""Run the frozen lower blocks once over all pictures and keep what they give in a file, resumably."""

import hashlib
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from csss.inference.card import InputSpec
from csss.inference.prepare import prepare_grey
from training.archive import Sample, read_grey
from training.augment import vary
from training.export import INPUT, OUTPUT, export_onnx, open_exported

CACHE_SHAPE = (96, 14, 14)
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Cached:
    """Activations float16 (rows, 96, 14, 14) before block 14; ``picture[i]`` is the sample of row i.

    Row i < number of samples is the plain picture i; further rows are variants of training pictures.
    """

    activations: NDArray[np.float16]
    picture: NDArray[np.int64]


def cache_activations(
    data: Path,
    samples: tuple[Sample, ...],
    lower: nn.Module,
    spec: InputSpec,
    *,
    folder: Path,
    variants: int,
    seed: int,
) -> Cached:
    """What ``lower`` gives for every picture and for ``variants`` variants of each training picture.

    The file is named by everything it depends on and filled in order, so an interrupted run goes on
    where it stopped.
    """
    training = [index for index, sample in enumerate(samples) if sample.split == "train"]
    picture = np.array(list(range(len(samples))) + training * variants, dtype=np.int64)
    key = _key(samples, lower, spec, variants, seed)
    path, progress = folder / f"activations-{key}.npy", folder / f"activations-{key}.json"
    folder.mkdir(parents=True, exist_ok=True)
    done = int(json.loads(progress.read_text())["rows"]) if progress.exists() else 0
    shape = (len(picture), *CACHE_SHAPE)
    rows = np.lib.format.open_memmap(path, "r+" if done else "w+", np.float16, shape)
    example = torch.zeros(1, 3, spec.height_px, spec.width_px)
    session = open_exported(export_onnx(lower, example), torch.get_num_threads())
    with zipfile.ZipFile(data) as archive:
        for start in range(done, len(picture), _BATCH):
            part = range(start, min(start + _BATCH, len(picture)))
            rows[part.start : part.stop] = _run(archive, samples, session, spec, picture, part, seed)
            if start // _BATCH % 40 == 0 or part.stop == len(picture):
                rows.flush()
                progress.write_text(json.dumps({"rows": part.stop}))
                print(f"features {part.stop}/{len(picture)}", file=sys.stderr, flush=True)
    return Cached(rows, picture)


def pool_features(upper: nn.Module, activations: NDArray[np.floating]) -> NDArray[np.float32]:
    """GAP of what ``upper`` makes of each row of activations, float32 (n, channels)."""
    session = open_exported(export_onnx(upper, torch.zeros(1, *CACHE_SHAPE)), torch.get_num_threads())
    parts = []
    for start in range(0, len(activations), _BATCH):
        batch = np.asarray(activations[start : start + _BATCH], dtype=np.float32)
        parts.append(session.run([OUTPUT], {INPUT: batch})[0].mean(axis=(2, 3)))
    return np.concatenate(parts)


def _run(
    archive: zipfile.ZipFile,
    samples: tuple[Sample, ...],
    session: onnxruntime.InferenceSession,
    spec: InputSpec,
    picture: NDArray[np.int64],
    part: range,
    seed: int,
) -> NDArray[np.float16]:
    greys = [(row, read_grey(archive, samples[picture[row]])) for row in part]
    shown = [grey if row < len(samples) else vary(grey, np.random.default_rng((seed, row))) for row, grey in greys]
    batch = np.concatenate([prepare_grey(grey, spec) for grey in shown])
    (activations,) = session.run([OUTPUT], {INPUT: batch})
    return np.asarray(activations, dtype=np.float16)


def _key(samples: tuple[Sample, ...], lower: nn.Module, spec: InputSpec, variants: int, seed: int) -> str:
    digest = hashlib.sha256(repr((spec, variants, seed)).encode())
    digest.update("".join(sample.sha256 + sample.split for sample in samples).encode())
    for name, value in sorted(lower.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()[:16]
