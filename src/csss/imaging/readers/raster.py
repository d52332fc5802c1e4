"""Read PNG and JPEG files strictly: structure first, then Pillow on a cleaned copy."""

import io
import re
import warnings

import numpy as np
from PIL import Image, ImageFile, ImageOps

from csss.imaging.limits import Limits, check_not_blank
from csss.imaging.readers.jpeg_structure import JpegHeader, check_jpeg
from csss.imaging.readers.png_structure import check_png
from csss.imaging.refusals import DamagedFile, UnsupportedFile
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Pixels, Volume

BASELINE_TO_PROGRESSIVE = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = 0xC2
_FILLED = 128
_FILLER = bytes((37 * number * number + 11 * number) % 251 for number in range(1024))
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")


def read_png(data: bytes, limits: Limits) -> Volume:
    """Return the picture of a PNG: shape (1, rows, columns[, 3]), uint8, or uint16 for 16-bit grey.

    Palettes become RGB, transparency is laid over black, 16-bit colour is reduced to 8 bits, EXIF
    orientation is applied. Raises FileTooLarge, DamagedFile, RefusedFile or BlankImage.
    """
    limits.check_size(FileKind.PNG, len(data))
    header, clean = check_png(data, limits)
    pixels = decode_with_pillow(clean, FileKind.PNG)
    if header.is_grey and pixels.ndim == 3:
        # Pillow has no grey mode for 16 bits with transparency and answers with three equal channels.
        pixels = pixels[..., 0]
    return _volume(pixels, FileKind.PNG)


def read_jpeg(data: bytes, limits: Limits) -> Volume:
    """Return the picture of a JPEG (baseline, extended or progressive, 8 bits): uint8, grey or RGB.

    Bytes after the end marker are dropped; EXIF orientation is applied, since a picture shown on its side
    or mirrored could be read with the wrong laterality. Raises as ``read_png`` and UnsupportedFile.
    """
    limits.check_size(FileKind.JPEG, len(data))
    header = check_jpeg(data, max_scans=limits.jpeg_scans)
    check_jpeg_process(header)
    limits.check_pixels(FileKind.JPEG, rows=header.rows, columns=header.columns)
    return _volume(decode_jpeg(data, header), FileKind.JPEG)


def check_jpeg_process(header: JpegHeader) -> None:
    """Raise UnsupportedFile for the JPEG processes and depths that the 8-bit decoder does not know."""
    if header.process not in BASELINE_TO_PROGRESSIVE:
        raise UnsupportedFile("This kind of JPEG compression is not supported.", code="jpeg-process-unsupported")
    if header.bits != 8:
        raise UnsupportedFile("JPEG with 12 bits is not supported.", code="jpeg-depth-unsupported")


def decode_jpeg(data: bytes, header: JpegHeader) -> Pixels:
    """Return the pixels of a walked JPEG; raises DamagedFile (``truncated``) when its last scan is cut.

    A scan that was cut and closed with an end marker decodes without an error: libjpeg fills the rest with
    grey. Such a scan reads on into bytes put behind it, and a whole one does not, so a second decode tells.
    """
    pixels = decode_with_pillow(data[: header.end], FileKind.JPEG)
    if header.process == _PROGRESSIVE or _has_grey_corner(pixels):
        longer = data[: header.scan_end] + _continuation(data, header) + data[header.scan_end : header.end]
        if not np.array_equal(decode_with_pillow(longer, FileKind.JPEG), pixels):
            raise DamagedFile("The JPEG stream ends too early.", code="truncated")
    return pixels


def _continuation(data: bytes, header: JpegHeader) -> bytes:
    # Where the scan has restart markers the next ones are needed too: a scan may be cut right before one.
    restarts = _RESTART.findall(data, header.scan_start, header.scan_end)
    expected = (restarts[-1][1] - 0xD0 + 1) % 8 if restarts else 0
    return b"".join(_FILLER + bytes([0xFF, 0xD0 + (expected + number) % 8]) for number in range(8)) + _FILLER


def _has_grey_corner(pixels: Pixels) -> bool:
    # The filled part reaches the last corner, wherever EXIF orientation has turned it.
    corners = pixels[:: max(1, len(pixels) - 1), :: max(1, pixels.shape[1] - 1)].astype(int)
    distance = np.abs(corners.reshape(-1, 1 if pixels.ndim == 2 else 3) - _FILLED)
    return bool((distance <= 1).all(axis=1).any())


def decode_with_pillow(data: bytes, kind: FileKind) -> Pixels:
    """Return (rows, columns[, 3]) pixels; the one boundary around Pillow: any failure is DamagedFile."""
    # A process-wide switch of Pillow: set here so that no other import can have loosened it.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # The declared size was checked against our own limit; Pillow's is a third of it.
            Image.MAX_IMAGE_PIXELS = None
            with Image.open(io.BytesIO(data), formats=[kind.value]) as image:
                image.load()
                return _to_array(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except Exception as error:
        raise DamagedFile(f"The {kind} file is damaged and cannot be decoded.", code="damaged-file") from error


def _to_array(image: Image.Image) -> Pixels:
    if image.mode in _GREY_16:
        return np.asarray(image).astype("<u2", copy=False)
    if image.mode == "I":
        return np.asarray(image).clip(0, 65535).astype("<u2")
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return _over_black(image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image)


def _over_black(image: Image.Image) -> Pixels:
    grey = image.mode in ("L", "LA")
    opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
    opaque.alpha_composite(image.convert("RGBA"))
    return np.asarray(opaque.convert("L" if grey else "RGB"))


def _volume(pixels: Pixels, kind: FileKind) -> Volume:
    check_not_blank(float(pixels.min()), float(pixels.max()))
    return Volume(pixels=pixels[np.newaxis], kind=kind)
