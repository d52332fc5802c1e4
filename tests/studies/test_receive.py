"""Files become study, series and instance, and three sealed forms; a held file is only kept."""

import hashlib
import io
from datetime import date
from typing import Any

import numpy as np
import pytest
from makers_imaging import dicom, encoded, gradient
from PIL import Image

from csss.foundation.errors import Unprocessable
from csss.imaging.archive import unpack
from csss.imaging.limits import Limits
from csss.imaging.refusals import FileTooLarge
from csss.imaging.sandbox import Sandbox
from csss.imaging.sniff import FileKind
from csss.patients import Patient
from csss.studies import receive
from csss.studies.receive import Held, Inspected, Upload
from csss.studies.tables import HeldFile, Instance
from pictures import picture_jpeg, picture_png
from sites import Site


@pytest.fixture
def inspect(sandbox: Sandbox) -> Any:
    def looked_at(data: bytes, name: str = "scan", **stated: str) -> tuple[Upload, Inspected]:
        upload = Upload(name, data, **stated)
        return upload, receive.inspect(upload, decode=sandbox.decode, limits=Limits())

    return looked_at


def record_of(site: Site) -> Patient:
    patient = site.person("patient").patient
    assert patient is not None
    return patient


@pytest.mark.parametrize(
    ("data", "kind"),
    [(picture_png(), FileKind.PNG), (picture_jpeg(), FileKind.JPEG), (dicom(), FileKind.DICOM)],
    ids=["png", "jpeg", "dicom"],
)
def test_a_file_is_decoded_into_the_forms_that_are_kept(inspect: Any, data: bytes, kind: FileKind) -> None:
    upload, inspected = inspect(data)
    assert (inspected.kind, inspected.file_sha256) == (kind, hashlib.sha256(data).hexdigest())
    assert np.array_equal(unpack(inspected.canonical).pixels, inspected.volume.pixels)
    preview = Image.open(io.BytesIO(inspected.preview_png))
    assert (preview.format, preview.size) == ("PNG", (inspected.volume.columns, inspected.volume.rows))
    assert upload.sha256 == inspected.file_sha256


def test_equal_pictures_have_equal_hashes_whatever_the_file(inspect: Any) -> None:
    pixels = gradient(20, 30)
    files = [
        encoded(pixels, "PNG"),
        encoded(pixels, "PNG", compress_level=0),
        dicom(pixels),
        dicom(pixels, "1.2.840.10008.1.2.5"),
    ]
    hashes = [inspect(data)[1].pixel_sha256 for data in files]
    assert len({hashlib.sha256(data).digest() for data in files}) == 4
    assert hashes == [hashes[0]] * 4
    assert inspect(encoded(pixels[::-1].copy(), "PNG"))[1].pixel_sha256 != hashes[0]


def test_the_size_is_looked_at_before_anything_is_decoded() -> None:
    def decode(*_: Any) -> Any:
        raise AssertionError("decoded")

    limits = Limits(raster_bytes=len(picture_png()) - 1)
    with pytest.raises(FileTooLarge):
        receive.inspect(Upload("scan.png", picture_png()), decode=decode, limits=limits)


@pytest.mark.parametrize("field", ["modality", "body_part"])
@pytest.mark.parametrize("value", ["", "XX", "dx", "CHEST "])
def test_a_statement_is_one_of_our_lists(field: str, value: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        receive.check_statement(Upload("scan.png", b"", **{field: value}))
    assert refused.value.code == f"bad-{field.replace('_', '-')}"


def test_every_statement_of_our_lists_is_taken() -> None:
    for modality in receive.STATABLE_MODALITIES:
        for body_part in receive.STATABLE_BODY_PARTS:
            receive.check_statement(Upload("scan.png", b"", modality=modality, body_part=body_part))


def test_a_plain_picture_is_a_study_of_one_instance_with_what_its_sender_stated(site: Site, inspect: Any) -> None:
    upload, inspected = inspect(picture_png(), modality="MR", body_part="HEART")
    with site.assembly.shop.work() as work:
        instance = receive.file_instance(work, record_of(site), upload, inspected)
    with site.assembly.shop.work() as work:
        row = work.session.get_one(Instance, instance.id)
        study = row.series.study
        assert (study.patient_id, study.modality, study.body_part) == (record_of(site).id, "MR", "HEART")
        assert (study.study_date, study.received_at, row.series.device) == (None, site.clock.now(), None)
        assert (row.kind, row.size_bytes, row.rows, row.columns) == ("PNG", len(upload.data), 40, 48)
        assert [uid.startswith("2.25.") for uid in (study.uid, row.series.uid, row.uid)] == [True] * 3
        assert work.blobs.get(row.original_blob) == upload.data
        assert work.blobs.get(row.canonical_blob) == inspected.canonical
        assert work.blobs.get(row.preview_blob) == inspected.preview_png


def test_a_dicom_file_keeps_what_it_says_about_itself(site: Site, inspect: Any) -> None:
    data = dicom(
        Modality="CR",
        BodyPartExamined="CHEST",
        StudyDate="20260105",
        AccessionNumber="A-17",
        Manufacturer="Maker",
        ManufacturerModelName="Model 3",
        InstitutionName="Somewhere",
        BurnedInAnnotation="YES",
        ImageLaterality="L",
        ViewPosition="PA",
    )
    # What the sender states does not count where the file speaks.
    upload, inspected = inspect(data, "scan.dcm", modality="MR", body_part="HEART")
    with site.assembly.shop.work() as work:
        instance = receive.file_instance(work, record_of(site), upload, inspected)
        series, study = instance.series, instance.series.study
        assert (study.modality, study.body_part, study.study_date) == ("CR", "CHEST", date(2026, 1, 5))
        assert (study.uid, series.uid, instance.uid) == ("2.25.2", "2.25.3", "2.25.1")
        assert (study.accession_number, study.institution) == ("A-17", "Somewhere")
        assert (series.device, series.laterality, series.view_position) == ("Maker Model 3", "L", "PA")
        assert (instance.kind, instance.burned_in) == ("DICOM", True)


def test_the_preview_carries_no_text_of_the_file(inspect: Any) -> None:
    word = "Ngozi^Okafor"
    _, inspected = inspect(dicom(PatientName=word, InstitutionName=word), "scan.dcm")
    chunks = Image.open(io.BytesIO(inspected.preview_png)).info
    assert (word.encode() in inspected.preview_png, chunks) == (False, {})


def test_a_held_file_is_kept_sealed_with_its_reason(site: Site) -> None:
    data = picture_png()[:200]
    reason = Held("The file is held back: " + "x" * 400, code="identity-mismatch")
    with site.assembly.shop.work() as work:
        held = receive.hold(work, record_of(site), Upload("a.png", data), reason, uploader_id=None)
    with site.assembly.shop.work() as work:
        row = work.session.get_one(HeldFile, held.id)
        assert (row.reason_code, row.size_bytes, len(row.reason)) == ("identity-mismatch", 200, 300)
        assert (row.file_sha256, work.blobs.get(row.blob)) == (hashlib.sha256(data).hexdigest(), data)
