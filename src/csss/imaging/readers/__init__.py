"""READERS: file kind -> the function that makes its bytes a Volume."""

from collections.abc import Callable

from csss.imaging.limits import Limits
from csss.imaging.readers import raster
from csss.imaging.sniff import FileKind
from csss.imaging.volume import Volume


def _read_dicom(data: bytes, limits: Limits) -> Volume:
    # pydicom and its decoders are slow to import and large: only those who read DICOM files wait for them.
    from csss.imaging.readers.dicom import read_dicom

    return read_dicom(data, limits)


READERS: dict[FileKind, Callable[[bytes, Limits], Volume]] = {
    FileKind.PNG: raster.read_png,
    FileKind.JPEG: raster.read_jpeg,
    FileKind.DICOM: _read_dicom,
}
