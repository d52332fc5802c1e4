"""A folder and a zip seen alike: the names of their files and the bytes of one."""

import zipfile
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from training.datasets.problems import UnreadableDataset

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".dcm", ".dicom", ".dic", ".ima"})
_MASK_FOLDERS = frozenset({"mask", "masks"})


class Files:
    """The files below a folder or in a zip, by their path with forward slashes; a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises UnreadableDataset where ``path`` is neither a folder nor a zip."""
        self._root = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            return
        if not zipfile.is_zipfile(path):
            found = "a file that is no zip" if path.exists() else "nothing"
            raise UnreadableDataset(f"{path} should be a folder or a zip; there is {found}.")
        self._zip = zipfile.ZipFile(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.close()

    def names(self) -> list[str]:
        """Every file in sorted order, without what operating systems leave behind (hidden files, __MACOSX)."""
        if self._zip is not None:
            found = [entry.filename for entry in self._zip.infolist() if not entry.is_dir()]
        else:
            found = [path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file()]
        return sorted(name for name in found if not _is_leftover(name))

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises KeyError, OSError, BadZipFile."""
        return self._zip.read(name) if self._zip is not None else (self._root / name).read_bytes()


def is_picture(name: str) -> bool:
    """Whether the name ends as pictures do."""
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


def is_mask_name(name: str) -> bool:
    """Whether the path says that this is a segmentation mask: in a folder ``mask(s)`` or named ``..._mask``."""
    path = PurePosixPath(name)
    words = path.stem.lower().replace("-", "_").split("_")
    return bool(_MASK_FOLDERS & {part.lower() for part in path.parts[:-1]}) or words[-1] in _MASK_FOLDERS


def _is_leftover(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
