"""Say what a file really is, by its bytes, and refuse a name that pretends something else."""

import re
from enum import StrEnum
from pathlib import PurePath
from typing import NoReturn

from csss.imaging.refusals import RefusedFile, UnsupportedFile

HEAD_BYTES = 512
"""As many leading bytes as ``sniff`` wants to see."""


class FileKind(StrEnum):
    """The file formats that have a reader."""

    PNG = "PNG"
    JPEG = "JPEG"
    DICOM = "DICOM"


EXTENSIONS: dict[FileKind, frozenset[str]] = {
    FileKind.PNG: frozenset({".png"}),
    FileKind.JPEG: frozenset({".jpg", ".jpeg", ".jpe", ".jfif"}),
    FileKind.DICOM: frozenset({".dcm", ".dicom", ".dic", ".ima"}),
}
_KNOWN_EXTENSIONS = frozenset().union(*EXTENSIONS.values()) | {
    ".avi", ".bmp", ".csv", ".doc", ".docx", ".exe", ".gif", ".gz", ".heic", ".htm", ".html", ".jp2", ".js",
    ".json", ".mp4", ".nii", ".pdf", ".svg", ".tif", ".tiff", ".txt", ".webp", ".xml", ".zip",
}  # fmt: skip

_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (0, b"II+\x00", "a TIFF image"),
    (0, b"MM\x00+", "a TIFF image"),
    (0, b"GIF87a", "a GIF image"),
    (0, b"GIF89a", "a GIF image"),
    (0, b"BM", "a BMP image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x1f\x8b", "a gzip file (compressed NIfTI is not read yet)"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image outside DICOM"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image outside DICOM"),
    (4, b"ftyp", "a video or HEIF image"),
    (8, b"WEBP", "a WebP image"),
    (8, b"AVI ", "an AVI video (not read yet)"),
    (344, b"n+1\x00", "a NIfTI volume (not read yet)"),
    (344, b"ni1\x00", "a NIfTI volume (not read yet)"),
    (4, b"n+2\x00", "a NIfTI volume (not read yet)"),
)
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_BARE_DICOM = re.compile(
    rb"[\x02\x08]\x00[\x00-\xff]\x00(?:UL|OB|UI|CS|SH|LO|DA|TM|[\x00-\x40]\x00\x00\x00)", re.DOTALL
)
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}\Z")


def sniff(head: bytes, filename: str | None) -> FileKind:
    """Return the kind of the file from its first bytes (``HEAD_BYTES`` are enough).

    ``filename`` is what the sender called it, or None. Raises UnsupportedFile with the code
    ``unsupported-type`` (and what the bytes look like) or ``extension-mismatch``, and RefusedFile with
    ``dicom-preamble-missing`` for a DICOM data set without the file header of PS3.10 section 7.1: without
    it nothing tells DICOM from arbitrary bytes.
    """
    kind = _kind_of(head)
    if kind is None:
        _refuse(head)
    extension = _extension_of(filename)
    wrong = extension in _KNOWN_EXTENSIONS if kind is FileKind.DICOM else extension != ""
    if wrong and extension not in EXTENSIONS[kind]:
        raise UnsupportedFile(
            f"The file is called *{extension} but its content is {kind}. Rename it or send the right file.",
            code="extension-mismatch",
            facts={"extension": extension, "content": str(kind)},
        )
    return kind


def _kind_of(head: bytes) -> FileKind | None:
    # DICOM comes first: its preamble of 128 bytes may imitate any other format (PS3.10 section 7.1).
    if head[128:132] == b"DICM":
        return FileKind.DICOM
    if head.startswith(_PNG):
        return FileKind.PNG
    if head.startswith(_JPEG):
        return FileKind.JPEG
    return None


def _refuse(head: bytes) -> NoReturn:
    if _BARE_DICOM.match(head):
        raise RefusedFile(
            "The file looks like DICOM without the file header (preamble and 'DICM'). "
            "Export it again as a DICOM Part 10 file.",
            code="dicom-preamble-missing",
        )
    looks = describe(head)
    raise UnsupportedFile(
        f"CSSS reads PNG, JPEG and DICOM files. This one looks like {looks}.", facts={"looks_like": looks}
    )


def describe(head: bytes) -> str:
    """Return in plain words what bytes that CSSS does not read look like."""
    if not head:
        return "an empty file"
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return name
    return _describe_text(head[:HEAD_BYTES])


def _describe_text(head: bytes) -> str:
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return "unknown binary data"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "an SVG drawing"
    if start.startswith((b"<html", b"<!doctype html", b"<script")):
        return "an HTML page"
    if start.startswith((b"<?xml", b"<")):
        return "an XML document"
    return "text" if len(head) > 1 and head.isascii() else "unknown data"


def _extension_of(filename: str | None) -> str:
    if not filename:
        return ""
    match = _EXTENSION.search(PurePath(filename.replace("\\", "/")).name)
    return match.group(0).lower() if match else ""
