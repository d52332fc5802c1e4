"""What is none of my business looks exactly like what does not exist, on every route that takes an id."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from csss.foundation.ids import new_id
from csss.pathway.states import State
from csss.reports.tables import Report
from pictures import picture_png
from sites import API, NOTHING_NEEDED, READING, Site

REASON = {"reason": "to see what comes back"}
SCAN_GETS = ("", "/image", "/heatmap", "/events")
SCAN_POSTS: dict[str, tuple[dict[str, Any] | None, tuple[str, ...]]] = {
    "verify": (READING, ("other doctor",)),
    "complete": (NOTHING_NEEDED, ("other pharmacist",)),
    "step-up": ({"method": "totp"}, ("other admin",)),
    "approve": ({"code": "000000"}, ("other admin",)),
    "return": (REASON, ("other doctor", "other pharmacist", "other admin")),
    "return-to-pharmacist": (REASON, ("other pharmacist", "other admin")),
    "reject": ({"reason_code": "duplicate"}, ("other doctor",)),
    "cancel": (REASON, ("other patient", "other doctor")),
    "retry-ai": (None, ("other doctor",)),
    "read-without-ai": (REASON, ("other doctor",)),
    "retry-render": (None, ("other admin",)),
    "retract": (None, ("other patient", "other doctor", "other pharmacist", "other admin")),
    "no-such-step": (None, ("other patient", "other doctor", "other pharmacist", "other admin")),
}
STRANGERS = ("other patient", "other doctor", "other pharmacist", "other admin")
WEB_GETS = ("/scans/{}", "/scans/{}/status", "/scans/{}/image.png", "/scans/{}/heatmap.png")


def alike(site: Site, who: str, method: str, path: str, foreign: str, **options: Any) -> None:
    """Assert that a foreign id and one that was never given out are answered byte by byte alike."""
    answers = [
        site.client.request(
            method, path.format(key), headers=site.person(who).headers | {"Accept": "application/json"}, **options
        )
        for key in (foreign, str(new_id()))
    ]
    bodies = [answer.content.replace(answer.headers["x-request-id"].encode(), b"") for answer in answers]
    headers = [{**answer.headers, "x-request-id": "", "date": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [404, 404], (who, method, path, bodies)
    assert bodies[0] == bodies[1]
    assert headers[0] == headers[1]


def report_of(site: Site, case_id: str) -> str:
    with site.assembly.shop.work() as work:
        return str(work.session.scalars(select(Report.id).where(Report.case_id == UUID(case_id))).one())


def test_foreign_scan_looks_like_none_on_every_get(site: Site) -> None:
    case_id = site.bring_to(State.REPORT_READY)
    for who in STRANGERS:
        for path in (*(f"{API}/scans/{{}}{last}" for last in SCAN_GETS), *WEB_GETS):
            alike(site, who, "GET", path, case_id)


@pytest.mark.parametrize("step", SCAN_POSTS)
def test_foreign_scan_looks_like_none_on_every_post(sqlite_site: Site, step: str) -> None:
    case_id = sqlite_site.bring_to(State.REPORT_READY)
    body, strangers = SCAN_POSTS[step]
    for who in strangers:
        alike(sqlite_site, who, "POST", f"{API}/scans/{{}}/{step}", case_id, json=body)
        if step not in ("retract", "no-such-step"):
            alike(sqlite_site, who, "POST", f"/scans/{{}}/{step}", case_id, data={"method": "totp"})
    assert sqlite_site.state(case_id) is State.REPORT_READY


def test_foreign_report_looks_like_none(site: Site) -> None:
    report_id = report_of(site, site.bring_to(State.REPORT_READY))
    for who in STRANGERS:
        for base in (f"{API}/reports/{{}}", "/reports/{}"):
            alike(site, who, "GET", base, report_id)
            alike(site, who, "GET", f"{base}/pdf", report_id)
            if who == "other patient":
                alike(site, who, "POST", f"{base}/password", report_id)
            if who in ("other patient", "other doctor"):
                alike(site, who, "POST", f"{base}/send", report_id)


@pytest.mark.parametrize("who", ["other patient", "other doctor"])
def test_upload_for_a_foreign_patient_looks_like_one_for_nobody(site: Site, who: str) -> None:
    record = site.person("patient").patient
    assert record is not None
    bodies = []
    for patient_id in (str(record.id), str(new_id())):
        answer = site.upload(who, patient_id=patient_id, data=picture_png(9))
        bodies.append((answer.status_code, answer.json() | {"request_id": ""}))
    assert bodies[0] == bodies[1]
    assert bodies[0][0] == 404


def test_account_of_staff_is_no_patient(site: Site) -> None:
    """A doctor's own account id, or a user's id in place of a record's, opens no way around the relation."""
    for key in (site.person("doctor").user.id, site.person("patient").user.id):
        assert site.upload("doctor", patient_id=str(key)).json()["code"] == "not-found"


def test_lists_hold_only_what_a_person_may_see(site: Site) -> None:
    case_id = site.bring_to(State.REPORT_READY)
    record = site.person("patient").patient
    assert record is not None
    for who in STRANGERS:
        for query in ("", f"?patient={record.id}", "?state=REPORT_READY"):
            assert site.get(who, f"/scans{query}").json() == {"items": [], "next_cursor": None}
    for who in ("patient", "doctor", "pharmacist", "admin"):
        assert [item["id"] for item in site.get(who, "/scans").json()["items"]] == [case_id]


def test_foreign_cursor_opens_no_foreign_page(site: Site) -> None:
    """A cursor says where to go on and nothing about what may be seen."""
    site.bring_to(State.AI_ANALYZED, data=picture_png(3))
    site.bring_to(State.AI_ANALYZED, data=picture_png(4))
    cursor = site.get("doctor", "/scans?limit=1").json()["next_cursor"]
    assert len(site.get("doctor", f"/scans?cursor={cursor}").json()["items"]) == 1
    assert site.get("other doctor", f"/scans?cursor={cursor}").json()["items"] == []


def test_patients_of_another_doctor_are_not_found_by_search(site: Site) -> None:
    site.in_care()
    assert [item["name"] for item in site.get("doctor", "/patients?search=patient").json()["items"]] == ["Patient"]
    assert site.get("other doctor", "/patients?search=patient").json() == {"items": []}


def test_person_without_relation_learns_nothing_from_a_duplicate(site: Site) -> None:
    """The very file of another patient is held, without a word about whose it is."""
    case_id = site.bring_to(State.AI_ANALYZED)
    held = site.upload("other patient")
    record = site.person("patient").patient
    assert record is not None
    assert (held.status_code, held.json()["code"]) == (422, "duplicate-of-other-patient")
    told = [word for word in (case_id, str(record.id), record.record_number) if word in held.text]
    assert told == []
