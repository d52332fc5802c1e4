"""Read PNG and JPEG files strictly: structure first, then Pillow on a cleaned copy."""

import io
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
_GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")


def read_png(data: bytes, limits: Limits) -> Volume:
    """Return the picture of a PNG: shape (1, rows, columns[, 3]), uint8, or uint16 for 16-bit grey.

    Palettes become RGB, transparency is laid over black, 16-bit colour is reduced to 8 bits, EXIF
    orientation is applied. Raises FileTooLarge, DamagedFile, RefusedFile or BlankImage.
    """
    limits.check_size(FileKind.PNG, len(data))
    _, clean = check_png(data, limits)
    return _volume(decode_with_pillow(clean, FileKind.PNG), FileKind.PNG)


def read_jpeg(data: bytes, limits: Limits) -> Volume:
    """Return the picture of a JPEG (baseline, extended or progressive, 8 bits): uint8, grey or RGB.

    Bytes after the end marker are dropped; EXIF orientation is applied, since a picture shown on its side
    or mirrored could be read with the wrong laterality. Raises as ``read_png`` and UnsupportedFile.
    """
    limits.check_size(FileKind.JPEG, len(data))
    header = check_jpeg(data, max_scans=limits.jpeg_scans)
    check_jpeg_process(header)
    limits.check_pixels(FileKind.JPEG, rows=header.rows, columns=header.columns)
    return _volume(decode_with_pillow(data[: header.end], FileKind.JPEG), FileKind.JPEG)


def check_jpeg_process(header: JpegHeader) -> None:
    """Raise UnsupportedFile for the JPEG processes and depths that the 8-bit decoder does not know."""
    if header.process not in BASELINE_TO_PROGRESSIVE:
        raise UnsupportedFile("This kind of JPEG compression is not supported.", code="jpeg-process-unsupported")
    if header.bits != 8:
        raise UnsupportedFile("JPEG with 12 bits is not supported.", code="jpeg-depth-unsupported")


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
    except Exception as error:  # noqa: BLE001 - a foreign parser may raise anything
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
