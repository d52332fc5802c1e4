"""What people do in these journeys, in short words."""

import re
from typing import Any
from uuid import UUID

import pytest

from browser.serving import Web
from csss.pathway.states import State
from csss.pathway.tables import Case

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here").expect
NOTES = "Both lungs are clear.\nHeart size within normal limits."


def send_scan(page: Any, picture: bytes, *, name: str = "scan.png") -> str:
    """Send a scan as the patient whose page this is; returns the path of its page."""
    page.goto("/patient/upload")
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": picture})
    page.get_by_role("button", name="Send the scan").click()
    page.wait_for_url(re.compile("/scans/"))
    return str(page.evaluate("location.pathname"))


def wait_until_read(page: Any) -> None:
    """Wait until the page has followed the AI by itself."""
    expect(page.locator(".scan-state")).to_contain_text("With the doctor")


def verify(page: Any, scan: str) -> None:
    """Sign the reading."""
    page.goto(scan)
    page.get_by_label("Calm", exact=True).check()
    if page.get_by_label("I disagree").count():
        page.get_by_label("I disagree").check()
    page.get_by_label("Notes").fill(NOTES)
    words = page.get_by_label(re.compile("Acknowledge that"))
    if words.count():
        words.fill("I read the image on its own, without the AI.")
    page.get_by_role("button", name="Sign the reading").click()
    page.wait_for_url(re.compile("/doctor$"))


def complete(page: Any, scan: str) -> None:
    """Prescribe one medicine."""
    page.goto(scan)
    page.get_by_label("Prescribe", exact=True).check()
    page.get_by_label("Medicine", exact=True).fill("Paracetamol")
    page.get_by_label("Dose").fill("500 mg")
    page.get_by_label("How often").fill("3 times a day")
    page.get_by_label("Check for allergies and interactions").fill("No allergy on record.")
    page.get_by_role("button", name="Sign and complete").click()
    page.wait_for_url(re.compile("/pharmacy$"))


def follow_letter(page: Any, address: str) -> str:
    """Wait for the newest letter to an address, follow the link in it, and return where it leads."""
    letter = page.get_by_role("link", name=f"to {address}")
    page.goto("/mail")
    while not letter.count():
        page.wait_for_timeout(200)
        page.reload()
    letter.first.click()
    page.locator("pre a").click()
    page.wait_for_url(re.compile("/(link|register)/"))
    return str(page.url)


def state_of(web: Web, scan: str) -> State:
    with web.assembly.shop.work() as work:
        return work.session.get_one(Case, UUID(scan.rsplit("/", 1)[-1])).state
