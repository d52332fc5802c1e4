"""The golden case: one picture and the exact answer that the model gave when it was made."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from csss.inference.card import CardError
from csss.inference.prediction import Prediction

_NAMES = ("pixels", "label", "labels", "probabilities", "heat")


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """``pixels`` uint8 (rows, columns); ``probabilities`` float64 (C,); ``heat`` float32 (h, w) or (0, 0)."""

    pixels: NDArray[np.uint8]
    label: str
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    heat: NDArray[np.float32]

    def volume(self) -> Volume:
        """The picture as serving would decode it from a PNG file."""
        return Volume(pixels=self.pixels[None], kind=FileKind.PNG)


def keep_golden(pixels: NDArray[np.uint8], prediction: Prediction) -> Golden:
    """The golden case of a picture uint8 (rows, columns) and what the model said about it."""
    return Golden(
        pixels=pixels,
        label=prediction.label,
        labels=tuple(name for name, _ in prediction.probabilities),
        probabilities=np.array([value for _, value in prediction.probabilities]),
        heat=np.zeros((0, 0), np.float32) if prediction.heat is None else prediction.heat,
    )


def write_golden(golden: Golden) -> bytes:
    """The bytes of golden.npz for ``golden``."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        pixels=golden.pixels,
        label=np.array(golden.label),
        labels=np.array(golden.labels),
        probabilities=golden.probabilities,
        heat=golden.heat,
    )
    return buffer.getvalue()


def read_golden(data: bytes) -> Golden:
    """The golden case held by the bytes of golden.npz. Raises CardError ``golden-unreadable``."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _NAMES}
    except Exception as error:  # the one boundary around numpy's archive parser
        raise CardError("The golden case cannot be read.", code="golden-unreadable") from error
    if arrays["pixels"].dtype != np.uint8 or arrays["pixels"].ndim != 2 or arrays["pixels"].size == 0:
        raise CardError("The golden case holds no picture.", code="golden-unreadable")
    return Golden(
        pixels=arrays["pixels"],
        label=str(arrays["label"]),
        labels=tuple(str(name) for name in arrays["labels"]),
        probabilities=arrays["probabilities"],
        heat=arrays["heat"],
    )
