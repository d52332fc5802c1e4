"""From approval to an issued report: failures with a real cause, trying again, and looking after what is stuck."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pikepdf
import pytest
from sqlalchemy import delete, update

from csss.delivery.tables import Delivery
from csss.foundation.clock import SetClock
from csss.foundation.jobs import JobRequest, JobStatus
from csss.imaging.sandbox import Sandbox
from csss.pathway import issuing
from csss.pathway.states import State
from csss.pathway.tables import SignOff
from csss.reports.seal import make_site_identity
from csss.reports.tables import Report
from csss.studies.tables import Instance
from mailbox_server import Mailbox
from pathway.records import all_of, audited, everything, last_audited, new_picture, places, signatures, timeline
from sites import Person, Site, open_site

Opened = Callable[..., AbstractContextManager[Site]]


@pytest.fixture
def opened(
    database_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> Opened:
    """Opens a site on the same data again and again, as after a restart; the people stay."""
    people: dict[str, Person] = {}

    @contextmanager
    def open_again(**settings: str) -> Iterator[Site]:
        with open_site(database_url, tmp_path, clock, sandbox, tiny_models, mailbox, **settings) as site:
            site.people = people
            yield site

    return open_again


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a site whose signing certificate ran out years ago."""
    bundle = tmp_path_factory.mktemp("expired") / "signing.p12"
    made_at = datetime(2010, 1, 1, tzinfo=UTC)
    bundle.write_bytes(make_site_identity("Test Hospital", password=b"word", made_at=made_at))
    return {"signing_pkcs12": str(bundle), "signing_password": "word"}


def test_a_report_that_cannot_be_made_is_made_from_the_same_signed_content_later(
    opened: Opened, expired: dict[str, str], mailbox: Mailbox
) -> None:
    with opened(**expired) as site:
        case_id = site.bring_to(State.APPROVED)
        signed = {row.step: row.content_sha256 for row in all_of(site, SignOff)}
        site.run_jobs()
        case = site.case(case_id)
        assert (case.state, case.reason_code, case.issued) == (State.RENDER_FAILED, "signing-unavailable", 0)
        assert case.reason == "The site's signing certificate has expired or is not valid yet."
        assert (all_of(site, Report), all_of(site, Delivery), mailbox.messages) == ([], [], [])
    with opened() as site:
        assert site.post("admin", f"/scans/{case_id}/retry-render").json()["state"] == "APPROVED"
        site.run_jobs()
        [report] = all_of(site, Report)
        assert (site.state(case_id), report.version, report.revision) == (State.REPORT_READY, 1, 1)
        assert report.content_sha256 == signed["approved"]
        assert {row.step: row.content_sha256 for row in all_of(site, SignOff)} == signed
        assert timeline(site, case_id)[-3:] == [
            ("render_error", "RENDER_FAILED", 0),
            ("retry_render", "APPROVED", 1),
            ("render_ok", "REPORT_READY", 1),
        ]
        assert len(mailbox.messages) == 1


def test_retrying_without_repair_fails_again_and_a_return_to_the_doctor_voids_all(
    opened: Opened, expired: dict[str, str]
) -> None:
    with opened(**expired) as site:
        case_id = site.bring_to(State.APPROVED)
        site.run_jobs()
        site.post("admin", f"/scans/{case_id}/retry-render")
        site.run_jobs()
        assert places(site, case_id)[:2] == (State.RENDER_FAILED, 1)
        before = everything(site)
        for who, code in (("doctor", "wrong-role"), ("pharmacist", "wrong-role"), ("patient", "wrong-role")):
            assert site.post(who, f"/scans/{case_id}/retry-render").json()["code"] == code
        stale = site.post("admin", f"/scans/{case_id}/retry-render", headers={"If-Match": '"1"'})
        assert stale.json()["code"] == "stale-version"
        assert everything(site) == before
        assert site.post("admin", f"/scans/{case_id}/return", {"reason": "Start anew."}).status_code == 204
        assert places(site, case_id)[:2] == (State.AI_ANALYZED, 2)
        assert [stands for _, _, stands in signatures(site, case_id)] == [False, False, False]


@pytest.fixture
def ready(site: Site) -> tuple[Site, str, Report]:
    case_id = site.bring_to(State.REPORT_READY)
    [report] = all_of(site, Report)
    return site, case_id, report


def test_an_issued_report_is_one_row_one_delivery_and_one_mail(
    ready: tuple[Site, str, Report], mailbox: Mailbox
) -> None:
    site, case_id, report = ready
    [approved] = [row for row in all_of(site, SignOff) if row.step == "approved"]
    assert (report.case_id, report.version, report.content_sha256) == (UUID(case_id), 1, approved.content_sha256)
    assert (site.case(case_id).issued, len(all_of(site, Delivery)), len(mailbox.messages)) == (1, 1, 1)
    # The job again, as after a crash that came too late to matter.
    before = everything(site)
    with site.assembly.shop.work() as work:
        issuing.issue(work, UUID(case_id), site=site.assembly.parts.site, identity=site.assembly.identity)
    assert everything(site) == before


def test_the_patient_opens_the_report_with_the_password_shown_to_them_alone(ready: tuple[Site, str, Report]) -> None:
    site, _, report = ready
    seq = last_audited(site)
    pdf = site.get("patient", f"/reports/{report.id}/pdf").content
    password = site.post("patient", f"/reports/{report.id}/password").json()["password"]
    with pikepdf.open(io.BytesIO(pdf), password=password) as opened:
        assert opened.is_encrypted
    with pytest.raises(pikepdf.PasswordError):
        pikepdf.open(io.BytesIO(pdf), password=password[:-1])
    assert [(row.action, row.object_id) for row in audited(site, after=seq)] == [
        ("report.downloaded", report.id),
        ("report.password_shown", report.id),
    ]
    for who in ("doctor", "pharmacist", "admin"):
        assert site.post(who, f"/reports/{report.id}/password").json()["code"] == "wrong-role"
    site.person("other patient")
    for path in ("", "/pdf"):
        assert site.get("other patient", f"/reports/{report.id}{path}").json()["code"] == "not-found"
    assert site.post("other patient", f"/reports/{report.id}/password").json()["code"] == "not-found"


def _age(site: Site) -> None:
    site.clock.move(issuing.STUCK_AFTER + timedelta(seconds=1))


def _watch(site: Site) -> int:
    with site.assembly.shop.work() as work:
        return issuing.watch(work)


@pytest.mark.parametrize("state", [State.PENDING_AI, State.APPROVED])
def test_watch_asks_again_for_a_job_that_was_lost(site: Site, state: State) -> None:
    case_id = site.bring_to(state)
    _age(site)
    assert _watch(site) == 0
    with site.assembly.shop.work() as work:
        work.session.execute(delete(JobRequest).where(JobRequest.status == JobStatus.REQUESTED))
    assert _watch(site) == 1
    assert _watch(site) == 0
    site.run_jobs()
    assert site.state(case_id) is (State.AI_ANALYZED if state is State.PENDING_AI else State.REPORT_READY)


def test_watch_leaves_young_cases_and_those_that_wait_for_people(site: Site) -> None:
    site.bring_to(State.DOCTOR_VERIFIED)
    young = site.upload(data=new_picture()).json()["id"]
    with site.assembly.shop.work() as work:
        work.session.execute(delete(JobRequest))
    assert (_watch(site), site.state(young)) == (0, State.PENDING_AI)


@pytest.mark.parametrize(
    ("state", "after"), [(State.PENDING_AI, State.AI_FAILED), (State.APPROVED, State.RENDER_FAILED)]
)
def test_watch_shows_a_person_what_the_server_gave_up(sqlite_site: Site, state: State, after: State) -> None:
    case_id = sqlite_site.bring_to(state)
    with sqlite_site.assembly.shop.work() as work:
        work.session.execute(
            update(JobRequest)
            .where(JobRequest.status == JobStatus.REQUESTED)
            .values(status=JobStatus.FAILED, error="VaultError vault-error")
        )
    _age(sqlite_site)
    assert _watch(sqlite_site) == 1
    case = sqlite_site.case(case_id)
    assert (case.state, case.reason_code) == (after, "job-failed")
    assert case.reason == "The server gave up after several attempts (VaultError vault-error)."


def test_a_picture_that_is_gone_ends_with_a_person_and_not_in_a_loop(sqlite_site: Site) -> None:
    case_id = sqlite_site.bring_to(State.APPROVED)
    [instance] = all_of(sqlite_site, Instance)
    sqlite_site.assembly.shop.blobs.delete(instance.canonical_blob)
    runs = 0
    while sqlite_site.run_jobs():
        runs += 1
        sqlite_site.clock.move(timedelta(minutes=20))
    assert (runs, _watch(sqlite_site)) == (8, 1)
    assert (sqlite_site.state(case_id), all_of(sqlite_site, Report)) == (State.RENDER_FAILED, [])
