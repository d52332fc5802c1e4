"""The whole path in a browser: a patient sends a scan, three people sign, the patient opens the report."""

import io
import re
from typing import Any

import pikepdf
import pytest

from browser.conftest import OpenPage
from browser.serving import Web
from browser.steps import complete, send_scan, state_of, verify, wait_until_read
from csss.imaging.phantom import phantom_png
from csss.pathway.states import State

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here").expect
pytestmark = pytest.mark.browser


def test_scan_goes_from_upload_to_opened_report(web: Web, open_page: OpenPage) -> None:
    web.in_care("path patient", "path doctor")
    patient = open_page("path patient")
    scan = send_scan(patient, phantom_png(1, size=(256, 256)))
    wait_until_read(patient)
    assert "AI" not in patient.inner_text("main")

    doctor = open_page("path doctor")
    doctor.goto("/doctor")
    doctor.get_by_role("link", name="Path Patient").click()
    verify(doctor, scan)
    expect(doctor.get_by_text("Signed. The scan is with the pharmacist now.")).to_be_visible()

    pharmacist = open_page("path pharmacist")
    complete(pharmacist, scan)

    admin = open_page("path admin")
    admin.goto(scan)
    admin.get_by_role("button", name="Approve with the authenticator").click()
    admin.get_by_label("Code of your authenticator").fill(web.person("path admin").code)
    admin.get_by_role("button", name="Approve and release").click()
    expect(admin.get_by_role("link", name="Version 1, current")).to_be_visible()
    assert state_of(web, scan) is State.REPORT_READY

    patient.goto(scan)
    patient.get_by_role("link", name="Open the report page").click()
    expect(patient.get_by_text("Sent", exact=True)).to_be_visible()
    with patient.expect_download() as download:
        patient.get_by_role("link", name="Download PDF").click()
    patient.get_by_role("button", name="Show password").click()
    password = patient.locator("#report-password").inner_text()
    assert "/Encrypt" in pikepdf.open(download.value.path(), password=password).trailer

    mailed = next(mail for mail in web.catcher.messages() if mail.to == web.person("path patient").user.email)
    assert len(pikepdf.open(io.BytesIO(mailed.attachments[0].data), password=password).pages) >= 1
    assert password not in mailed.text


@pytest.fixture
def completed(web: Web, open_page: OpenPage) -> str:
    """A scan that waits for its approval."""
    web.in_care("code patient", "code doctor")
    patient = open_page("code patient")
    scan = send_scan(patient, phantom_png(2, size=(256, 256)))
    wait_until_read(patient)
    verify(open_page("code doctor"), scan)
    complete(open_page("code pharmacist"), scan)
    return scan


def test_mailed_code_releases_after_a_wrong_one_was_counted(web: Web, open_page: OpenPage, completed: str) -> None:
    admin = open_page("code admin")
    admin.goto(completed)
    admin.get_by_role("button", name="Send me a code by mail").click()
    field = admin.get_by_label("Code from the mail")
    expect(field).to_be_focused()
    code = _mailed_code(admin)
    field.fill("00000000" if code != "00000000" else "11111111")
    admin.get_by_role("button", name="Approve and release").click()
    expect(admin.get_by_role("alert")).to_have_text("The code is wrong. 4 tries are left.")
    assert state_of(web, completed) is State.PHARMACIST_COMPLETED
    field.fill(code)
    admin.get_by_role("button", name="Approve and release").click()
    expect(admin.get_by_role("link", name="Version 1, current")).to_be_visible()


def _mailed_code(page: Any) -> str:
    """Read the code in the demo's mail, in a window of its own."""
    mail = page.context.new_page()
    mail.goto("/mail")
    mail.get_by_role("link", name=re.compile("your code to confirm")).first.click()
    found = re.search(r"\b\d{8}\b", mail.inner_text("pre"))
    mail.close()
    assert found is not None
    return found.group()
