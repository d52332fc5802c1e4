"""After the approval: make the report, issue it, and put it on its way; and see that nothing stays behind."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from csss import audit
from csss.accounts.actor import Actor
from csss.accounts.permissions import Action
from csss.delivery import send
from csss.delivery.tables import Delivery
from csss.findings.analyse import heat_map
from csss.findings.tables import Analysis
from csss.foundation.errors import Conflict, CsssError, NotFound, TooManyRequests
from csss.foundation.ids import new_id
from csss.foundation.jobs import JobRequest, JobStatus
from csss.foundation.work import Work
from csss.imaging.archive import unpack
from csss.imaging.render import blend_png, png_bytes, to_display
from csss.inference.explain import OUTSIDE
from csss.pathway import facts
from csss.pathway.access import find_case
from csss.pathway.moves import check_version, move
from csss.pathway.signing import ISSUE, Site, request_issue
from csss.pathway.states import State, Step
from csss.pathway.submit import ANALYSE, request_analysis
from csss.pathway.tables import Case
from csss.reports import make
from csss.reports.seal import SigningIdentity
from csss.reports.tables import Report, ReportStatus
from csss.studies.tables import Instance

REPORT_PICTURE_SIDE = 900
STUCK_AFTER = timedelta(minutes=2)
RESEND_AFTER = timedelta(minutes=5)


def issue(work: Work, case_id: UUID, *, site: Site, identity: SigningIdentity) -> None:
    """Make, prove and issue the report of an approved case; the work of the job ``issue``.

    Files are made between two transactions; only the last one makes them a report, so a crash leaves at most
    sealed files that nothing refers to.
    """
    case = work.session.get_one(Case, case_id)
    if case.state is not State.APPROVED:
        return
    content = facts.gather(work, case, hospital_name=site.hospital_name, report_id=new_id(), issued_at=work.clock.now())
    scan_png, overlay_png = _pictures(work, case)
    work.pause()
    try:
        made = make.make_files(work, content, scan_png=scan_png, overlay_png=overlay_png, identity=identity)
    except CsssError as problem:
        move(work, case, Step.RENDER_ERROR, None, reason_code=problem.code, reason=problem.message)
        return
    report = make.enter(work, made, content, case_id=case.id, patient_id=case.patient_id)
    case.issued += 1
    move(
        work,
        case,
        Step.RENDER_OK,
        None,
        detail={"report": str(report.id), "content_sha256": report.content_sha256, "sha256": report.archive_sha256},
    )
    send.queue(work, report)


def _pictures(work: Work, case: Case) -> tuple[bytes, bytes | None]:
    instance = work.session.get_one(Instance, case.instance_id)
    display = to_display(unpack(work.blobs.get(instance.canonical_blob)), max_side=REPORT_PICTURE_SIDE)
    analysis = work.session.get(Analysis, case.analysis_id) if case.analysis_id else None
    # A map that lies mostly outside the lungs explains nothing about them; the report says where it lies instead.
    # One of a finding that was not made is not for the patient (`access.shows_heat`).
    explains = analysis is not None and OUTSIDE not in analysis.regions and analysis.explains_result
    heat = heat_map(work, analysis) if analysis and explains else None
    return png_bytes(display), None if heat is None else blend_png(display, heat)


def retry_render(work: Work, actor: Actor, *, case_id: UUID, expected_version: int | None = None) -> Case:
    """Try again to make a report that failed, from the same signed content."""
    case = find_case(work, actor, case_id, Action.RETRY_RENDER)
    check_version(case, expected_version)
    move(work, case, Step.RETRY_RENDER, actor)
    request_issue(work, case)
    return case


def find_report(work: Work, actor: Actor, report_id: UUID, action: Action) -> tuple[Report, Case]:
    """Return an issued report that this person may see, with its case; the look is audited.

    Raises `NotFound` alike for a report that does not exist and for one that is none of this person's business.
    """
    report, case = _find_report(work, actor, report_id, action)
    _record(work, actor, "report.viewed", report, case)
    return report, case


def _find_report(work: Work, actor: Actor, report_id: UUID, action: Action) -> tuple[Report, Case]:
    report = work.session.get(Report, report_id)
    case = find_case(work, actor, report.case_id if report else new_id(), action)
    if report is None:
        raise NotFound("There is no such report.")
    return report, case


def current_report(work: Work, case_id: UUID) -> Report | None:
    """Return the version of a case's report that counts."""
    return work.session.scalar(select(Report).where(Report.case_id == case_id, Report.status == ReportStatus.CURRENT))


def open_pdf(work: Work, actor: Actor, report_id: UUID) -> tuple[Report, bytes]:
    """Return the sealed copy of a report for download; the download is audited."""
    report, case = _find_report(work, actor, report_id, Action.VIEW_REPORT)
    _record(work, actor, "report.downloaded", report, case)
    return report, work.blobs.get(report.delivered_blob)


def reveal_password(work: Work, actor: Actor, report_id: UUID) -> str:
    """Return the password of the patient's own copy, to be shown behind the sign-in and nowhere else."""
    report, case = _find_report(work, actor, report_id, Action.REVEAL_PASSWORD)
    _record(work, actor, "report.password_shown", report, case)
    return work.blobs.get(report.password_blob).decode()


def send_again(work: Work, actor: Actor, report_id: UUID) -> Delivery:
    """Put a report on its way once more, at a person's word."""
    report, case = _find_report(work, actor, report_id, Action.RESEND_REPORT)
    if report.status is not ReportStatus.CURRENT:
        raise Conflict("Only the current version of a report can be sent.", code="not-current")
    _record(work, actor, "report.sent_again", report, case)
    newest = next(iter(send.of_report(work, report.id)), None)
    if newest is not None and newest.status in send.OPEN:
        return newest
    if newest is not None and newest.sent_at and work.clock.now() - newest.sent_at < RESEND_AFTER:
        raise TooManyRequests("The report was sent a moment ago; try again in some minutes.", code="just-sent")
    return send.queue(work, report)


def _record(work: Work, actor: Actor, action: str, report: Report, case: Case) -> None:
    audit.record(
        work,
        action,
        actor_id=actor.user_id,
        actor_role=actor.role,
        object_type="report",
        object_id=report.id,
        revision=case.revision,
    )


def watch(work: Work) -> int:
    """Look after cases that wait for the system: ask again for lost jobs, show a failed one to a person.

    Returns how many cases needed it. In a healthy system none does, because every request for a job is written
    together with the change that needs it.
    """
    waiting = work.session.scalars(
        select(Case).where(
            Case.state.in_((State.PENDING_AI, State.AI_RUNNING, State.APPROVED)),
            Case.changed_at < work.clock.now() - STUCK_AFTER,
        )
    ).all()
    return sum(_unstick(work, case) for case in waiting) + send.bury_failed(work)


def _unstick(work: Work, case: Case) -> bool:
    kind = ISSUE if case.state is State.APPROVED else ANALYSE
    # A case in AI_RUNNING may have moved on to a new revision inside one run of its job.
    job = work.session.scalar(
        select(JobRequest)
        .where(JobRequest.kind == kind, JobRequest.subject_id == case.id)
        .order_by(JobRequest.requested_at.desc())
        .limit(1)
    )
    if job is not None and job.status in (JobStatus.REQUESTED, JobStatus.STARTED):
        return False
    if job is not None and job.status is JobStatus.FAILED:
        _show_failure(work, case, job.error)
    elif kind == ISSUE:
        work.jobs.request(ISSUE, case.id, key=f"{ISSUE}:{case.id}:{case.revision}:{case.version}:again")
    elif case.state is State.PENDING_AI and job is None:
        request_analysis(work, case)
    else:
        work.jobs.request(ANALYSE, case.id, key=f"{ANALYSE}:{case.id}:{case.revision}:{case.version}:again")
    return True


def _show_failure(work: Work, case: Case, error: str | None) -> None:
    reason = f"The server gave up after several attempts ({error or 'unknown error'})."
    if case.state is State.APPROVED:
        move(work, case, Step.RENDER_ERROR, None, reason_code="job-failed", reason=reason)
        return
    if case.state is State.PENDING_AI:
        move(work, case, Step.START_AI, None)
    move(work, case, Step.AI_ERROR, None, reason_code="job-failed", reason=reason)
