import io
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits
from csss.imaging.readers import READERS
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume
from imaging.makers_imaging import (
    animated_png,
    chunk,
    encoded,
    gradient,
    jpeg_with_scans,
    jpeg_with_sides,
    png,
    zeros,
)

GREY = gradient(20, 30)
COLOUR = np.dstack([gradient(20, 30), gradient(20, 30)[::-1], gradient(20, 30)[:, ::-1]])
DEEP = gradient(20, 30, np.uint16)
JPEG_FILE = encoded(GREY, "JPEG")


def read(data: bytes, kind: FileKind, limits: Limits | None = None) -> Volume:
    return READERS[kind](data, limits or Limits())


def refusal_of(data: bytes, kind: FileKind, limits: Limits | None = None) -> tuple[int, str]:
    with pytest.raises(CsssError) as refusal:
        read(data, kind, limits)
    return refusal.value.status, refusal.value.code


@pytest.mark.parametrize("array", [GREY, COLOUR, DEEP])
def test_png_keeps_every_value(array: Any) -> None:
    picture = read(encoded(array, "PNG"), FileKind.PNG)
    assert np.array_equal(picture.pixels, array[np.newaxis])
    assert (picture.pixels.dtype, picture.kind, picture.identity) == (array.dtype, FileKind.PNG, None)


@pytest.mark.parametrize(("colour", "depths"), [(0, (1, 2, 4, 8, 16)), (2, (8, 16)), (4, (8, 16)), (6, (8, 16))])
def test_png_of_every_form_is_read(colour: int, depths: tuple[int, ...]) -> None:
    for bits in depths:
        picture = read(png(13, 9, bits=bits, colour=colour), FileKind.PNG)
        assert picture.pixels.shape == ((1, 9, 13, 3) if colour in (2, 6) else (1, 9, 13))
        assert picture.pixels.dtype == (np.uint16 if (colour, bits) == (0, 16) else np.uint8)


def test_png_palette_becomes_colour() -> None:
    palette = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    file = io.BytesIO()
    palette.save(file, "PNG")
    expected = [[[10, 20, 30], [40, 50, 60], [70, 80, 90]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]]
    assert read(file.getvalue(), FileKind.PNG).pixels[0].tolist() == expected


def test_png_transparency_is_laid_over_black() -> None:
    array = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)
    assert read(encoded(array, "PNG"), FileKind.PNG).pixels[0].tolist() == [[[200, 100, 50], [0, 0, 0]]]


def test_png_interlaced_is_read_and_its_data_is_counted() -> None:
    # Rows and columns of the seven passes of a 9 x 9 picture (PNG specification, section 8).
    passes = [(2, 2), (2, 1), (1, 3), (3, 2), (2, 5), (5, 4), (4, 9)]
    raw = b"".join((b"\0" + bytes(range(columns))) * rows for rows, columns in passes)
    assert read(png(9, 9, interlace=1, data=zlib.compress(raw)), FileKind.PNG).pixels.shape == (1, 9, 9)
    assert refusal_of(png(9, 9, interlace=1, data=zlib.compress(raw[:-1])), FileKind.PNG) == (422, "damaged-png")


@pytest.mark.parametrize("kind", [FileKind.PNG, FileKind.JPEG])
def test_exif_orientation_is_applied(kind: FileKind) -> None:
    array = np.zeros((16, 32), np.uint8)
    array[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read(encoded(array, kind.value, exif=exif), kind).pixels[0]
    assert picture.shape == (32, 16)
    assert (picture[4, 8] > 200, picture[28, 8] < 50) == (True, True)


@pytest.mark.parametrize("array", [GREY, COLOUR])
def test_jpeg_equals_what_was_encoded_within_its_loss(array: Any) -> None:
    smooth = np.asarray(Image.fromarray(array[:4, :4]).resize((64, 48), Image.Resampling.BICUBIC))
    picture = read(encoded(smooth, "JPEG", quality=98, subsampling=0), FileKind.JPEG)
    assert picture.pixels.shape == (1, *smooth.shape)
    assert np.abs(picture.pixels[0].astype(int) - smooth).max() <= 12


def test_jpeg_tail_and_comment_do_not_change_the_picture() -> None:
    comment = b"<script>alert(1)</script>"
    polyglot = JPEG_FILE[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + JPEG_FILE[2:]
    expected = read(JPEG_FILE, FileKind.JPEG).pixels
    for data in (polyglot, JPEG_FILE + b"PK\x03\x04" + bytes(200), JPEG_FILE + b"\xff\xd8\xff"):
        assert np.array_equal(read(data, FileKind.JPEG).pixels, expected)


def test_jpeg_whose_orientation_cannot_be_read_is_refused() -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0"
    data = JPEG_FILE[:2] + b"\xff\xe1" + (2 + len(broken)).to_bytes(2, "big") + broken + JPEG_FILE[2:]
    assert refusal_of(data, FileKind.JPEG) == (422, "damaged-file")


def test_jpeg_with_restart_markers_is_read() -> None:
    array = gradient(64, 64)
    data = encoded(array, "JPEG", restart_marker_blocks=1)
    assert data.count(b"\xff\xd0") > 1
    assert read(data, FileKind.JPEG).pixels.shape == (1, 64, 64)


PNG_CASES = {
    "bomb": (png(12_000, 12_000, colour=2, data=zeros(1 << 20)), 413, "too-many-pixels"),
    "huge": (png(2_000_000_000, 2_000_000_000, data=zeros(100)), 422, "impossible-size"),
    "zero": (png(0, 0, data=zlib.compress(b"")), 422, "zero-size"),
    "ztxt bomb": (png(extra=chunk(b"zTXt", b"c\0\0" + zeros(20 << 20))), 422, "metadata-too-large"),
    "iccp bomb": (png(extra=chunk(b"iCCP", b"c\0\0" + zeros(20 << 20))), 422, "metadata-too-large"),
    "itxt bomb": (png(extra=chunk(b"iTXt", b"c\0\1\0en\0c\0" + zeros(20 << 20))), 422, "metadata-too-large"),
    "long text": (png(extra=chunk(b"tEXt", b"c\0" + bytes(1 << 20))), 422, "metadata-too-large"),
    "bad text": (png(extra=chunk(b"zTXt", b"c\0\0rubbish")), 422, "damaged-png"),
    "bad crc": (png()[:-30] + bytes(30), 422, "bad-checksum"),
    "animated": (animated_png(), 422, "animated-image"),
    "no end": (png()[:-12], 422, "truncated"),
    "short data": (png(data=zlib.compress(b"\0" * (8 * 9 - 1))), 422, "damaged-png"),
    "long data": (png(data=zlib.compress(bytes(8 * 9 + 1))), 422, "damaged-png"),
    "data bomb": (png(data=zeros(50 << 20)), 422, "damaged-png"),
    "cut stream": (png(data=zlib.compress(gradient(8, 9).tobytes())[:-6]), 422, "truncated"),
    "bad filter": (png(data=zlib.compress((b"\x09" + bytes(range(8))) * 8)), 422, "damaged-file"),
    "two headers": (png(extra=png()[8:33]), 422, "damaged-png"),
    "no header": (png()[:8] + png()[33:], 422, "damaged-png"),
    "unknown critical": (png(extra=chunk(b"ABCD", b"x")), 422, "damaged-png"),
    "odd depth": (png(bits=3, data=zeros(100)), 422, "damaged-png"),
    "blank": (png(data=zlib.compress(bytes(8 * 9))), 422, "blank-image"),
    "signature only": (png()[:8], 422, "truncated"),
}


@pytest.mark.parametrize("case", PNG_CASES)
def test_png_refusals(case: str) -> None:
    data, status, code = PNG_CASES[case]
    assert refusal_of(data, FileKind.PNG) == (status, code)


def frame_changed_to(marker: bytes) -> bytes:
    return JPEG_FILE.replace(b"\xff\xc0", marker, 1)


JPEG_CASES = {
    "half": (JPEG_FILE[: len(JPEG_FILE) // 2], 422, "truncated"),
    "huge sides": (jpeg_with_sides(65_500, 65_500), 413, "too-many-pixels"),
    "zero rows": (jpeg_with_sides(0, 16), 422, "zero-size"),
    "scan bomb": (jpeg_with_scans(101), 422, "too-many-scans"),
    "lossless": (frame_changed_to(b"\xff\xc3"), 415, "jpeg-process-unsupported"),
    "arithmetic": (frame_changed_to(b"\xff\xc9"), 415, "jpeg-process-unsupported"),
    "twelve bits": (JPEG_FILE.replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc0\x00\x0b\x0c"), 415, "jpeg-depth-unsupported"),
    "no frame": (frame_changed_to(b"\xff\xe5"), 422, "damaged-jpeg"),
    "no scan": (JPEG_FILE[: JPEG_FILE.index(b"\xff\xda")] + b"\xff\xd9", 422, "damaged-jpeg"),
    "empty scan": (JPEG_FILE[: JPEG_FILE.index(b"\xff\xda") + 10] + b"\xff\xd9", 422, "damaged-jpeg"),
    "late height": (JPEG_FILE[:-2] + b"\xff\xdc\x00\x04\x00\x10\xff\xd9", 422, "jpeg-late-height"),
    "rubbish": (b"\xff\xd8\xff" + bytes(100), 422, "damaged-jpeg"),
    "fill only": (b"\xff\xd8" + b"\xff" * 100_000, 422, "truncated"),
    "blank": (encoded(np.full((16, 16), 90, np.uint8), "JPEG"), 422, "blank-image"),
    "no tables": (JPEG_FILE.replace(b"\xff\xdb", b"\xff\xe9"), 422, "damaged-file"),
}


@pytest.mark.parametrize("case", JPEG_CASES)
def test_jpeg_refusals(case: str) -> None:
    data, status, code = JPEG_CASES[case]
    assert refusal_of(data, FileKind.JPEG) == (status, code)


def test_jpeg_scans_at_the_limit_are_accepted() -> None:
    assert read(jpeg_with_scans(100), FileKind.JPEG).pixels.shape == (1, 24, 16)


@pytest.mark.parametrize("kind", [FileKind.PNG, FileKind.JPEG])
def test_raster_pixels_at_the_limit_are_accepted_and_one_more_is_not(kind: FileKind) -> None:
    data = encoded(GREY, kind.value)
    assert read(data, kind, Limits(raster_pixels=600)).pixels.shape == (1, 20, 30)
    assert refusal_of(data, kind, Limits(raster_pixels=599)) == (413, "too-many-pixels")


@pytest.mark.parametrize("kind", [FileKind.PNG, FileKind.JPEG])
def test_raster_bytes_at_the_limit_are_accepted_and_one_more_is_not(kind: FileKind) -> None:
    data = encoded(GREY, kind.value)
    assert read(data, kind, Limits(raster_bytes=len(data))).pixels.shape == (1, 20, 30)
    assert refusal_of(data, kind, Limits(raster_bytes=len(data) - 1)) == (413, "file-too-large")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encoded(GREY, "PNG"), FileKind.PNG),
        (encoded(COLOUR, "PNG"), FileKind.PNG),
        (JPEG_FILE, FileKind.JPEG),
        (encoded(COLOUR, "JPEG"), FileKind.JPEG),
        (encoded(COLOUR, "JPEG", progressive=True), FileKind.JPEG),
    ],
)
def test_raster_truncated_anywhere_is_refused(data: bytes, kind: FileKind) -> None:
    for end in np.linspace(3, len(data) - 1, 100).astype(int):
        status, _ = refusal_of(data[:end], kind)
        assert status == 422


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("array", [gradient(64, 48), np.dstack([gradient(64, 48)] * 3)])
def test_jpeg_cut_and_closed_again_is_refused(options: dict[str, Any], array: Any) -> None:
    data = encoded(array, "JPEG", **options)
    start = data.rfind(b"\xff\xda") + 14
    assert read(data, FileKind.JPEG).rows == 64
    for end in np.linspace(start + 2, start + 0.9 * (len(data) - start), 40).astype(int):
        assert refusal_of(data[:end].rstrip(b"\xff") + b"\xff\xd9", FileKind.JPEG) == (422, "truncated")


def test_jpeg_with_a_grey_corner_of_its_own_is_read() -> None:
    array = gradient(64, 48)
    array[-24:, -24:] = 128
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 2}):
        picture = read(encoded(array, "JPEG", **options), FileKind.JPEG)
        assert picture.pixels[0, -1, -1] == 128


def test_png_with_any_flipped_byte_is_refused_or_shows_the_same_picture() -> None:
    good = encoded(GREY, "PNG")
    for position in range(8, len(good)):
        wrong = good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :]
        assert refusal_of(wrong, FileKind.PNG)[0] in (413, 422)


def test_reading_a_picture_does_not_load_what_only_dicom_needs() -> None:
    data = png(8, 8)
    script = (
        "import sys; from csss.imaging.limits import Limits; from csss.imaging.readers import READERS\n"
        "from csss.imaging.sniff import FileKind\n"
        "volume = READERS[FileKind.PNG](sys.stdin.buffer.read(), Limits())\n"
        "print(volume.pixels.shape, sorted({'pydicom', 'openjpeg', 'jpeg_ls'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "(1, 8, 8) []"
