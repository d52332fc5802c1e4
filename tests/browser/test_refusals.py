"""A refusal says why at the form, and nothing that a person typed or chose is lost."""

import re
from typing import Any
from uuid import UUID

import pyotp
import pytest

from browser.conftest import OpenPage
from browser.serving import Web
from browser.steps import NOTES, follow_letter, send_scan, state_of, verify, wait_until_read
from csss.accounts.tables import SignInSession
from csss.imaging.phantom import phantom_png
from csss.pathway.states import State
from pictures import picture_png
from sites import PASSWORD

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here").expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pictures() -> Any:
    """A new picture at each call: the same file twice is one scan."""
    return iter(picture_png(seed, rows=64, columns=64) for seed in range(100, 200))


@pytest.fixture
def scan(web: Web, open_page: OpenPage, pictures: Any) -> str:
    """A scan that waits for the doctor."""
    web.in_care("form patient", "form doctor")
    patient = open_page("form patient")
    path = send_scan(patient, next(pictures))
    wait_until_read(patient)
    return path


def test_empty_notes_are_refused_with_everything_else_kept(web: Web, open_page: OpenPage, scan: str) -> None:
    doctor = open_page("form doctor")
    doctor.goto(scan)
    doctor.get_by_label("Other", exact=True).check()
    doctor.get_by_label("Conclusion in your own words").fill("Nothing unusual")
    doctor.get_by_label("I disagree").check()
    doctor.get_by_label("Recommendations").fill("None.")
    doctor.get_by_role("button", name="Sign the reading").click()
    expect(doctor.get_by_role("alert")).to_have_text("Write your notes; a report without notes cannot be signed.")
    expect(doctor.get_by_role("alert")).to_be_focused()
    assert doctor.get_by_label("Conclusion in your own words").input_value() == "Nothing unusual"
    assert doctor.get_by_label("I disagree").is_checked()
    assert doctor.get_by_label("Recommendations").input_value() == "None."
    assert state_of(web, scan) is State.AI_ANALYZED


def test_medicine_without_dose_is_refused_with_every_row_kept(web: Web, open_page: OpenPage, scan: str) -> None:
    verify(open_page("form doctor"), scan)
    pharmacist = open_page("form pharmacist")
    pharmacist.goto(scan)
    pharmacist.get_by_label("Prescribe", exact=True).check()
    pharmacist.get_by_label("Medicine", exact=True).fill("First")
    pharmacist.get_by_role("button", name="Add another medicine").click()
    pharmacist.get_by_label("Medicine", exact=True).nth(1).fill("Second")
    pharmacist.get_by_role("button", name="Sign and complete").click()
    expect(pharmacist.get_by_role("alert")).to_have_text(
        "Each medicine needs a name, a dose and how often it is taken."
    )
    rows = pharmacist.get_by_label("Medicine", exact=True)
    assert [rows.nth(i).input_value() for i in range(rows.count())] == ["First", "Second"]


def test_page_that_grew_old_is_refused_with_the_text_kept(web: Web, open_page: OpenPage, scan: str) -> None:
    first, second = open_page("form doctor"), open_page("form doctor")
    first.goto(scan)
    first.get_by_label("Notes").fill(NOTES)
    verify(second, scan)
    first.get_by_label("Calm", exact=True).check()
    first.get_by_label("I agree").check()
    first.get_by_role("button", name="Sign the reading").click()
    expect(first.get_by_role("alert")).to_contain_text("The case changed while you were reading it.")
    assert first.get_by_label("What you wrote: notes").input_value() == NOTES
    assert state_of(web, scan) is State.DOCTOR_VERIFIED


def test_text_survives_the_end_of_the_session(web: Web, open_page: OpenPage, scan: str) -> None:
    doctor = open_page("form doctor")
    doctor.goto(scan)
    doctor.get_by_label("Notes").fill(NOTES)
    with web.assembly.shop.work() as work:
        for row in work.session.query(SignInSession).filter_by(user_id=web.person("form doctor").user.id):
            row.revoked_at = work.clock.now()
    doctor.get_by_role("button", name="Sign the reading").click()
    expect(doctor.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert doctor.get_by_label("What you wrote, part 1").input_value() == NOTES
    del web.people["form doctor"]
    assert state_of(web, scan) is State.AI_ANALYZED


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_text_file_named_png_is_refused_at_the_form(open_page: OpenPage, script: bool) -> None:
    page = open_page("form patient", java_script_enabled=script)
    page.goto("/patient/upload")
    page.set_input_files("#file", {"name": "scan.png", "mimeType": "image/png", "buffer": b"no picture" * 9})
    page.get_by_label("Kind of examination").select_option("CR")
    page.get_by_role("button", name="Send the scan").click()
    expect(page.get_by_role("alert")).to_contain_text("CSSS reads PNG, JPEG and DICOM files. This one looks like text.")
    assert page.get_by_label("Kind of examination").input_value() == "CR"
    page.get_by_role("link", name="See the file that was held back").click()
    expect(page.get_by_role("heading", name="This file was not accepted")).to_be_visible()


@pytest.mark.parametrize(
    ("script", "words"),
    [(True, "This file has 11.0 MB; at most 10.0 MB are accepted."), (False, "larger than the 10 MB")],
    ids=["script", "no script"],
)
def test_eleven_megabytes_are_refused(open_page: OpenPage, script: bool, words: str) -> None:
    page = open_page("form patient", java_script_enabled=script)
    page.goto("/patient/upload")
    large = picture_png(5) + bytes(11 * 1024 * 1024 - len(picture_png(5)))
    page.set_input_files("#file", {"name": "scan.png", "mimeType": "image/png", "buffer": large})
    page.get_by_role("button", name="Send the scan").click()
    expect(page.get_by_role("alert")).to_contain_text(words)


def test_dropped_file_is_shown_and_sent(web: Web, open_page: OpenPage) -> None:
    page = open_page("drop patient")
    page.goto("/patient/upload")
    dropped = page.evaluate_handle(
        """bytes => { const box = new DataTransfer();
        box.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"})); return box; }""",
        list(phantom_png(9, size=(64, 64))),
    )
    page.dispatch_event("[data-drop]", "drop", {"dataTransfer": dropped})
    expect(page.locator("[data-preview-image]")).to_be_visible()
    expect(page.locator("[data-file-name]")).to_contain_text("dropped.png")
    page.get_by_role("button", name="Send the scan").click()
    page.wait_for_url(re.compile("/scans/"))
    assert UUID(page.url.rsplit("/", 1)[-1])


def test_wrong_password_gives_401_and_keeps_the_address(web: Web, open_page: OpenPage) -> None:
    address = web.person("door patient").user.email
    page = open_page()
    page.goto("/sign-in")
    page.get_by_label("E-mail address").fill(address)
    page.get_by_label("Password").fill("not the password")
    with page.expect_response(re.compile("/sign-in$")) as answer:
        page.get_by_role("button", name="Sign in").click()
    assert answer.value.status == 401
    expect(page.get_by_role("alert")).to_have_text("E-mail address or password is wrong.")
    assert page.get_by_label("E-mail address").input_value() == address
    assert page.get_by_label("Password").input_value() == ""


def test_staff_need_the_authenticator_and_go_where_they_wanted(web: Web, open_page: OpenPage) -> None:
    doctor = web.person("door doctor")
    page = open_page()
    page.goto("/doctor/patients")
    page.wait_for_url(re.compile(r"/sign-in\?next=/doctor/patients$"))
    for code, words in (("", "Enter the code of your authenticator."), (doctor.code, None)):
        page.get_by_label("E-mail address").fill(doctor.user.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("Authenticator code").fill(code)
        page.get_by_role("button", name="Sign in").click()
        if words:
            expect(page.get_by_role("alert")).to_have_text(words)
    page.wait_for_url(re.compile("/doctor/patients$"))


def test_keyboard_alone_signs_in(web: Web, open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/sign-in")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(web.person("keyboard patient").user.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/patient$"))
    expect(page.get_by_role("heading", name="Hello, Keyboard")).to_be_visible()


def test_patient_registers_by_mail(open_page: OpenPage) -> None:
    page = open_page()
    page.goto("/register")
    page.get_by_label("Full name").fill("Nora New")
    page.get_by_label("E-mail address").fill("nora@new.example")
    page.get_by_label("Date of birth").fill("1990-02-03")
    page.get_by_label("Sex").select_option("female")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    follow_letter(page, "nora@new.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Open my account").click()
    expect(page.get_by_role("heading", name="Hello, Nora")).to_be_visible()


def test_invited_doctor_sets_up_an_authenticator(open_page: OpenPage) -> None:
    admin = open_page("people admin")
    admin.goto("/admin/users")
    admin.get_by_label("E-mail address").fill("invited@doctor.example")
    admin.get_by_label("Role").select_option("doctor")
    admin.get_by_role("button", name="Mail the invitation").click()
    expect(admin.get_by_role("status")).not_to_be_empty()
    page = open_page()
    link = follow_letter(page, "invited@doctor.example")
    secret = page.locator("#totp-secret").inner_text().replace(" ", "")
    page.get_by_label("Full name").fill("Ida Invited")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Code that the app shows now").fill("000000")
    page.get_by_role("button", name="Open my account").click()
    expect(page.get_by_role("alert")).to_contain_text("The code does not fit.")
    assert page.get_by_label("Full name").input_value() == "Ida Invited"
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("Code that the app shows now").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Open my account").click()
    page.wait_for_url(re.compile("/doctor$"))
    page.goto(link)
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
