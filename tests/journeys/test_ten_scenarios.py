"""The ten scenarios of the papers, each as a person meets it, through the JSON API."""

import io
import re
import shutil
import subprocess
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pikepdf
import pytest

from csss.accounts.joining import invite
from csss.accounts.tables import Role
from csss.pathway.states import State
from pictures import picture_jpeg, picture_png
from sites import API, NOTHING_NEEDED, PASSWORD, READING, Site

REGISTRATION = {
    "email": "nora.newcomer@home.example",
    "name": "Nora Newcomer",
    "birth_date": "1991-07-30",
    "sex": "female",
    "password": PASSWORD,
}


def _text(mail: EmailMessage) -> str:
    body = mail.get_body(preferencelist=("plain",))
    assert body is not None
    return str(body.get_content())


def _code_of(mail: EmailMessage) -> str:
    found = re.search(r"^\s+(\d{8})\s*$", _text(mail), re.MULTILINE)
    assert found is not None
    return found[1]


def test_1_patient_registers_confirms_and_signs_in(site: Site) -> None:
    answer = site.client.post(f"{API}/auth/register", json=REGISTRATION)
    assert (answer.status_code, answer.json()) == (202, {"status": "confirmation-mailed"})
    early = site.client.post(f"{API}/auth/login", json={"email": REGISTRATION["email"], "password": PASSWORD})
    assert early.json()["code"] == "wrong-credentials"
    site.run_jobs()
    [mail] = site.mailbox.messages
    assert mail["To"] == REGISTRATION["email"]
    token = re.search(r"/register/confirm/(\S+)", _text(mail))
    assert token is not None
    confirmed = site.client.post(f"{API}/auth/confirm", json={"token": token[1], "password": PASSWORD})
    assert confirmed.status_code == 201
    signed_in = site.client.post(f"{API}/auth/login", json={"email": REGISTRATION["email"], "password": PASSWORD})
    user = signed_in.json()["user"]
    assert (user["role"], user["name"], user["patient_id"]) == (
        "patient",
        "Nora Newcomer",
        confirmed.json()["patient_id"],
    )


@pytest.mark.parametrize("role", [Role.DOCTOR, Role.PHARMACIST, Role.ADMIN])
def test_1_staff_join_by_invitation_only(site: Site, role: Role) -> None:
    refused = site.client.post(f"{API}/auth/register", json={**REGISTRATION, "role": role})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")
    with site.assembly.shop.work() as work:
        secret = invite(work, None, email=f"{role}@staff.example", role=role)
    page = site.client.get(f"/link/{secret}")
    assert f"{role}@staff.example" in page.text


@pytest.mark.parametrize("who", ["patient", "doctor", "pharmacist", "admin"])
def test_2_everyone_signs_in_with_their_role(site: Site, who: str) -> None:
    person = site.person(who)
    body = {"email": person.user.email, "password": PASSWORD}
    if person.totp:
        missing = site.client.post(f"{API}/auth/login", json=body)
        assert (missing.status_code, missing.json()["code"]) == (401, "second-factor-required")
        body["code"] = site.totp_code(who)
    answer = site.client.post(f"{API}/auth/login", json=body)
    token = answer.json()["access_token"]
    me = site.client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert (me.json()["role"], answer.json()["expires_in"]) == (who, 3600)


def test_3_approval_code_is_mailed_verified_and_expires(site: Site) -> None:
    scan = site.bring_to(State.PHARMACIST_COMPLETED)
    path = f"/scans/{scan}"
    assert site.post("admin", f"{path}/step-up", {"method": "email"}).status_code == 201
    first = _code_of(site.mailbox.messages[-1])
    assert "valid for 10 minutes" in _text(site.mailbox.messages[-1])
    site.clock.move(timedelta(minutes=10))
    expired = site.post("admin", f"{path}/approve", {"code": first})
    assert (expired.status_code, expired.json()["code"]) == (401, "code-expired")
    assert site.state(scan) is State.PHARMACIST_COMPLETED
    site.post("admin", f"{path}/step-up", {"method": "email"})
    second = _code_of(site.mailbox.messages[-1])
    site.clock.move(timedelta(minutes=9, seconds=59))
    approved = site.post("admin", f"{path}/approve", {"code": second})
    assert (approved.status_code, approved.json()["state"]) == (200, "APPROVED")


@pytest.mark.parametrize(
    ("name", "data"), [("scan.png", picture_png()), ("scan.jpg", picture_jpeg()), ("SCAN.JPEG", picture_jpeg())]
)
def test_4_png_and_jpeg_are_taken_in(site: Site, name: str, data: bytes) -> None:
    site.person("doctor")
    answer = site.upload(name=name, data=data)
    assert (answer.status_code, answer.json()["state"], answer.json()["repeated"]) == (202, "PENDING_AI", False)


def test_4_eleven_megabytes_are_refused_and_not_kept(site: Site) -> None:
    answer = site.upload(data=picture_png() + b"\0" * 11 * 1024 * 1024)
    assert (answer.status_code, answer.json()["code"]) == (413, "file-too-large")
    assert site.get("patient", "/scans").json()["items"] == []


def test_5_ai_reads_and_explains(site: Site) -> None:
    scan = site.bring_to(State.AI_ANALYZED)
    ai = site.get("doctor", f"/scans/{scan}").json()["ai"]
    assert sum(ai["probabilities"].values()) == pytest.approx(1.0)
    assert (ai["threshold"], ai["label"], ai["has_heatmap"]) == (0.75, "storm", True)
    heat = site.get("doctor", f"/scans/{scan}/heatmap")
    assert heat.content.startswith(b"\x89PNG\r\n\x1a\n")
    hidden = site.get("patient", f"/scans/{scan}")
    assert (hidden.json()["ai"], site.get("patient", f"/scans/{scan}/heatmap").status_code) == (None, 404)


def test_6_doctor_verifies_with_notes_and_not_without(site: Site) -> None:
    scan = site.bring_to(State.AI_ANALYZED)
    site.get("doctor", f"/scans/{scan}/image")
    for blank in ("", "   \n\t"):
        refused = site.post("doctor", f"/scans/{scan}/verify", {**READING, "notes": blank})
        assert (refused.status_code, refused.json()["code"]) == (400, "notes-empty")
    assert site.state(scan) is State.AI_ANALYZED
    done = site.post("doctor", f"/scans/{scan}/verify", READING)
    assert (done.json()["state"], done.json()["sign_offs"][0]["words"]["notes"]) == (
        "DOCTOR_VERIFIED",
        READING["notes"],
    )


def test_7_pharmacist_completes(site: Site) -> None:
    scan = site.bring_to(State.DOCTOR_VERIFIED)
    [line] = site.get("pharmacist", "/scans").json()["items"]
    assert line["id"] == scan
    item = {
        "medicine": "Amoxicillin",
        "dose": "500 mg",
        "route": "oral",
        "frequency": "3 times a day",
        "duration": "7 days",
    }
    body = {"items": [item], "allergy_check": "No allergy to penicillin on record."}
    done = site.post("pharmacist", f"/scans/{scan}/complete", body)
    assert (done.json()["state"], done.json()["sign_offs"][1]["words"]["items"][0]["medicine"]) == (
        "PHARMACIST_COMPLETED",
        "Amoxicillin",
    )


def test_8_admin_approves_and_the_sealed_report_is_mailed(site: Site, tmp_path: Path) -> None:
    scan = site.bring_to(State.REPORT_READY)
    [report] = site.get("patient", f"/scans/{scan}").json()["reports"]
    [mail] = site.mailbox.messages
    assert site.mailbox.encrypted == [True]
    [attachment] = mail.iter_attachments()
    pdf = attachment.get_payload(decode=True)
    assert isinstance(pdf, bytes)
    password = site.post("patient", f"/reports/{report['id']}/password").json()["password"]
    with pytest.raises(pikepdf.PasswordError):
        pikepdf.open(io.BytesIO(pdf))
    with pikepdf.open(io.BytesIO(pdf), password=password) as opened:
        assert (opened.encryption.R, opened.encryption.bits, len(opened.pages) >= 1) == (6, 256, True)
    assert password not in mail.as_string()
    assert "Patient" not in _text(mail)
    delivered = site.get("patient", f"/reports/{report['id']}").json()["deliveries"]
    assert [(row["status"], row["attempts"]) for row in delivered] == [("sent", 1)]
    if not (shutil.which("qpdf") and shutil.which("pdfsig")):
        pytest.skip("qpdf and pdfsig (poppler-utils) are not installed")
    file = tmp_path / "report.pdf"
    file.write_bytes(pdf)
    checked = subprocess.run(["qpdf", f"--password={password}", "--check", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    signed = subprocess.run(["pdfsig", "-upw", password, file], capture_output=True, text=True).stdout
    assert ("Total document signed" in signed, "Signature is Valid" in signed) == (True, True)


def test_9_patient_downloads_and_others_do_not(site: Site) -> None:
    scan = site.bring_to(State.REPORT_READY)
    [report] = site.get("patient", f"/scans/{scan}").json()["reports"]
    pdf = site.get("patient", f"/reports/{report['id']}/pdf")
    [mail] = site.mailbox.messages
    [attachment] = mail.iter_attachments()
    assert pdf.content == attachment.get_payload(decode=True)
    stranger = site.get("other patient", f"/reports/{report['id']}/pdf")
    assert (stranger.status_code, stranger.json()["code"]) == (404, "not-found")


def test_10_wrong_password_is_refused(site: Site) -> None:
    email = site.person("patient").user.email
    answer = site.client.post(f"{API}/auth/login", json={"email": email, "password": "not the password"})
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong-credentials")


def test_whole_path_says_who_did_what(site: Site) -> None:
    scan = site.bring_to(State.REPORT_READY)
    events = site.get("doctor", f"/scans/{scan}/events").json()["items"]
    assert [(event["step"], event["role"]) for event in events] == [
        ("upload", "patient"),
        ("accept_file", "system"),
        ("start_ai", "system"),
        ("ai_done", "system"),
        ("verify", "doctor"),
        ("complete", "pharmacist"),
        ("approve", "admin"),
        ("render_ok", "system"),
    ]
    refused = site.post("pharmacist", f"/scans/{scan}/complete", NOTHING_NEEDED)
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong-state")
