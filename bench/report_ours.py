"""Our side of `bench report`: the signed archive copy (PDF/A) and the sealed copy (AES-256, certified)."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import report_facts
from bench.stopwatch import time_side
from csss.reports import content as facts
from csss.reports.render import render_archive
from csss.reports.seal import SigningIdentity, new_password, seal_copy, sign_archive

ISSUED_AT = datetime(2026, 11, 20, 9, 45, tzinfo=UTC)
KEY_PASSWORD = b"bench"
KEY_FILE = "signing.p12"


def make_content() -> facts.ReportContent:
    """The frozen facts of one signed-off case."""
    ai = facts.AiFacts(
        model="chest-mobilenetv2",
        version="1",
        model_sha256="c4" * 32,
        label="Lung_Opacity",
        top_label="Lung_Opacity",
        confidence=report_facts.PROBABILITIES[0][1],
        probabilities=tuple(facts.LabelProbability(*pair) for pair in report_facts.PROBABILITIES),
        tau=0.75,
        uncertain=False,
        risk="Moderate",
    )
    received_at = ISSUED_AT - timedelta(hours=1)
    content = facts.ReportContent(
        report_facts.REPORT_ID,
        1,
        0,
        report_facts.HOSPITAL,
        ISSUED_AT,
        facts.PatientFacts(report_facts.NAME, report_facts.RECORD),
        facts.ScanFacts("s-1", "A-1", "DX", "Chest", report_facts.SCAN, received_at, "a7" * 32),
        ai,
        facts.ReadingFacts(report_facts.CONCLUSION, report_facts.NOTES, True),
        facts.PrescriptionFacts("Checked.", tuple(facts.PrescribedItem(*item) for item in report_facts.ITEMS)),
    )
    return replace(content, sign_offs=tuple(_sign_off(content, *person) for person in report_facts.PEOPLE))


def _sign_off(content: facts.ReportContent, step: str, name: str, role: str) -> facts.SignOffFact:
    signed = facts.SignOffStep(step)
    return facts.SignOffFact(signed, name, name, role, ISSUED_AT, facts.content_sha256(content, signed))


def make_answer(folder: Path) -> Callable[[], object]:
    """What is called for each report: both copies, the sealed one last."""
    content = make_content()
    identity = SigningIdentity.from_pkcs12((folder / KEY_FILE).read_bytes(), KEY_PASSWORD)
    scan, overlay = ((folder / name).read_bytes() for name in ("scan.png", "overlay.png"))

    def report() -> tuple[bytes, bytes]:
        pdf = render_archive(content, scan_png=scan, overlay_png=overlay)
        archived = sign_archive(pdf, identity, signed_at=ISSUED_AT)
        return archived, seal_copy(pdf, identity, user_password=new_password(), signed_at=ISSUED_AT)

    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    asked = parser.parse_args()
    time_side(make_answer(asked.folder), asked.repeats)


if __name__ == "__main__":
    main()
