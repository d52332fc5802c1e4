"""Makes report content, pictures and a signing identity for the tests of reports."""

import dataclasses
import functools
import io
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from csss.reports.content import (
    AiFacts,
    LabelProbability,
    PatientFacts,
    PrescribedItem,
    PrescriptionFacts,
    ReadingFacts,
    ReportContent,
    ScanFacts,
    SignOffFact,
    SignOffStep,
    content_sha256,
)
from csss.reports.render import render_archive
from csss.reports.seal import SigningIdentity, make_site_identity, seal_copy, sign_archive

ISSUED_AT = datetime(2026, 11, 20, 9, 45, 7, 123456, tzinfo=UTC)  # real clocks have microseconds
PASSWORD = "bcdfg-hjkmn-23456"
BERLIN_WINTER = timezone(timedelta(hours=1))
PEOPLE = (
    (SignOffStep.VERIFIED, "staff-1", "Dr. Ada Brandt", "Doctor"),
    (SignOffStep.COMPLETED, "staff-2", "Jonas Weiß", "Pharmacist"),
    (SignOffStep.APPROVED, "staff-3", "Mirela Popović", "Administrator"),
)


def make_ai(**changes: Any) -> AiFacts:
    facts = AiFacts(
        model="chest-mobilenetv2",
        version="1.0.0",
        model_sha256="c4" * 32,
        label="Lung_Opacity",
        top_label="Lung_Opacity",
        confidence=0.8123,
        probabilities=(
            LabelProbability("COVID", 0.0311),
            LabelProbability("Lung_Opacity", 0.8123),
            LabelProbability("NIH_MERGED", 0.0702),
            LabelProbability("Normal", 0.0564),
            LabelProbability("Viral_Pneumonia", 0.03),
        ),
        tau=0.75,
        uncertain=False,
        risk="Moderate",
        regions=("right lower lobe", "left middle zone"),
        heat='what speaks for "Lung opacity" rather than for "Normal"',
    )
    return dataclasses.replace(facts, **changes)


def make_content(*, signed: bool = True, **changes: Any) -> ReportContent:
    """Return the content of a report, signed by three people as it then is, unless ``signed`` is False."""
    content = ReportContent(
        report_id="R-2026-000123",
        version=1,
        revision=0,
        hospital_name="Lindenhof Hospital",
        issued_at=ISSUED_AT,
        patient=PatientFacts(
            name="Erika Musterfrau",
            record_number="P-004711",
            birth_date=date(1968, 2, 29),
            sex="Female",
            blood_group="A Rh positive",
            allergies="Penicillin (rash)",
            contact="+49 30 5550 0123",
        ),
        scan=ScanFacts(
            scan_id="01933f6e-0000-7000-8000-000000000001",
            accession_number="A-2026-0042",
            modality="Digital radiography (DX)",
            body_part="Chest",
            kind="Chest radiograph, PA",
            received_at=datetime(2026, 11, 20, 9, 2, tzinfo=BERLIN_WINTER),
            file_sha256="a7" * 32,
            acquired_on=date(2026, 11, 19),
            device="Multix Impact",
        ),
        ai=make_ai(),
        reading=ReadingFacts(
            conclusion="Opacity in the right lower lobe, in keeping with pneumonia",
            notes="Heart size normal. Patchy opacity in the right lower zone, no effusion.\nNo pneumothorax.",
            agrees_with_ai=True,
            recommendations="Follow-up radiograph in six weeks.",
        ),
        prescription=PrescriptionFacts(
            allergy_check="Checked against penicillin allergy; no interaction found.",
            items=(
                PrescribedItem(
                    "Doxycycline", "100 mg", "by mouth", "twice a day", "7 days", "with food and water, sitting upright"
                ),
                PrescribedItem("Paracetamol", "500 mg", "by mouth", "as needed", "5 days", "at most 4 times a day"),
            ),
        ),
    )
    content = dataclasses.replace(content, **changes)
    return sign(content) if signed else content


def sign(content: ReportContent) -> ReportContent:
    sign_offs = tuple(
        SignOffFact(
            step, person_id, name, role, content.issued_at - timedelta(minutes=left), content_sha256(content, step)
        )
        for left, (step, person_id, name, role) in zip((30, 20, 10), PEOPLE, strict=True)
    )
    return dataclasses.replace(content, sign_offs=sign_offs)


def with_notes(notes: str) -> ReportContent:
    content = make_content(signed=False)
    return sign(dataclasses.replace(content, reading=dataclasses.replace(content.reading, notes=notes)))


def with_name(name: str) -> ReportContent:
    content = make_content(signed=False)
    return sign(dataclasses.replace(content, patient=dataclasses.replace(content.patient, name=name)))


@functools.cache
def scan_png(size_px: int = 320) -> bytes:
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    body = 190 * np.exp(-(((columns - 0.5) / 0.42) ** 6) - ((rows - 0.55) / 0.48) ** 8)
    lungs = sum(np.exp(-(((columns - x) / 0.15) ** 4) - ((rows - 0.5) / 0.32) ** 4) for x in (0.3, 0.7))
    return _png(np.clip(body - 120 * lungs, 0, 255).astype(np.uint8))


@functools.cache
def overlay_png(size_px: int = 320) -> bytes:
    grey = np.asarray(Image.open(io.BytesIO(scan_png(size_px)))).astype(float)
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    heat = np.exp(-(((columns - 0.3) / 0.1) ** 2) - ((rows - 0.65) / 0.1) ** 2)
    colours = np.stack([heat, 1 - abs(heat - 0.5) * 2, 1 - heat], axis=-1) * 255
    return _png((0.6 * grey[..., None] + 0.4 * colours).astype(np.uint8))


@functools.cache
def site_identity(name: str = "Lindenhof Hospital") -> SigningIdentity:
    bundle = make_site_identity(name, password=b"test", made_at=ISSUED_AT - timedelta(days=30))
    return SigningIdentity.from_pkcs12(bundle, b"test")


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run an installed program and return its output; the test is skipped where the program is missing."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@functools.cache
def archive_pdf() -> bytes:
    """Return the unsigned archive file of the sample report."""
    return render_archive(make_content(), scan_png=scan_png(), overlay_png=overlay_png())


@functools.cache
def signed_pdf() -> bytes:
    return sign_archive(archive_pdf(), site_identity(), signed_at=ISSUED_AT)


@functools.cache
def sealed_pdf() -> bytes:
    return seal_copy(archive_pdf(), site_identity(), user_password=PASSWORD, signed_at=ISSUED_AT)


def text_of(pdf: bytes, tmp_path: Path, *, password: str = "") -> str:
    """Return the text of a PDF in the order it was written, one space between words, break marks removed."""
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf)
    text = run_tool("pdftotext", "-raw", "-upw", password, str(path), "-").stdout
    return " ".join(text.replace("\u200b", "").split())
