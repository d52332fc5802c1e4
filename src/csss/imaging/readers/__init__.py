"""READERS: file kind -> the function that makes its bytes a Volume."""

from collections.abc import Callable

from csss.imaging.limits import Limits
from csss.imaging.readers import dicom, raster
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume

READERS: dict[FileKind, Callable[[bytes, Limits], Volume]] = {
    FileKind.PNG: raster.read_png,
    FileKind.JPEG: raster.read_jpeg,
    FileKind.DICOM: dicom.read_dicom,
}
