"""How large a file and its picture may be before CSSS refuses to decode it."""

from dataclasses import dataclass

from csss.imaging.refusals import BlankImage, DamagedFile, FileTooLarge
from csss.imaging.sniff import FileKind

MIB = 1024 * 1024
MAX_SIDE = 65_535


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one decode; a value equal to the limit is accepted, one more is refused.

    Sizes are in bytes, pictures in pixels (rows x columns x frames, whatever the number of colours).
    A deflated DICOM object may inflate to ``dicom_bytes`` and no further.
    """

    raster_bytes: int = 10 * MIB
    raster_pixels: int = 40_000_000
    raster_metadata_bytes: int = 1 * MIB
    jpeg_scans: int = 100
    dicom_bytes: int = 128 * MIB
    dicom_pixels: int = 64 * MIB
    dicom_frames: int = 2_000
    dicom_depth: int = 64
    dicom_elements: int = 100_000

    def max_bytes(self, kind: FileKind) -> int:
        """Largest accepted file of this kind, in bytes."""
        return self.dicom_bytes if kind is FileKind.DICOM else self.raster_bytes

    def max_pixels(self, kind: FileKind) -> int:
        """Largest accepted picture of this kind, in pixels."""
        return self.dicom_pixels if kind is FileKind.DICOM else self.raster_pixels

    def check_size(self, kind: FileKind, size_bytes: int) -> None:
        """Raise FileTooLarge when a file of this kind has too many bytes."""
        limit = self.max_bytes(kind)
        if size_bytes > limit:
            raise FileTooLarge(
                f"The file is larger than the {limit // MIB} MB that CSSS accepts for {kind}.",
                facts={"limit_bytes": limit},
            )

    def check_pixels(self, kind: FileKind, *, rows: int, columns: int, frames: int = 1) -> None:
        """Raise DamagedFile for impossible sides, FileTooLarge (too-many-pixels) above the limit."""
        if rows < 1 or columns < 1:
            raise DamagedFile("The image declares a size of zero.", code="zero-size")
        if rows > MAX_SIDE or columns > MAX_SIDE:
            raise DamagedFile("The image declares an impossible size.", code="impossible-size")
        limit = self.max_pixels(kind)
        if rows * columns * frames > limit:
            raise FileTooLarge(
                f"The image has more pixels than the {limit // 1_000_000} million that CSSS accepts.",
                code="too-many-pixels",
                facts={"limit_pixels": limit},
            )


def check_not_blank(lowest: float, highest: float) -> None:
    """Raise BlankImage when the extreme pixel values are equal: nothing can be read from such a picture."""
    if lowest == highest:
        raise BlankImage("Every pixel of the image has the same value: there is nothing to read.")
