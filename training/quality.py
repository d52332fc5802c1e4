"""Count how often each quality check fires, on real pictures and on copies that are damaged on purpose."""

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from csss.imaging.quality import QualityCheck, QualityFinding, check_chest
from csss.inference.lungs import check_fields, estimate_lungs
from training.archive import read_grey, read_manifest

Grey = NDArray[np.uint8]

CHECKS = tuple(check for check in QualityCheck if check not in (QualityCheck.TURNED, QualityCheck.INVERTED))
ANY_FAULT = "any fault"
_SMALL_SIDE_PX = 64
_TILT_DEG = 15.0


def count_findings(pictures: Iterable[Grey]) -> dict[str, float]:
    """The share of pictures with each finding, and under ANY_FAULT with any fault. Raises ValueError for none."""
    found = [find(picture) for picture in pictures]
    if not found:
        raise ValueError("There is no picture to check.")
    shares = {check.value: sum(any(f.check is check for f in each) for each in found) / len(found) for check in CHECKS}
    return {**shares, ANY_FAULT: sum(any(f.fault for f in each) for each in found) / len(found)}


def find(picture: Grey) -> tuple[QualityFinding, ...]:
    """Every finding on a grey picture: of its pixels, and of where its lungs lie."""
    return check_chest(picture) + check_fields(estimate_lungs(picture))


def print_quality(data: Path, *, every: int) -> None:
    """Print a table: checks by splits and damages; of the validation split each ``every``th picture is damaged."""
    greys: dict[str, list[Grey]] = {"val": [], "test": []}
    with zipfile.ZipFile(data) as archive:
        for sample in read_manifest(data):
            if sample.split in greys:
                greys[sample.split].append(read_grey(archive, sample))
    columns = {f"{split} ({len(part)})": count_findings(part) for split, part in greys.items()}
    part = greys["val"][::every]
    for name, damage in DAMAGES.items():
        columns[f"{name} ({len(part)})"] = count_findings(damage(grey) for grey in part)
    rows = [check.value for check in CHECKS]
    print(f"| picture | {' | '.join((*rows, ANY_FAULT))} |\n{'|---' * (len(rows) + 2)}|")
    for name, shares in columns.items():
        print(f"| {name} | {' | '.join(f'{shares[row]:.1%}' for row in (*rows, ANY_FAULT))} |")


def _with_gamma(power: float) -> Callable[[Grey], Grey]:
    table = np.rint(255.0 * (np.arange(256) / 255.0) ** power).astype(np.uint8)
    return lambda grey: np.take(table, grey)


def _flatten(grey: Grey) -> Grey:
    flat: Grey = np.rint(grey * 0.1 + 110.0).astype(np.uint8)
    return flat


def _whiten_half(grey: Grey) -> Grey:
    half = grey.copy()
    half[:, grey.shape[1] // 2 :] = 255
    return half


def _cut_top(grey: Grey) -> Grey:
    return grey[3 * grey.shape[0] // 10 :]


def _cut_side(grey: Grey) -> Grey:
    return np.ascontiguousarray(grey[:, 3 * grey.shape[1] // 10 :])


def _blur(grey: Grey) -> Grey:
    return np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(grey.shape[0] / 40)))


def _shrink(grey: Grey) -> Grey:
    rows, columns = grey.shape
    scale = _SMALL_SIDE_PX / min(rows, columns)
    size = (round(columns * scale), round(rows * scale))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))


def _make_noise(grey: Grey) -> Grey:
    return np.random.default_rng(grey.size).integers(0, 256, grey.shape, dtype=np.uint8)


def _tilt(grey: Grey) -> Grey:
    return np.asarray(Image.fromarray(grey).rotate(-_TILT_DEG, Image.Resampling.BILINEAR))


def _recompress(grey: Grey) -> Grey:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file))


DAMAGES: dict[str, Callable[[Grey], Grey]] = {
    "gamma 0.2": _with_gamma(0.2),
    "gamma 5": _with_gamma(5.0),
    "contrast a tenth": _flatten,
    "half white": _whiten_half,
    "upper 30 % cut off": _cut_top,
    "left 30 % cut off": _cut_side,
    "tilted by 15 degrees": _tilt,
    "blurred": _blur,
    "64 px": _shrink,
    "noise": _make_noise,
    "JPEG quality 30": _recompress,
}
