import io

import numpy as np
import pytest
from pydicom import dcmread

from csss.imaging.limits import Limits
from csss.imaging.phantom import Finding, phantom_chest, phantom_dicom, phantom_png
from csss.imaging.readers import READERS
from csss.imaging.sniff import FileKind, sniff
from csss.imaging.volume import SourceIdentity

SIZE = (256, 256)


def test_phantom_is_the_same_for_the_same_seed_only() -> None:
    first = phantom_chest(1, size=SIZE)
    assert np.array_equal(first, phantom_chest(1, size=SIZE))
    assert not np.array_equal(first, phantom_chest(2, size=SIZE))


@pytest.mark.parametrize("finding", list(Finding))
def test_phantom_has_dark_lungs_and_a_bright_middle(finding: Finding) -> None:
    picture = phantom_chest(5, size=(300, 240), finding=finding).astype(float)
    assert picture.shape == (300, 240)
    lungs = np.median(picture[90:170, 45:80]), np.median(picture[90:170, 165:195])
    assert np.median(picture[90:170, 113:127]) > max(lungs) + 60


def test_phantom_findings_brighten_the_lungs() -> None:
    clear, spot, haze = (phantom_chest(5, size=SIZE, finding=each).astype(float)[60:190] for each in Finding)
    assert (haze - clear)[:, 40:110].mean() > 10
    assert np.percentile(np.abs(spot - clear), 99) > 40


def test_phantom_is_marked_in_its_pixels() -> None:
    marked = phantom_chest(1, size=(512, 512))
    for top, bottom, left, right in ((0, 40, 100, 412), (475, 512, 180, 330), (355, 380, 5, 90), (355, 380, 420, 507)):
        word = marked[top:bottom, left:right]
        assert ((word == 255).sum() > 60, (word == 0).sum() > 60) == (True, True)


def test_phantom_png_is_read_back() -> None:
    data = phantom_png(3, size=SIZE, finding="opacity")
    assert sniff(data, "phantom.png") is FileKind.PNG
    picture = READERS[FileKind.PNG](data, Limits())
    assert np.array_equal(picture.pixels[0], phantom_chest(3, size=SIZE, finding="opacity"))


def test_phantom_dicom_is_read_back() -> None:
    data = phantom_dicom(
        3, patient_id="P7", patient_name="ÖZ^ANNA", birth_date="1970-12-31", sex="F", accession_number="A7", size=SIZE
    )
    assert sniff(data, "phantom.dcm") is FileKind.DICOM
    picture = READERS[FileKind.DICOM](data, Limits())
    assert np.array_equal(picture.pixels[0], phantom_chest(3, size=SIZE).astype(np.uint16) << 4)
    assert picture.identity == SourceIdentity("P7", "ÖZ^ANNA", "1970-12-31", "F")
    assert (picture.modality, picture.body_part, picture.view_position) == ("DX", "CHEST", "PA")
    assert (picture.spacing_mm, picture.window, picture.burned_in) == ((1.5625, 1.5625), (2048.0, 4096.0), True)
    assert (picture.acquisition.study_date, picture.acquisition.accession_number) == ("2026-01-15", "A7")


def test_phantom_dicom_has_fixed_and_distinct_uids() -> None:
    def uids(seed: int) -> tuple[str, str, str]:
        read = dcmread(io.BytesIO(phantom_dicom(seed, patient_id="P", patient_name="N", size=(64, 64))))
        return read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID

    assert uids(1) == uids(1)
    assert len({*uids(1), *uids(2)}) == 6
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids(1))
