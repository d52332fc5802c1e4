"""Makers of good and bad image files, built in code so that no test needs a picture from anywhere."""

import io
import struct
import zlib
from typing import Any

import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".1.99", ".2"))
RLE, JPEG, JPEG_LS, JPEG_2000 = (f"1.2.840.10008.1.2.{tail}" for tail in ("5", "4.50", "4.80", "4.90"))
LITTLE = (IMPLICIT, EXPLICIT, DEFLATED)


def gradient(rows: int = 24, columns: int = 16, dtype: Any = np.uint8, *, noise: int = 0) -> NDArray[Any]:
    """A picture in which no two neighbours are equal and no row repeats."""
    top = np.iinfo(dtype).max if noise == 0 else noise
    values = np.random.default_rng(rows * columns).integers(0, top, (rows, columns), endpoint=True)
    return values.astype(dtype)


def volume(**changes: Any) -> Volume:
    """A small grey Volume; every field can be given."""
    return Volume(**{"pixels": gradient()[np.newaxis], "kind": FileKind.PNG, **changes})


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    columns: int = 8,
    rows: int = 8,
    *,
    bits: int = 8,
    colour: int = 0,
    extra: bytes = b"",
    data: bytes | None = None,
    interlace: int = 0,
) -> bytes:
    """A PNG from its parts: ``data`` is the compressed image data, ``extra`` whole chunks before it."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if data is None:
        line = (columns * bits * channels + 7) // 8
        random = np.random.default_rng(0)
        data = zlib.compress(b"".join(b"\0" + random.bytes(line) for _ in range(rows)))
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, interlace)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(size_bytes: int) -> bytes:
    """A zlib stream that inflates to so many zeros."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size_bytes >> 20)]
    return b"".join([*parts, packer.compress(bytes(size_bytes & 0xFFFFF)), packer.flush()])


def encoded(array: NDArray[Any], form: str, **options: Any) -> bytes:
    """The array as a file that Pillow writes."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def animated_png() -> bytes:
    frames = [Image.fromarray(gradient(8, 8)), Image.fromarray(gradient(8, 8)[::-1].copy())]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


def jpeg_with_sides(rows: int, columns: int) -> bytes:
    """A JPEG whose frame header says another size than its data has."""
    good = encoded(gradient(), "JPEG")
    at = good.index(b"\xff\xc0")
    return good[: at + 5] + struct.pack(">HH", rows, columns) + good[at + 9 :]


def jpeg_with_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has so many."""
    good = encoded(gradient(), "JPEG", progressive=True)
    last = good.rfind(b"\xff\xda")
    return good[:-2] + good[last:-2] * (scans - good.count(b"\xff\xda")) + b"\xff\xd9"


def image_dataset(pixels: NDArray[Any], **changes: Any) -> Dataset:
    """A data set with an Image Pixel module that fits the array; changes set or (None) remove elements."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE, "2.25.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.2", "2.25.3"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P1", "DOE^JANE", "DX"
    bits = 8 * pixels.dtype.itemsize
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def dicom_bytes(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, *, preamble: bytes = bytes(128)) -> bytes:
    """A DICOM file of the data set, whose pixel data is already coded as the syntax says."""
    if UID(syntax).is_encapsulated:
        dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 and syntax in LITTLE else "OB"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = dataset.SOPClassUID, UID(syntax)
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset.file_meta = meta
    dataset.preamble = preamble
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def dicom(pixels: NDArray[Any] | None = None, syntax: str = EXPLICIT, **changes: Any) -> bytes:
    """A good DICOM file in any transfer syntax that CSSS reads; grey 8-bit noise unless told otherwise."""
    array = gradient() if pixels is None else pixels
    if syntax == BIG_ENDIAN and array.dtype.itemsize == 2:
        dataset = image_dataset(array, **changes)
        dataset.PixelData = array.astype(array.dtype.newbyteorder(">")).tobytes()
        return dicom_bytes(dataset, syntax)
    if syntax in (*LITTLE, BIG_ENDIAN):
        return dicom_bytes(image_dataset(array, **changes), syntax)
    if "PixelData" not in changes:
        changes["PixelData"] = encapsulate([frame_in(array, syntax)])
    return dicom_bytes(image_dataset(array, **changes), syntax)


def frame_in(array: NDArray[Any], syntax: str) -> bytes:
    """One compressed frame."""
    if syntax == JPEG:
        return encoded(array, "JPEG", quality=95)
    if syntax == JPEG_LS:
        return bytes(jpeg_ls.encode_array(array))
    if syntax == JPEG_2000:
        return encoded(array, "JPEG2000", no_jp2=True, num_resolutions=2)
    return rle(array)


def rle(array: NDArray[Any]) -> bytes:
    """A DICOM RLE frame of literal runs only (PS3.5 annex G), most significant byte plane first."""
    planes = array.reshape(*array.shape, 1).view(np.uint8)[..., ::-1]
    segments = []
    for plane in range(planes.shape[-1]):
        coded = b""
        for row in planes[..., plane]:
            coded += bytes([len(row) - 1]) + row.tobytes()
        segments.append(coded + b"\0" * (len(coded) % 2))
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def nested_dicom(depth: int) -> bytes:
    """A good file with sequences of undefined length, one in the other, before its pixels."""
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    good = dicom()
    at = good.index(b"\x10\x00\x10\x00PN")
    return good[:at] + opening * depth + closing * depth + good[at:]
