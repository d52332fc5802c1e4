"""ReportContent and pictures in, a kept and re-read Report out."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import update

from csss.foundation.ids import new_id
from csss.foundation.work import Work
from csss.reports.content import ReportContent, content_sha256
from csss.reports.render import render_archive
from csss.reports.seal import SealBroken, SigningIdentity, new_password, reread, seal_copy, sign_archive
from csss.reports.tables import Report, ReportStatus


@dataclass(frozen=True, slots=True)
class MadeReport:
    """The two files of a report, kept and proved readable, before anybody is told."""

    archive_blob: str
    archive_sha256: str
    delivered_blob: str
    delivered_sha256: str
    password_blob: str


def make_files(
    work: Work, content: ReportContent, *, scan_png: bytes, overlay_png: bytes | None, identity: SigningIdentity
) -> MadeReport:
    """Render, sign, encrypt, keep and read back both copies.

    Raises `NotReleasable`, `RenderFailed`, `SealBroken` or `SigningUnavailable`; nothing is in the database then.
    """
    plain = render_archive(content, scan_png=scan_png, overlay_png=overlay_png)
    password = new_password()
    archive = sign_archive(plain, identity, signed_at=content.issued_at)
    delivered = seal_copy(plain, identity, user_password=password, signed_at=content.issued_at)
    key = new_id()
    made = MadeReport(
        archive_blob=work.blobs.put(f"reports/{key}-archive", archive),
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        delivered_blob=work.blobs.put(f"reports/{key}-delivered", delivered),
        delivered_sha256=hashlib.sha256(delivered).hexdigest(),
        password_blob=work.blobs.put(f"secrets/{key}-password", password.encode()),
    )
    _prove(work, made, identity)
    return made


def _prove(work: Work, made: MadeReport, identity: SigningIdentity) -> None:
    password = work.blobs.get(made.password_blob).decode()
    for verdict in (
        reread(work.blobs.get(made.archive_blob), identity),
        reread(work.blobs.get(made.delivered_blob), identity, password=password),
    ):
        if not verdict.good:
            raise SealBroken("The finished report could not be read back; it was not issued.")


def enter(work: Work, made: MadeReport, content: ReportContent, *, case_id: UUID, patient_id: UUID) -> Report:
    """Enter a made report as the current version of its case; the one before becomes superseded."""
    work.session.execute(
        update(Report)
        .where(Report.case_id == case_id, Report.status == ReportStatus.CURRENT)
        .values(status=ReportStatus.SUPERSEDED)
    )
    row = Report(
        id=UUID(content.report_id),
        case_id=case_id,
        patient_id=patient_id,
        version=content.version,
        revision=content.revision,
        status=ReportStatus.CURRENT,
        content_sha256=content_sha256(content),
        issued_at=content.issued_at,
        archive_blob=made.archive_blob,
        archive_sha256=made.archive_sha256,
        delivered_blob=made.delivered_blob,
        delivered_sha256=made.delivered_sha256,
        password_blob=made.password_blob,
    )
    work.session.add(row)
    work.session.flush()
    return row
