"""A DICOM file says whose it is: one of somebody else is held, and nothing of it is analysed."""

from typing import Any

import pytest
from makers_imaging import dicom, gradient

from csss import patients
from csss.pathway.states import State
from csss.patients import Patient
from csss.studies.tables import Instance
from pathway.records import all_of, audited, held_of, last_audited, record_of, timeline
from sites import Site


def named(site: Site, who: str, name: str) -> Patient:
    with site.assembly.shop.work() as work:
        row = work.session.get_one(Patient, record_of(site, who).id)
        row.name = name
        return row


OWN = {"PatientName": "Okafor^Ngozi^^Dr", "PatientBirthDate": "19800517"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientID": "SOMEBODY-ELSE"}, "it carries another patient number than those on record"),
        ({"PatientID": None}, "it does not say whose it is (no patient number)"),
        ({"PatientID": "  "}, "it does not say whose it is (no patient number)"),
        ({"PatientName": "Okafor^Emeka"}, "it carries another name"),
        ({"PatientName": "Smith^Ngozi"}, "it carries another name"),
        ({"PatientBirthDate": "19800518"}, "it carries another date of birth"),
    ],
)
def test_a_dicom_file_of_somebody_else_is_held_with_its_reason(
    shared_site: Site, changes: dict[str, Any], reason: str
) -> None:
    named(shared_site, "patient", "Ngozi Okafor")
    shared_site.in_care()
    seen = {"PatientID": record_of(shared_site).record_number, **OWN, **changes}
    data, seq = dicom(gradient(*next(_sizes)), **seen), last_audited(shared_site)
    instances = len(all_of(shared_site, Instance))
    answer = shared_site.upload(data=data, name="scan.dcm")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "identity-mismatch")
    case, [held] = shared_site.case(body["scan_id"]), held_of(shared_site, body["scan_id"])
    assert (case.state, case.instance_id, case.reason_code) == (State.QUARANTINED, None, "identity-mismatch")
    assert held.reason == (
        f"The file is held back: {reason}. Nothing was analysed. If it is of this patient, a doctor can add the number "
        "to the record; then send it again."
    )
    assert shared_site.assembly.shop.blobs.get(held.blob) == data
    assert [row.action for row in audited(shared_site, after=seq)] == [
        "scan.received",
        "scan.quarantined",
        "request.denied",
    ]
    assert timeline(shared_site, body["scan_id"]) == [("upload", "RECEIVED", 0), ("refuse_file", "QUARANTINED", 0)]
    assert len(all_of(shared_site, Instance)) == instances


_sizes = iter((16 + n, 20) for n in range(50))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"PatientName": "OKAFOR^NGOZI"},
        {"PatientName": None},
        {"PatientBirthDate": None},
        {"PatientName": "Okafor=Ngozi"},
    ],
)
def test_a_dicom_file_of_the_patient_is_taken_in(shared_site: Site, changes: dict[str, Any]) -> None:
    named(shared_site, "patient", "Ngozi Okafor")
    shared_site.in_care()
    seen = {k: v for k, v in ({"PatientID": record_of(shared_site).record_number, **OWN} | changes).items() if v}
    if "PatientName" in changes and changes["PatientName"] is None:
        seen["PatientName"] = ""
    data = dicom(gradient(*next(_sizes)), **seen)
    answer = shared_site.upload(data=data, name="scan.dcm")
    assert (answer.status_code, answer.json()["state"]) == (202, "PENDING_AI")


def test_a_number_of_another_system_is_known_once_it_is_noted(shared_site: Site) -> None:
    named(shared_site, "patient", "Ngozi Okafor")
    shared_site.in_care()
    data = dicom(gradient(*next(_sizes)), PatientID="RIS-77", **OWN)
    assert shared_site.upload(data=data, name="scan.dcm").json()["code"] == "identity-mismatch"
    with shared_site.assembly.shop.work() as work:
        patients.add_identifier(work, patient_id=record_of(shared_site).id, issuer="RIS", value="RIS-77")
    assert shared_site.upload(data=data, name="scan.dcm").json()["state"] == "PENDING_AI"
