"""What a doctor writes into a record: allergies, and the numbers of other systems; and what follows from it."""

import re
from datetime import date

import pytest

from csss.imaging.phantom import phantom_dicom
from csss.pathway.states import State
from csss.patients import Patient
from sites import NOTHING_NEEDED, Site


def record(site: Site) -> Patient:
    found = site.person("patient").patient
    assert found is not None
    return found


def amend(site: Site, who: str = "doctor", **body: str) -> tuple[int, str | None]:
    answer = site.post(who, f"/patients/{record(site).id}/record", body)
    return answer.status_code, answer.json().get("code")


def test_linked_number_lets_the_file_of_another_hospital_in(site: Site) -> None:
    site.in_care()
    born = date(1980, 5, 17).isoformat()
    data = phantom_dicom(5, patient_id="ELSEWHERE-77", patient_name="Patient", birth_date=born, size=(96, 96))
    send = {"name": "scan.dcm", "data": data, "patient_id": str(record(site).id)}
    assert site.upload("doctor", **send).json()["code"] == "identity-mismatch"
    assert amend(site, number="ELSEWHERE-77", issuer="City Hospital") == (200, None)
    assert site.upload("doctor", **send).json()["state"] == "PENDING_AI"


def test_number_of_another_patient_is_refused(site: Site) -> None:
    site.in_care()
    site.in_care("other patient")
    other = site.person("other patient").patient
    assert other is not None
    assert amend(site, number=other.record_number) == (409, "number-taken")
    assert site.post("doctor", f"/patients/{other.id}/record", {"number": "X-1"}).status_code == 200
    assert amend(site, number="X-1") == (409, "number-taken")


def test_only_a_doctor_in_care_amends(sqlite_site: Site) -> None:
    sqlite_site.in_care()
    assert amend(sqlite_site, "other doctor", allergies="Latex") == (404, "not-found")
    assert amend(sqlite_site, "pharmacist", allergies="Latex") == (403, "wrong-role")
    assert amend(sqlite_site) == (422, "nothing-entered")
    with sqlite_site.assembly.shop.work() as work:
        assert work.session.get_one(Patient, record(sqlite_site).id).allergies is None


@pytest.mark.parametrize(
    ("medicine", "stopped"), [("Penicillin V", True), ("PENICILLIN G", True), ("Doxycycline", False)]
)
def test_recorded_allergy_stops_a_medicine_of_that_name(sqlite_site: Site, medicine: str, stopped: bool) -> None:
    sqlite_site.in_care()
    assert amend(sqlite_site, allergies="Penicillin (rash)") == (200, None)
    scan = sqlite_site.bring_to(State.DOCTOR_VERIFIED)
    item = {"medicine": medicine, "dose": "1 g", "frequency": "daily"}
    body = {"items": [item], "allergy_check": "Looked at the record."}
    answer = sqlite_site.post("pharmacist", f"/scans/{scan}/complete", body)
    expected = (422, "allergy-conflict", State.DOCTOR_VERIFIED) if stopped else (200, None, State.PHARMACIST_COMPLETED)
    assert (answer.status_code, answer.json().get("code"), sqlite_site.state(scan)) == expected


def test_allergy_check_of_one_letter_is_no_check(sqlite_site: Site) -> None:
    scan = sqlite_site.bring_to(State.DOCTOR_VERIFIED)
    answer = sqlite_site.post("pharmacist", f"/scans/{scan}/complete", {**NOTHING_NEEDED, "allergy_check": "x"})
    assert answer.json()["code"] == "allergy-check-missing"


def test_refused_form_stays_open_with_what_was_typed(sqlite_site: Site) -> None:
    site = sqlite_site
    site.in_care()
    site.in_care("other patient")
    other = site.person("other patient").patient
    assert other is not None
    # The web door takes a bearer token too, and then needs no CSRF token.
    headers = {**site.person("doctor").headers, "Accept": "text/html"}
    form = {"number": other.record_number, "issuer": "City Hospital"}
    page = site.client.post(f"/doctor/patients/{record(site).id}/record", data=form, headers=headers)
    [panel] = re.findall(r"<details open>.*?</details>", page.text, re.DOTALL)
    assert page.status_code == 409
    assert "Another patient is known by this number" in panel
    assert (f'value="{other.record_number}"' in panel, 'value="City Hospital"' in panel) == (True, True)
