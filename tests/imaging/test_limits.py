import pytest

from csss.foundation.errors import CsssError
from csss.imaging.limits import Limits
from csss.imaging.sniff import FileKind

LIMITS = Limits()


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(FileKind.PNG, 10_485_760), (FileKind.JPEG, 10_485_760), (FileKind.DICOM, 134_217_728)],
)
def test_check_size_accepts_the_limit_and_refuses_one_byte_more(kind: FileKind, limit: int) -> None:
    LIMITS.check_size(kind, limit - 1)
    LIMITS.check_size(kind, limit)
    with pytest.raises(CsssError) as refusal:
        LIMITS.check_size(kind, limit + 1)
    assert (refusal.value.status, refusal.value.code) == (413, "file-too-large")


@pytest.mark.parametrize(("rows", "columns", "frames"), [(40_000, 999, 1), (40_000, 1_000, 1), (65_535, 1, 1)])
def test_check_pixels_accepts_up_to_the_limit(rows: int, columns: int, frames: int) -> None:
    LIMITS.check_pixels(FileKind.PNG, rows=rows, columns=columns, frames=frames)


@pytest.mark.parametrize(
    ("rows", "columns", "frames", "status", "code"),
    [
        (40_000_001, 1, 1, 422, "impossible-size"),
        (40_000, 1_001, 1, 413, "too-many-pixels"),
        (20_000, 1_000, 3, 413, "too-many-pixels"),
        (0, 10, 1, 422, "zero-size"),
        (10, 0, 1, 422, "zero-size"),
        (65_536, 1, 1, 422, "impossible-size"),
        (2_000_000_000, 2_000_000_000, 1, 422, "impossible-size"),
    ],
)
def test_check_pixels_refuses_beyond(rows: int, columns: int, frames: int, status: int, code: str) -> None:
    with pytest.raises(CsssError) as refusal:
        LIMITS.check_pixels(FileKind.PNG, rows=rows, columns=columns, frames=frames)
    assert (refusal.value.status, refusal.value.code) == (status, code)
