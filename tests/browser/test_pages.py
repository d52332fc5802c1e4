"""Every page on a phone, in dark and light, with and without script, and the keys of the image."""

import re
from typing import Any

import pytest

from browser.conftest import OpenPage
from browser.serving import Web
from browser.steps import complete, send_scan, verify, wait_until_read
from csss.imaging.phantom import phantom_png

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here").expect
pytestmark = pytest.mark.browser

PAGES = [
    (None, "/sign-in"),
    (None, "/register"),
    (None, "/register/confirm/unknown"),
    (None, "/mail"),
    (None, "/nowhere"),
    ("look patient", "/patient"),
    ("look patient", "/patient/upload"),
    ("look patient", "/account"),
    ("look patient", "{scan}"),
    ("look doctor", "/doctor"),
    ("look doctor", "/doctor?view=on-the-way"),
    ("look doctor", "/doctor/patients"),
    ("look doctor", "/doctor/upload"),
    ("look doctor", "/models/tiny/1"),
    ("look doctor", "{scan}"),
    ("look pharmacist", "/pharmacy"),
    ("look pharmacist", "{scan}"),
    ("look admin", "/admin"),
    ("look admin", "/admin/users"),
    ("look admin", "/admin/audit"),
    ("look admin", "/admin/deliveries"),
    ("look admin", "/admin/models"),
    ("look admin", "/admin/models/tiny/1/agreement"),
]
TOO_WIDE = """[...document.querySelectorAll("body *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(e).clipPath === "none")
    .map(e => e.outerHTML.slice(0, 80)).slice(0, 3)"""


# Every visible text against the nearest ground that is painted behind it; 4.5 to 1 (WCAG 2.2, 1.4.3).
LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, over) => {
      const share = over[3] / 255;
      return [0, 1, 2].map(i => over[i] * share + under[i] * (1 - share));
    }, [255, 255, 255]);
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(e);
    if (!own || !e.checkVisibility({opacityProperty: true}) || style.clipPath !== "none") continue;
    if (e.closest(".slider, svg, [disabled]")) continue;
    const [a, b] = [light(rgba(style.color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 90)}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def scan(web: Web, chromium: Any) -> str:
    """A scan that the pharmacist completed: everybody has something to do with it, and something to see."""
    web.in_care("look patient", "look doctor")

    def page_of(who: str) -> Any:
        context = chromium.new_context(base_url=web.url)
        context.add_cookies([{"name": "csss_session", "value": web.person(who).cookie, "url": web.url}])
        return context.new_page()

    pages = {who: page_of(f"look {who}") for who in ("patient", "doctor", "pharmacist")}
    path = send_scan(pages["patient"], phantom_png(4, size=(256, 256)))
    wait_until_read(pages["patient"])
    verify(pages["doctor"], path)
    complete(pages["pharmacist"], path)
    for page in pages.values():
        page.context.close()
    return path


@pytest.mark.parametrize(("who", "address"), PAGES, ids=[f"{who or 'nobody'} {path}" for who, path in PAGES])
def test_page_fits_a_phone_and_can_be_read_in_dark_and_light(
    open_page: OpenPage, scan: str, who: str | None, address: str
) -> None:
    page = open_page(who, viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page.goto(address.format(scan=scan))
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width, page.evaluate(TOO_WIDE)
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        assert page.evaluate(LOW_CONTRAST) == [], theme


def test_image_follows_its_keys(open_page: OpenPage, scan: str) -> None:
    page = open_page("look doctor")
    page.goto(scan)
    heat = page.locator(".viewer-heat")
    expect(heat).to_be_hidden()
    with page.expect_response(re.compile("heatmap.png$")) as answer:
        page.keyboard.press("o")
    assert answer.value.status == 200
    expect(heat).to_be_visible()
    expect(page.get_by_text("AI result, not for primary diagnosis").first).to_be_visible()
    page.keyboard.press("i")
    expect(page.locator(".viewer-scan")).to_have_css("filter", "invert(1)")
    page.keyboard.press("+")
    expect(page.locator("[data-zoom-words]")).to_have_text("125 %")
    page.keyboard.press("-")
    page.keyboard.press("-")
    expect(page.locator("[data-zoom-words]")).to_have_text("80 %")
    page.keyboard.press("Space")
    expect(page.locator("[data-zoom-words]")).to_have_text("100 %")
    expect(heat).to_be_hidden()
    expect(page.locator(".viewer-scan")).to_have_css("filter", "none")


def test_single_keys_can_be_switched_off_and_stay_off(open_page: OpenPage, scan: str) -> None:
    page = open_page("look doctor")
    page.goto(scan)
    page.keyboard.press("?")
    page.get_by_label(re.compile("Single keys work on the whole page")).uncheck()
    page.get_by_role("button", name="Close").click()
    page.reload()
    page.locator("h1").click()
    page.keyboard.press("i")
    expect(page.locator(".viewer-scan")).to_have_css("filter", "none")
    page.locator("[data-viewer]").focus()
    page.keyboard.press("i")
    expect(page.locator(".viewer-scan")).to_have_css("filter", "invert(1)")


def test_typing_is_never_taken_for_a_key(open_page: OpenPage, scan: str) -> None:
    page = open_page("look admin")
    page.goto(scan)
    page.get_by_text("Return to the doctor").click()
    page.get_by_label("What should the doctor look at again?").press_sequentially("io + ?")
    expect(page.locator(".viewer-scan")).to_have_css("filter", "none")
    assert page.get_by_label("What should the doctor look at again?").input_value() == "io + ?"


def test_heat_map_and_invert_work_without_script(open_page: OpenPage, scan: str) -> None:
    page = open_page("look doctor", java_script_enabled=False)
    page.goto(scan)
    page.get_by_text("Heat map", exact=True).click()
    expect(page.locator(".viewer-heat")).to_be_visible()
    expect(page.get_by_role("button", name="Reset")).to_be_hidden()


def test_theme_is_remembered_by_the_server_and_dark_where_doctors_read(open_page: OpenPage, scan: str) -> None:
    page = open_page("look doctor", color_scheme="light")
    root = page.locator("html")
    page.goto(scan)
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Switch between light and dark").click()
    page.goto("/doctor")
    expect(root).to_have_attribute("data-theme", "light")
    assert page.request.get(scan).text().count('<html lang="en" data-theme="light">') == 1


def test_patient_sees_no_ai_and_no_inner_reason_before_release(web: Web, open_page: OpenPage, scan: str) -> None:
    page = open_page("look patient")
    page.goto(scan)
    text = page.inner_text("main")
    shown = [word for word in ("AI", "Calm", "Wave", "Storm", "%", "lungs", "Paracetamol") if word in text]
    assert shown == ["%"]  # of the zoom
    assert page.request.get(f"{scan}/heatmap.png").status == 404
    names = [person.user.name for name, person in web.people.items() if name in ("look pharmacist", "look admin")]
    assert [name for name in names if name in text] == []


def test_status_fragment_stops_asking_when_a_person_is_next(open_page: OpenPage, scan: str) -> None:
    page = open_page("look doctor")
    answer = page.request.get(f"{scan}/status?seen=1", headers={"HX-Request": "true"})
    assert "hx-get" not in answer.text()
    assert answer.headers["hx-refresh"] == "true"


def test_fragment_of_a_closed_session_leads_to_the_sign_in(open_page: OpenPage, scan: str) -> None:
    page = open_page()
    answer = page.request.get(f"{scan}/status", headers={"HX-Request": "true", "Referer": f"{page.url}{scan}"})
    assert answer.status == 401
    assert answer.headers["hx-redirect"].startswith("/sign-in?next=")


def test_signed_out_cookie_opens_nothing_and_stops_nothing(web: Web, open_page: OpenPage) -> None:
    page = open_page("leaving patient")
    page.goto("/patient")
    old = web.person("leaving patient").cookie
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.context.add_cookies([{"name": "csss_session", "value": old, "url": web.url}])
    page.goto("/patient")
    page.wait_for_url(re.compile(r"/sign-in\?next=/patient$"))
    expect(page.get_by_text("Your session has ended. Sign in to go on.")).to_be_visible()
    assert "csss_session" not in {cookie["name"] for cookie in page.context.cookies()}


def test_form_of_another_browser_is_refused(web: Web, open_page: OpenPage, scan: str) -> None:
    page = open_page("look admin")
    answer = page.request.post(f"{scan}/return", form={"csrf_token": "0" * 64, "reason": "not mine"})
    assert (answer.status, "The page is too old." in answer.text()) == (403, True)


def test_lists_say_what_to_do_when_empty(open_page: OpenPage) -> None:
    page = open_page("fresh patient")
    page.goto("/patient")
    expect(page.get_by_role("heading", name="No scan yet")).to_be_visible()
    page.locator(".empty").get_by_role("link", name="Send a scan").click()
    page.wait_for_url(re.compile("/patient/upload$"))
