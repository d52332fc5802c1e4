"""Look at every picture once: hashes, levels, borders, a small copy and its spectrum, in two processes at most."""

import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csss.foundation.errors import CsssError
from training.archive import Sample, decode_grey
from training.datasets import Dataset, Pictures

THUMB_PX = 48
SPECTRUM_BANDS = 24
HISTOGRAM_BINS = 16
_SPECTRUM_PX = 224
_CHUNK = 200
_SMOOTH = Image.Resampling.BILINEAR
_LEVEL_BINS = 64
_BORDER_SPREAD = 3.0
_CORNER_SHARE = 0.18
_SHARP_STEP = 110


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is kept of one readable picture.

    ``two_level_share`` is the share of pixels at the two commonest of 64 grey levels (with their neighbours) and
    ``second_share`` that of the lesser of the two; ``border_share`` the part of the area taken by constant rows and
    columns at the edges; ``mark_share`` the part of the corners with steps as sharp as burned-in text has.
    """

    file_sha256: bytes
    pixel_sha256: bytes
    rows: int
    columns: int
    levels: int
    two_level_share: float
    second_share: float
    border_share: float
    mark_share: float
    thumb: NDArray[np.uint8]
    spectrum: NDArray[np.float32]
    histogram: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that the product refuses: its sample and why."""

    sample: Sample
    reason: str


@dataclass(frozen=True, slots=True)
class Looked:
    """The readable samples with their looks, in the same order, and the broken ones."""

    samples: tuple[Sample, ...]
    looks: tuple[Look, ...]
    broken: tuple[Broken, ...]


def look_at_all(dataset: Dataset, *, jobs: int = 2) -> Looked:
    """Decode every picture of the dataset once; progress goes to stderr."""
    samples, looks, broken = [], [], []
    chunks = [dataset.samples[start : start + _CHUNK] for start in range(0, len(dataset.samples), _CHUNK)]
    done = 0
    for chunk, results in zip(chunks, _results(dataset.path, chunks, jobs), strict=True):
        for sample, result in zip(chunk, results, strict=True):
            if isinstance(result, str):
                broken.append(Broken(sample, result))
            else:
                samples.append(sample)
                looks.append(result)
        done += len(chunk)
        print(f"pictures {done}/{len(dataset.samples)}", file=sys.stderr, flush=True)
    return Looked(tuple(samples), tuple(looks), tuple(broken))


def _results(path: Path, chunks: list[tuple[Sample, ...]], jobs: int) -> Iterator[list[Look | str]]:
    if jobs == 1 or len(chunks) == 1:
        yield from (_look_at_chunk(path, chunk) for chunk in chunks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_look_at_chunk, [path] * len(chunks), chunks)


def _look_at_chunk(path: Path, chunk: tuple[Sample, ...]) -> list[Look | str]:
    with Pictures(path) as pictures:
        return [_look_or_reason(pictures, sample) for sample in chunk]


def _look_or_reason(pictures: Pictures, sample: Sample) -> Look | str:
    try:
        data = pictures.read_bytes(sample)
        return look_at(data, decode_grey(data, sample.file))
    except CsssError as error:
        return f"{error.code}: {error.message}"


def look_at(data: bytes, grey: NDArray[np.uint8]) -> Look:
    """The look of one picture, uint8 (rows, columns), decoded from ``data``."""
    counts = np.bincount(grey.ravel(), minlength=256)
    two_level, second = _two_levels(grey, counts)
    picture = Image.fromarray(grey)
    thumb = picture.resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX if min(grey.shape) > THUMB_PX else _SMOOTH)
    shape = np.array(grey.shape, dtype=np.int64).tobytes()
    return Look(
        file_sha256=hashlib.sha256(data).digest(),
        pixel_sha256=hashlib.sha256(shape + grey.tobytes()).digest(),
        rows=grey.shape[0],
        columns=grey.shape[1],
        levels=int(np.count_nonzero(counts)),
        two_level_share=two_level,
        second_share=second,
        border_share=_border_share(grey),
        mark_share=_mark_share(grey),
        thumb=np.asarray(thumb),
        spectrum=_spectrum(picture),
        histogram=(counts.reshape(HISTOGRAM_BINS, -1).sum(axis=1) / grey.size).astype(np.float32),
    )


def _two_levels(grey: NDArray[np.uint8], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Shares of the two commonest levels together and of the lesser one, on the picture's own range."""
    lowest, highest = int(grey.min()), int(grey.max())
    bins = (np.arange(256) - lowest) * _LEVEL_BINS // (highest - lowest + 1)
    inside = slice(lowest, highest + 1)
    levels = np.bincount(bins[inside], weights=counts[inside], minlength=_LEVEL_BINS) / grey.size
    # A mask kept as JPEG rings around its two levels: a level counts with its neighbours.
    first, first_share = _commonest(levels)
    levels[max(first - 1, 0) : first + 2] = 0.0
    _, second_share = _commonest(levels)
    return first_share + second_share, min(first_share, second_share)


def _commonest(levels: NDArray[np.float64]) -> tuple[int, float]:
    with_neighbours = np.convolve(levels, np.ones(3), mode="same")
    place = int(with_neighbours.argmax())
    return place, float(with_neighbours[place])


def _border_share(grey: NDArray[np.uint8]) -> float:
    inner = 1.0
    for spreads in (grey.std(axis=1), grey.std(axis=0)):
        varied = np.flatnonzero(spreads >= _BORDER_SPREAD)
        inner *= (varied[-1] - varied[0] + 1) / len(spreads) if len(varied) else 0.0
    return 1.0 - inner


def _mark_share(grey: NDArray[np.uint8]) -> float:
    rows, columns = (max(2, round(side * _CORNER_SHARE)) for side in grey.shape)
    shares = []
    for corner in (grey[:rows, :columns], grey[:rows, -columns:], grey[-rows:, :columns], grey[-rows:, -columns:]):
        steps = np.abs(np.diff(corner.astype(np.int16), axis=1))
        shares.append(float((steps > _SHARP_STEP).mean()))
    return max(shares)


def _spectrum(picture: Image.Image) -> NDArray[np.float32]:
    """log10 of the mean power in rings of spatial frequency, after removing mean and scale: float32 (bands,)."""
    values = np.asarray(picture.resize((_SPECTRUM_PX, _SPECTRUM_PX), _SMOOTH), dtype=np.float32)
    values = (values - values.mean()) / (values.std() + 1e-3)
    window = np.hanning(_SPECTRUM_PX).astype(np.float32)
    power = np.abs(np.fft.rfft2(values * window[:, None] * window[None, :])) ** 2
    ring, size = _RINGS
    sums = np.bincount(ring, weights=power.ravel(), minlength=SPECTRUM_BANDS + 1)[:SPECTRUM_BANDS]
    return np.log10(sums / size + 1e-6).astype(np.float32)


def _make_rings() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    radius = np.hypot(np.fft.fftfreq(_SPECTRUM_PX)[:, None], np.fft.rfftfreq(_SPECTRUM_PX)[None, :])
    ring = np.minimum((radius * 2 * SPECTRUM_BANDS).astype(np.int64), SPECTRUM_BANDS).ravel()
    return ring, np.bincount(ring, minlength=SPECTRUM_BANDS + 1)[:SPECTRUM_BANDS]


_RINGS = _make_rings()
