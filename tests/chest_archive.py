"""A small made-up archive of chest pictures in the form that the trainers read."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from training.archive import Sample

LABELS = ("COVID", "Normal")


def make_archive(path: Path, *, sources: tuple[str, str] = ("west", "east"), stripes: bool = False) -> Path:
    """Noise, brighter for COVID; with ``stripes`` across it, so that its upper side is known from its left."""
    random = np.random.default_rng(1)
    names = tuple(Sample.__dataclass_fields__)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(48):
            label, split = LABELS[index % 2], ("train", "train", "val", "test")[index // 2 % 4]
            buffer = io.BytesIO()
            grey = random.integers(0, 120, (64, 64)) + (100 if label == "COVID" else 0)
            if stripes:
                grey = grey // 4 + 120 * (np.arange(64) % 16 < 5)[:, None]
            Image.fromarray(grey.astype(np.uint8)).save(buffer, "PNG")
            archive.writestr(f"{index}.png", buffer.getvalue())
            source = sources[1] if index % 3 else sources[0]
            writer.writerow((f"{index}.png", label, source, split, f"p{index}", "MIT", f"{index:064x}"))
        archive.writestr("manifest.csv", text.getvalue())
    return path
