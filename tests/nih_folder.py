"""A made-up folder in the layout of NIH ChestX-ray14: drawn chests with two findings that can both be present."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from csss.imaging.phantom import phantom_chest

LABELS = ("Effusion", "Mass")
COMBINATIONS = ("No Finding", "Effusion", "Mass", "Effusion|Mass")
TITLES = (
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)


def draw_chest(seed: int, label: str, *, side_px: int = 160) -> np.ndarray:
    """A drawn chest uint8; Effusion is a bright band below, Mass a bright disc above."""
    grey = phantom_chest(seed, size=(side_px, side_px)).astype(np.int64)
    rows, columns = np.mgrid[:side_px, :side_px] / side_px
    if "Effusion" in label:
        grey[(rows > 0.75) & (columns < 0.45)] += 120
    if "Mass" in label:
        grey[(rows - 0.3) ** 2 + (columns - 0.7) ** 2 < 0.015] += 120
    return np.clip(grey, 0, 255).astype(np.uint8)


def make_nih(root: Path, *, patients: int = 48) -> Path:
    """``root`` with two pictures of each patient; every fourth patient is on the test list.

    All four combinations are equally frequent on both lists.
    """
    folder = root / "images_001" / "images"
    folder.mkdir(parents=True)
    table, lists = [], {"train_val_list.txt": [], "test_list.txt": []}
    for patient in range(patients):
        for number in range(2):
            name = f"{patient + 1:08d}_{number:03d}.png"
            label = COMBINATIONS[(patient // 4 + patient + number) % 4]
            buffer = io.BytesIO()
            Image.fromarray(draw_chest(2 * patient + number, label)).save(buffer, "PNG")
            (folder / name).write_bytes(buffer.getvalue())
            table.append((name, label, number, patient + 1, 40 + patient, "FM"[patient % 2], "PA"))
            lists["test_list.txt" if patient % 4 == 3 else "train_val_list.txt"].append(name)
    with (root / "Data_Entry_2017_v2020.csv").open("w", newline="") as file:
        csv.writer(file).writerows([tuple(TITLES), *table])
    for name, rows in lists.items():
        (root / name).write_text("\n".join(rows) + "\n")
    return root
