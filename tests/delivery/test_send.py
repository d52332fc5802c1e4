"""A report on its way: sent once, tried again where that helps, and shown to a person where it does not."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from csss import patients
from csss.audit import AuditEvent
from csss.delivery import send
from csss.delivery.channels.base import Channel, Message
from csss.delivery.tables import Delivery, DeliveryStatus
from csss.foundation.clock import SetClock
from csss.foundation.jobs import JobRequest, JobStatus
from csss.imaging.sandbox import Sandbox
from csss.pathway.signing import ISSUE
from csss.pathway.states import State
from csss.patients import Patient
from csss.reports.tables import Report, ReportStatus
from csss.worker import run_due
from delivery.odd_server import OddServer
from mailbox_server import Mailbox
from sites import NOTHING_NEEDED, READING, Site, open_site


def rows(site: Site, table: Any) -> list[Any]:
    with site.assembly.shop.work() as work:
        return list(work.session.scalars(select(table).order_by(table.id)))


def delivery(site: Site) -> Delivery:
    [row] = rows(site, Delivery)
    assert isinstance(row, Delivery)
    return row


def audited(site: Site, prefix: str) -> list[str]:
    with site.assembly.shop.work() as work:
        actions = work.session.scalars(select(AuditEvent.action).order_by(AuditEvent.seq))
        return [action for action in actions if action.startswith(prefix)]


def issue_only(site: Site) -> Delivery:
    """Issue a report whose delivery waits."""
    site.bring_to(State.APPROVED)
    run_due(site.assembly.shop, {ISSUE: site.assembly.handlers[ISSUE]})
    return delivery(site)


@pytest.fixture
def issued(sqlite_site: Site) -> Site:
    issue_only(sqlite_site)
    return sqlite_site


def test_a_report_is_mailed_once_encrypted_and_with_a_receipt(site: Site, mailbox: Mailbox) -> None:
    site.bring_to(State.REPORT_READY)
    row = delivery(site)
    assert (row.status, row.attempts, row.receipt, row.error) == (DeliveryStatus.SENT, 1, "250 accepted", None)
    assert (row.sent_at, row.handed_over_at) == (site.clock.now(), None)
    assert mailbox.encrypted == [True]
    [mail] = mailbox.messages
    assert (mail["To"], mail["Message-ID"]) == ("patient@site.example", f"<{row.id}@127.0.0.1>")
    [report] = rows(site, Report)
    [pdf] = mail.iter_attachments()
    assert pdf.get_content() == site.assembly.shop.blobs.get(report.delivered_blob)
    assert site.run_jobs() == 0
    assert audited(site, "report.")[-2:] == ["report.issued", "report.sent"]


def test_no_mail_holds_a_name_a_number_or_the_password(sqlite_site: Site, mailbox: Mailbox) -> None:
    site = sqlite_site
    record = site.person("patient").patient
    assert record is not None
    with site.assembly.shop.work() as work:
        work.session.get_one(Patient, record.id).name = "Ngozi Okafor-Lindqvist"
    site.bring_to(State.REPORT_READY)
    site.post("admin", f"/scans/{rows(site, Report)[0].case_id}/step-up", {"method": "email"})
    site.client.post(
        "/api/v1/auth/register",
        json={
            "email": "new@home.example",
            "name": "Ngozi Okafor-Lindqvist\r\nBcc: all@evil.example",
            "birth_date": "1980-05-17",
            "sex": "female",
            "password": "violet harbour ticket 42",
        },
    )
    site.run_jobs()
    [report] = rows(site, Report)
    password = site.post("patient", f"/reports/{report.id}/password").json()["password"]
    secrets = [
        "Okafor",
        "Lindqvist",
        "Ngozi",
        record.record_number,
        "1980-05-17",
        "violet harbour",
        password,
        "evil.example",
    ]
    assert [mail["To"] for mail in mailbox.messages] == ["patient@site.example", "new@home.example"]
    for mail in mailbox.messages:
        parts = [str(mail.items()).encode(), mail.get_body().get_content().encode()]  # type: ignore[union-attr]
        parts += [part.get_content() for part in mail.iter_attachments()]
        assert [word for word in secrets for part in parts if word.encode() in part] == []


def test_busy_servers_are_tried_again_with_growing_pauses_and_the_mail_arrives_once(
    issued: Site, mailbox: Mailbox
) -> None:
    mailbox.answers += ["451 busy", "450 busy", "452 full"]
    for attempt, pause_seconds in ((1, 15), (2, 60), (3, 240)):
        assert issued.run_jobs() == 1
        row = delivery(issued)
        assert (row.status, row.attempts) == (DeliveryStatus.RETRY, attempt)
        assert row.next_at == issued.clock.now() + timedelta(seconds=pause_seconds)
        issued.clock.move(timedelta(seconds=pause_seconds - 1))
        assert issued.run_jobs() == 0
        issued.clock.move(timedelta(seconds=1))
    assert issued.run_jobs() == 1
    row = delivery(issued)
    assert (row.status, row.attempts, row.error, row.next_at) == (DeliveryStatus.SENT, 4, None, None)
    assert len(mailbox.messages) == 1


def test_a_refusal_for_good_is_dead_at_once_and_leaves_the_report_alone(issued: Site, mailbox: Mailbox) -> None:
    mailbox.answers.append("550 no such user")
    issued.run_jobs()
    row = delivery(issued)
    assert (row.status, row.attempts, row.error) == (
        DeliveryStatus.DEAD,
        1,
        "The mail server refused the message (code 550).",
    )
    issued.clock.move(timedelta(days=1))
    assert (issued.run_jobs(), mailbox.messages) == (0, [])
    [report] = rows(issued, Report)
    assert (issued.state(report.case_id), report.status) == (State.REPORT_READY, ReportStatus.CURRENT)
    assert audited(issued, "report.")[-1] == "report.delivery_failed"


Opener = Callable[..., Any]


@pytest.fixture
def opened(
    sqlite_url: str, tmp_path: Path, clock: SetClock, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox
) -> Opener:
    def open_with(port: int, **settings: str) -> Any:
        values = {"smtp_port": str(port), "smtp_starttls": "false"} | settings
        return open_site(sqlite_url, tmp_path, clock, sandbox, tiny_models, mailbox, **values)

    return open_with


def test_an_unreachable_server_is_tried_eight_times_and_then_given_up(opened: Opener) -> None:
    with OddServer({}) as server:
        port = server.port
    with opened(port) as site:
        issue_only(site)
        pauses = []
        while site.run_jobs():
            row = delivery(site)
            if row.next_at:
                pauses.append((row.next_at - site.clock.now()).total_seconds())
                site.clock.move(row.next_at - site.clock.now())
        assert pauses == [15, 60, 240, 960, 3600, 3600, 3600]
        assert (row.status, row.attempts, row.error) == (
            DeliveryStatus.DEAD,
            8,
            "The mail server cannot be reached (ConnectionRefusedError).",
        )


def test_a_server_without_encryption_gets_no_report(opened: Opener) -> None:
    with OddServer({}) as server, opened(server.port, smtp_starttls="true") as site:
        issue_only(site)
        site.run_jobs()
        assert (delivery(site).status, delivery(site).error, server.mails) == (
            DeliveryStatus.DEAD,
            "The mail server offers no encryption (STARTTLS).",
            [],
        )


def test_a_mail_whose_answer_was_lost_is_not_sent_again_by_itself(opened: Opener) -> None:
    with OddServer({".": "drop"}) as server, opened(server.port) as site:
        issue_only(site)
        site.run_jobs()
        assert (delivery(site).status, delivery(site).error) == (DeliveryStatus.DEAD, send.UNCONFIRMED)
        site.clock.move(timedelta(days=2))
        assert (site.run_jobs(), server.talks) == (0, 1)


def test_a_rude_goodbye_does_not_send_the_mail_twice(opened: Opener) -> None:
    with OddServer({"QUIT": "421 shutting down"}) as server, opened(server.port) as site:
        issue_only(site)
        site.run_jobs()
        site.clock.move(timedelta(days=1))
        site.run_jobs()
        assert (delivery(site).status, len(server.mails)) == (DeliveryStatus.SENT, 1)


class _Dying:
    """The real channel in a process that dies at one moment of the hand-over."""

    def __init__(self, channel: Channel, *, after_mail: bool) -> None:
        self._channel, self._after_mail = channel, after_mail

    def send(self, message: Message, *, handing_over: Callable[[], None]) -> str:
        if self._after_mail:
            self._channel.send(message, handing_over=handing_over)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("after_mail", "status", "error"),
    [(True, DeliveryStatus.DEAD, send.UNCONFIRMED), (False, DeliveryStatus.SENT, None)],
)
def test_a_crash_around_the_hand_over_never_mails_twice(
    site: Site, mailbox: Mailbox, after_mail: bool, status: DeliveryStatus, error: str | None
) -> None:
    row = issue_only(site)
    channels = site.assembly.handlers[send.DELIVER].keywords["channels"]  # type: ignore[attr-defined]
    dying = {"email": _Dying(channels["email"], after_mail=after_mail)}
    with pytest.raises(KeyboardInterrupt), site.assembly.shop.work() as work:
        send.deliver(work, row.id, channels=dying, site=site.assembly.parts.delivery_site)
    assert (delivery(site).status, delivery(site).handed_over_at is not None) == (DeliveryStatus.SENDING, after_mail)
    site.run_jobs()
    assert (delivery(site).status, delivery(site).error, len(mailbox.messages)) == (status, error, 1)
    site.clock.move(timedelta(days=1))
    assert (site.run_jobs(), len(mailbox.messages)) == (0, 1)


@pytest.mark.parametrize("status", [ReportStatus.SUPERSEDED, ReportStatus.RETRACTED])
def test_a_version_that_no_longer_counts_is_not_mailed(issued: Site, mailbox: Mailbox, status: ReportStatus) -> None:
    with issued.assembly.shop.work() as work:
        work.session.execute(update(Report).values(status=status))
    assert issued.run_jobs() == 1
    assert (delivery(issued).status, delivery(issued).attempts, mailbox.messages) == (DeliveryStatus.REVOKED, 0, [])
    [report] = rows(issued, Report)
    assert issued.post("doctor", f"/reports/{report.id}/send").json()["code"] == "not-current"


def test_a_patient_without_an_account_gets_no_mail_and_somebody_is_told(sqlite_site: Site, mailbox: Mailbox) -> None:
    site = sqlite_site
    with site.assembly.shop.work() as work:
        walk_in = patients.register(
            work, site.person("doctor").actor, name="Walk In", birth_date=date(1950, 1, 2), sex="male"
        )
    case_id = site.upload("doctor", patient_id=str(walk_in.id)).json()["id"]
    path = f"/scans/{case_id}"
    site.run_jobs()
    site.get("doctor", f"{path}/image")
    site.post("doctor", f"{path}/verify", READING)
    site.post("pharmacist", f"{path}/complete", NOTHING_NEEDED)
    site.post("admin", f"{path}/step-up", {"method": "totp"})
    site.post("admin", f"{path}/approve", {"code": site.totp_code("admin")})
    assert site.run_jobs() == 1
    row, [report] = delivery(site), rows(site, Report)
    assert (site.state(case_id), row.status, row.recipient_id, mailbox.messages) == (
        State.REPORT_READY,
        DeliveryStatus.DEAD,
        None,
        [],
    )
    assert row.error == "The patient has no account and so no confirmed address; hand the report over in person."
    shown = site.get("doctor", f"/reports/{report.id}").json()["deliveries"]
    assert [(item["status"], item["error"]) for item in shown] == [("dead", row.error)]
    assert site.get("doctor", f"/reports/{report.id}/pdf").headers["content-type"] == "application/pdf"


@pytest.mark.parametrize("who", ["patient", "doctor", "admin"])
def test_send_again_is_a_delivery_of_its_own(site: Site, mailbox: Mailbox, who: str) -> None:
    site.bring_to(State.REPORT_READY)
    [report] = rows(site, Report)
    assert site.post(who, f"/reports/{report.id}/send").json()["code"] == "just-sent"
    site.clock.move(timedelta(minutes=5))
    answer = site.post(who, f"/reports/{report.id}/send")
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    site.run_jobs()
    assert [row.status for row in rows(site, Delivery)] == [DeliveryStatus.SENT] * 2
    assert len({mail["Message-ID"] for mail in mailbox.messages}) == 2
    assert audited(site, "report.sent") == ["report.sent", "report.sent_again", "report.sent"]
    shown = site.get(who, f"/reports/{report.id}").json()["deliveries"]
    assert [item["id"] for item in shown] == [str(row.id) for row in reversed(rows(site, Delivery))]


def test_send_again_is_refused_to_who_has_no_part_in_it(issued: Site) -> None:
    [report] = rows(issued, Report)
    for who, code in (("pharmacist", "wrong-role"), ("stranger doctor", "not-found"), ("other patient", "not-found")):
        assert issued.post(who, f"/reports/{report.id}/send").json()["code"] == code
    assert len(rows(issued, Delivery)) == 1


def test_a_delivery_is_asked_for_in_the_transaction_that_issues(issued: Site) -> None:
    [job] = [row for row in rows(issued, JobRequest) if row.kind == send.DELIVER]
    assert (job.subject_id, job.key) == (delivery(issued).id, f"deliver:{delivery(issued).id}")


def test_delivery_whose_job_was_given_up_is_closed_and_shown(site: Site) -> None:
    site.bring_to(State.REPORT_READY)
    with site.assembly.shop.work() as work:
        row = work.session.query(Delivery).one()
        row.status = DeliveryStatus.QUEUED
        work.session.query(JobRequest).filter_by(kind=send.DELIVER).one().status = JobStatus.FAILED
    with site.assembly.shop.work() as work:
        assert send.bury_failed(work) == 1
    [row] = rows(site, Delivery)
    assert (row.status, "gave up" in (row.error or "")) == (DeliveryStatus.DEAD, True)
    assert audited(site, "report.delivery_failed") == ["report.delivery_failed"]
