"""A whole journey: every change and every look at a patient's data leaves its event, allowed or denied."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from csss import patients
from csss.audit import AuditEvent, Outcome, verify_chain
from csss.pathway.states import State
from sites import NOTHING_NEEDED, READING, Site

REASON = {"reason": "Please look again."}


def events(site: Site, after: int = 0) -> list[AuditEvent]:
    with site.assembly.shop.work() as work:
        return list(work.session.scalars(select(AuditEvent).where(AuditEvent.seq > after).order_by(AuditEvent.seq)))


class Journey:
    """Does things one after the other and knows which events each has left."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.seq = len(events(site))

    def left(self) -> list[tuple[str, str, str]]:
        """(action, role, outcome) of the events since the last call."""
        new = events(self.site, self.seq)
        self.seq += len(new)
        return [(row.action, row.actor_role, row.outcome) for row in new]


def allowed(role: str, *actions: str) -> list[tuple[str, str, str]]:
    return [(action, role, "allowed") for action in actions]


def test_every_step_of_a_journey_leaves_its_events(site: Site) -> None:
    for who in ("patient", "doctor", "pharmacist", "admin"):
        site.person(who)
    site.in_care()
    journey = Journey(site)

    case_id = site.upload().json()["id"]
    path = f"/scans/{case_id}"
    assert journey.left() == allowed("patient", "scan.received") + allowed("system", "scan.accepted")
    site.run_jobs()
    assert journey.left() == allowed("system", "ai.started", "ai.completed")

    for who, page, action in (
        ("patient", path, "scan.viewed"),
        ("patient", f"{path}/image", "image.viewed"),
        ("doctor", path, "scan.viewed"),
        ("doctor", f"{path}/image", "image.viewed"),
        ("doctor", f"{path}/heatmap", "heat_map.viewed"),
    ):
        site.get(who, page)
        assert journey.left() == allowed(who, action)

    site.post("doctor", f"{path}/verify", READING)
    assert journey.left() == allowed("doctor", "report.verified", "scan.viewed")
    site.post("pharmacist", f"{path}/return", REASON)
    assert journey.left() == allowed("pharmacist", "report.returned")
    site.get("doctor", f"{path}/image")
    site.post("doctor", f"{path}/verify", READING)
    site.post("doctor", f"{path}/return", REASON)
    assert journey.left()[-1:] == allowed("doctor", "report.withdrawn")
    site.get("doctor", f"{path}/image")
    site.post("doctor", f"{path}/verify", READING)
    journey.left()
    site.post("pharmacist", f"{path}/complete", NOTHING_NEEDED)
    assert journey.left() == allowed("pharmacist", "pharmacy.completed", "scan.viewed")
    site.post("admin", f"{path}/return-to-pharmacist", REASON)
    assert journey.left() == allowed("admin", "pharmacy.returned")
    site.post("pharmacist", f"{path}/complete", NOTHING_NEEDED)
    journey.left()

    site.post("admin", f"{path}/step-up", {"method": "totp"})
    assert journey.left() == allowed("admin", "step_up.begun")
    site.post("admin", f"{path}/approve", {"code": "000000"})
    assert journey.left() == [("request.denied", "admin", "denied")]
    site.post("admin", f"{path}/approve", {"code": site.totp_code("admin")})
    assert journey.left() == allowed("admin", "report.approved", "scan.viewed")
    site.run_jobs()
    assert journey.left() == allowed("system", "report.issued", "report.sent")

    report = site.get("patient", path).json()["reports"][0]["id"]
    journey.left()
    site.get("patient", f"/reports/{report}/pdf")
    site.post("patient", f"/reports/{report}/password")
    site.clock.move(timedelta(minutes=5))
    site.post("patient", f"/reports/{report}/send")
    assert journey.left() == allowed("patient", "report.downloaded", "report.password_shown", "report.sent_again")
    site.run_jobs()
    assert journey.left() == allowed("system", "report.sent")

    with site.assembly.shop.work() as work:
        found = verify_chain(work.session)
    assert (found.length, found.first_bad_seq) == (journey.seq, None)


def test_events_name_the_case_its_revision_and_no_patient(site: Site) -> None:
    case_id = site.bring_to(State.REPORT_READY)
    record = site.person("patient").patient
    assert record is not None
    [report] = site.get("doctor", f"/scans/{case_id}").json()["reports"]
    steps = [row for row in events(site) if row.action.startswith(("scan.", "ai.", "report.", "pharmacy."))]
    assert {row.object_id for row in steps} == {UUID(case_id), UUID(report["id"])}
    moves = [(row.action, row.detail["from"], row.detail["to"]) for row in steps if "from" in row.detail]
    assert moves == [
        ("scan.accepted", "RECEIVED", "PENDING_AI"),
        ("ai.started", "PENDING_AI", "AI_RUNNING"),
        ("ai.completed", "AI_RUNNING", "AI_ANALYZED"),
        ("report.verified", "AI_ANALYZED", "DOCTOR_VERIFIED"),
        ("pharmacy.completed", "DOCTOR_VERIFIED", "PHARMACIST_COMPLETED"),
        ("report.approved", "PHARMACIST_COMPLETED", "APPROVED"),
        ("report.issued", "APPROVED", "REPORT_READY"),
    ]
    whole = repr([(row.action, row.detail, row.actor_role) for row in events(site)])
    words = [record.name + " ", record.record_number, "site.example", *READING["notes"].split(".")[:1]]
    assert [word for word in words if word in whole] == []


@pytest.mark.parametrize(
    ("who", "method", "step", "body", "code"),
    [
        ("patient", "post", "/verify", READING, "wrong-role"),
        ("stranger doctor", "get", "", None, "not-found"),
        ("stranger doctor", "get", "/image", None, "not-found"),
        ("other patient", "get", "", None, "not-found"),
        ("doctor", "post", "/verify", {"notes": "x"}, "invalid-request"),
        ("doctor", "post", "/cancel", REASON, "wrong-state"),
    ],
)
def test_every_denial_leaves_one_event_with_its_code(
    sqlite_site: Site, who: str, method: str, step: str, body: Any, code: str
) -> None:
    case_id = sqlite_site.bring_to(State.AI_ANALYZED)
    sqlite_site.person(who)
    seq = len(events(sqlite_site))
    path = f"/scans/{case_id}{step}"
    answer = sqlite_site.get(who, path) if method == "get" else sqlite_site.post(who, path, body)
    [event] = events(sqlite_site, seq)
    assert (event.action, event.outcome, event.actor_id) == (
        "request.denied",
        Outcome.DENIED,
        sqlite_site.person(who).user.id,
    )
    assert (event.detail["code"], event.detail["status"]) == (code, answer.status_code)
    assert answer.json()["code"] == code
    assert event.detail["method"] == method.upper()


def test_every_look_at_a_patients_data_leaves_an_event(sqlite_site: Site) -> None:
    site = sqlite_site
    case_id = site.bring_to(State.REPORT_READY)
    [report] = site.get("doctor", f"/scans/{case_id}").json()["reports"]
    for path, action, about in (
        ("/scans", "scans.listed", None),
        ("/patients", "patients.listed", None),
        (f"/scans/{case_id}", "scan.viewed", case_id),
        (f"/scans/{case_id}/events", "timeline.viewed", case_id),
        (f"/scans/{case_id}/image", "image.viewed", case_id),
        (f"/scans/{case_id}/heatmap", "heat_map.viewed", case_id),
        (f"/reports/{report['id']}", "report.viewed", report["id"]),
        (f"/reports/{report['id']}/pdf", "report.downloaded", report["id"]),
    ):
        seq = len(events(site))
        assert site.get("doctor", path).status_code == 200
        assert [(row.action, row.object_id and str(row.object_id)) for row in events(site, seq)] == [(action, about)]


def test_a_refused_sign_in_and_a_new_patient_leave_events(sqlite_site: Site) -> None:
    doctor = sqlite_site.person("doctor").actor
    sqlite_site.person("patient")
    journey = Journey(sqlite_site)
    login = {"email": "patient@site.example", "password": "wrong wrong wrong wrong"}
    sqlite_site.client.post("/api/v1/auth/login", json=login)
    assert ("session.refused", "patient", "denied") in journey.left()
    with sqlite_site.assembly.shop.work() as work:
        patients.register(work, doctor, name="Walk In", birth_date=date(1950, 1, 2), sex="male")
    assert journey.left() == allowed("doctor", "patient.registered")
