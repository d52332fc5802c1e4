import pytest

from csss.imaging.refusals import RefusedFile, UnsupportedFile
from csss.imaging.sniff import HEAD_BYTES, FileKind, sniff
from imaging.makers_imaging import dicom, encoded, gradient, png

JPEG_FILE = encoded(gradient(), "JPEG")


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (png(), "a.png", FileKind.PNG),
        (png(), "A.PNG", FileKind.PNG),
        (png(), None, FileKind.PNG),
        (png(), "scan", FileKind.PNG),
        (png(), "C:\\scans\\a.png", FileKind.PNG),
        (JPEG_FILE, "a.jpg", FileKind.JPEG),
        (JPEG_FILE, "a.JPEG", FileKind.JPEG),
        (dicom(), "a.dcm", FileKind.DICOM),
        (dicom(), "a.DICOM", FileKind.DICOM),
        (dicom(), "IM000001", FileKind.DICOM),
        (dicom(), "1.2.840.113619.2", FileKind.DICOM),
    ],
)
def test_sniff_names_the_kind(data: bytes, name: str | None, kind: FileKind) -> None:
    assert sniff(data[:HEAD_BYTES], name) is kind


@pytest.mark.parametrize(
    ("head", "looks_like"),
    [
        (encoded(gradient(), "TIFF"), "a TIFF image"),
        (encoded(gradient(), "GIF"), "a GIF image"),
        (encoded(gradient(), "BMP"), "a BMP image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "an SVG drawing"),
        (b"<html><script>alert(1)</script>", "an HTML page"),
        (b"<!DOCTYPE html>", "an HTML page"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"\x1f\x8b\x08\0", "a gzip file (compressed NIfTI is not read yet)"),
        (bytes(344) + b"n+1\0", "a NIfTI volume (not read yet)"),
        (b"\x7fELF\x02\x01", "a program"),
        (b"The patient was seen today.", "text"),
        (b"", "an empty file"),
        (b"\x89", "unknown data"),
        (bytes(200), "unknown binary data"),
    ],
)
def test_sniff_refuses_other_kinds_by_what_they_are(head: bytes, looks_like: str) -> None:
    with pytest.raises(UnsupportedFile) as refusal:
        sniff(head[:HEAD_BYTES], "scan.png")
    assert (refusal.value.status, refusal.value.code) == (415, "unsupported-type")
    assert refusal.value.facts == {"looks_like": looks_like}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (png(), "a.jpg"),
        (png(), "a.png.exe"),
        (png(), "a.dcm"),
        (JPEG_FILE, "a.png"),
        (dicom(), "a.png"),
        (dicom(), "a.PDF"),
        (png().ljust(128)[:128] + dicom()[128:], "a.png"),
    ],
)
def test_sniff_refuses_a_name_that_pretends(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFile) as refusal:
        sniff(data[:HEAD_BYTES], name)
    assert (refusal.value.status, refusal.value.code) == (415, "extension-mismatch")


def test_sniff_refuses_dicom_without_its_file_header() -> None:
    with pytest.raises(RefusedFile) as refusal:
        sniff(dicom()[132:], "a.dcm")
    assert (refusal.value.status, refusal.value.code) == (422, "dicom-preamble-missing")
