"""`Dataset`: the samples of one folder or zip, and `Pictures`, the way to their pixels."""

import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from csss.imaging.refusals import DamagedFile
from training.archive import Sample, decode_grey
from training.datasets.files import Files


class Layout(StrEnum):
    """The forms of data that have a reader."""

    MANIFEST = "manifest"
    CLASS_FOLDERS = "class-folders"
    COVID19_RADIOGRAPHY = "covid19-radiography"
    KERMANY = "kermany"
    NIH14 = "nih14"
    CAD_CARDIAC = "cad-cardiac"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled pictures of one folder or zip; ``notes`` say what the reader left out or could not know."""

    path: Path
    layout: Layout
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that occurs, sorted."""
        return tuple(sorted({label for sample in self.samples for label in sample.labels}))

    @property
    def is_multi_label(self) -> bool:
        """Whether some picture has several labels."""
        return any(len(sample.labels) > 1 for sample in self.samples)

    def counts(self) -> Counter[str]:
        """How many pictures have each label."""
        return Counter(label for sample in self.samples for label in sample.labels)

    def pictures(self) -> "Pictures":
        """The way to the pixels; use it as a context manager."""
        return Pictures(self.path)


class Pictures:
    """The files of a dataset by sample, from its folder or zip; opened once, closed by ``with``."""

    def __init__(self, path: Path) -> None:
        self._files = Files(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def read_bytes(self, sample: Sample) -> bytes:
        """The file of the sample as it lies there. Raises DamagedFile when it is gone or its zip entry is broken."""
        try:
            return self._files.read(sample.file)
        except (KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise DamagedFile(f"The file {sample.file} cannot be read.") from error

    def read_grey(self, sample: Sample) -> NDArray[np.uint8]:
        """The picture uint8 (rows, columns) exactly as serving decodes and shows it. Raises CsssError."""
        return decode_grey(self.read_bytes(sample), sample.file)
