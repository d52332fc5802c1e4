"""Turn the pixel data of a walked DICOM file into an array, with the codec that its transfer syntax names."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from csss.imaging.limits import Limits
from csss.imaging.readers.dicom_walk import Layout
from csss.imaging.readers.jpeg2000_structure import check_codestream, unwrap_jp2
from csss.imaging.readers.jpeg_structure import check_jpeg
from csss.imaging.readers.raster import check_jpeg_process, decode_jpeg
from csss.imaging.refusals import DamagedFile, RefusedFile, UnsupportedFile
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Pixels

_NATIVE = frozenset(f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".1.99", ".2"))
_JPEG = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in (50, 51))
_JPEG_LS = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in (80, 81))
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in (90, 91, 201, 202, 203))
_RLE = frozenset({"1.2.840.10008.1.2.5"})
# pylibjpeg's own JPEG plugin is GPL and opens memory bombs: each codec names the one plugin that may run.
_PLUGINS = {"pillow": _JPEG, "pyjpegls": _JPEG_LS, "pylibjpeg": _JPEG_2000, "pydicom": _RLE}
_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_SAMPLES = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PixelModule:
    """The checked Image Pixel module (PS3.3 C.7.6.3) of a single-frame object."""

    keyword: str
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: int | None

    @property
    def native_bytes(self) -> int:
        """Size of all frames uncompressed, in bytes; frames of single bits follow without a gap."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return (self.rows * self.columns * samples * self.bits_allocated * self.frames + 7) // 8


def read_pixel_module(dataset: Dataset, layout: Layout, limits: Limits) -> PixelModule:
    """Return the Image Pixel module, once it agrees with itself, the limits and the bytes that are there.

    Raises DamagedFile, FileTooLarge, RefusedFile (``no-pixel-data``) or UnsupportedFile
    (``multi-frame-not-supported-yet``, ``transfer-syntax-unsupported``, ``bits-unsupported`` ...).
    """
    if layout.pixel_tag is None or "Rows" not in dataset or "Columns" not in dataset:
        raise RefusedFile("The DICOM file holds no picture.", code="no-pixel-data")
    keyword = _KEYWORDS[layout.pixel_tag]
    allocated = _integer(dataset, "BitsAllocated")
    module = PixelModule(
        keyword=keyword,
        rows=_integer(dataset, "Rows"),
        columns=_integer(dataset, "Columns"),
        frames=_integer(dataset, "NumberOfFrames", default=1),
        samples=_integer(dataset, "SamplesPerPixel", default=1),
        bits_allocated=allocated,
        bits_stored=_integer(dataset, "BitsStored", default=allocated),
        signed=_integer(dataset, "PixelRepresentation", default=0) == 1,
        photometric=str(dataset.get("PhotometricInterpretation", "")).strip().upper(),
        planar=_integer(dataset, "PlanarConfiguration", default=0),
    )
    _check_samples(module, high_bit=_integer(dataset, "HighBit", default=module.bits_stored - 1))
    _check_size(module, layout, limits)
    return module


def _integer(dataset: Dataset, keyword: str, *, default: int | None = None) -> int:
    value = dataset.get(keyword)
    if value is None or value == "":
        if default is None:
            raise DamagedFile(f"The DICOM file lacks {keyword}.", code="damaged-dicom")
        return default
    if not isinstance(value, int):
        raise DamagedFile(f"The DICOM file has an impossible {keyword}.", code="damaged-dicom")
    return int(value)


def _check_samples(module: PixelModule, *, high_bit: int) -> None:
    if module.samples != _SAMPLES.get(module.photometric):
        raise UnsupportedFile("This kind of DICOM colour is not supported.", code="photometric-unsupported")
    floating = module.keyword != "PixelData"
    if floating != (module.bits_allocated == 64) and not (floating and module.bits_allocated == 32):
        raise UnsupportedFile("This DICOM pixel depth is not supported.", code="bits-unsupported")
    if module.bits_allocated not in (1, 8, 16, 32, 64):
        raise UnsupportedFile("This DICOM pixel depth is not supported.", code="bits-unsupported")
    if floating:
        return
    if not 1 <= module.bits_stored <= module.bits_allocated or high_bit != module.bits_stored - 1:
        raise DamagedFile("The DICOM pixel depths contradict each other.", code="bits-inconsistent")


def _check_size(module: PixelModule, layout: Layout, limits: Limits) -> None:
    frames = module.frames
    if frames < 1 or frames > limits.dicom_frames:
        raise RefusedFile(f"CSSS accepts 1 to {limits.dicom_frames} frames.", code="too-many-frames")
    if not layout.encapsulated and module.rows and module.columns:
        start, end = layout.pixels[0]
        # One byte more is the padding to an even length (PS3.5 section 8.1.1).
        if not module.native_bytes <= end - start <= module.native_bytes + 1:
            raise DamagedFile("The DICOM file holds other pixels than it declares.", code="pixel-data-length")
    limits.check_pixels(FileKind.DICOM, rows=module.rows, columns=module.columns, frames=frames)
    if frames > 1:
        raise UnsupportedFile(
            "DICOM files with several frames are not supported yet.", code="multi-frame-not-supported-yet"
        )


def decode_pixels(module: PixelModule, layout: Layout) -> Pixels:
    """Return the stored values: (rows, columns), or (rows, columns, 3) as RGB; nothing is rescaled.

    The codestream's own header is compared with the module before a codec may allocate anything.
    """
    syntax = layout.transfer_syntax
    plugin = next((name for name, syntaxes in _PLUGINS.items() if syntax in syntaxes), "")
    if not plugin and syntax not in _NATIVE:
        raise UnsupportedFile(
            "This kind of DICOM compression is not supported. Export the picture uncompressed.",
            code="transfer-syntax-unsupported",
            facts={"transfer_syntax": syntax},
        )
    if layout.encapsulated != bool(plugin):
        raise DamagedFile("The DICOM pixels are not coded as the file says.", code="damaged-dicom")
    source = b"".join(layout.data[start:end] for start, end in layout.pixels)
    if plugin:
        source = encapsulate([_checked_frame(module, syntax, source)])
    return _decode(module, layout, source, plugin=plugin)


def _checked_frame(module: PixelModule, syntax: str, frame: bytes) -> bytes:
    if syntax in _RLE:
        return frame
    if syntax in _JPEG_2000:
        frame = unwrap_jp2(frame)
        codestream = check_codestream(frame)
        _compare(module, codestream.rows, codestream.columns, codestream.components, codestream.bits)
        return frame
    header = check_jpeg(frame, max_scans=Limits().jpeg_scans)
    if syntax in _JPEG:
        check_jpeg_process(header)
    elif header.process != 0xF7:
        raise DamagedFile("The DICOM pixels are not coded as the file says.", code="damaged-dicom")
    _compare(module, header.rows, header.columns, header.components, header.bits)
    if syntax in _JPEG:
        decode_jpeg(frame, header)
    return frame[: header.end]


def _compare(module: PixelModule, rows: int, columns: int, components: int, bits: int) -> None:
    if (rows, columns, components) != (module.rows, module.columns, module.samples):
        raise DamagedFile("The compressed picture has another size than the DICOM file declares.", code="size-mismatch")
    if bits > module.bits_allocated:
        raise DamagedFile("The DICOM pixel depths contradict each other.", code="bits-inconsistent")


def _decode(module: PixelModule, layout: Layout, source: bytes, *, plugin: str) -> Pixels:
    # Any: pydicom declares the type of these keywords as one dictionary instead of their values.
    options: dict[str, Any] = {
        "rows": module.rows,
        "columns": module.columns,
        "number_of_frames": 1,
        "samples_per_pixel": module.samples,
        "bits_allocated": module.bits_allocated,
        "bits_stored": module.bits_stored,
        "photometric_interpretation": module.photometric,
        "pixel_representation": int(module.signed),
        "planar_configuration": module.planar,
        "pixel_keyword": module.keyword,
        "pixel_vr": layout.pixel_vr or "OW",
    }
    decoder = get_decoder(UID(layout.transfer_syntax))
    array, _ = decoder.as_array(source, index=0, raw=False, decoding_plugin=plugin, **options)
    expected = (module.rows, module.columns) if module.samples == 1 else (module.rows, module.columns, 3)
    if array.shape != expected:
        raise DamagedFile("The decoded picture has another size than declared.", code="size-mismatch")
    return np.asarray(array)
