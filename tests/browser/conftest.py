"""Chromium before a whole site, and pages that are watched."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.serving import Web, serve

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="package")
def web(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, tiny_models: Path, chromium: Any
) -> Iterator[Web]:
    """One site for all journeys; it is not started where there is no browser to look at it."""
    folder = tmp_path_factory.mktemp("web")
    shutil.copyfile(sqlite_template, folder / "csss.db")
    with serve(folder, tiny_models) as running:
        yield running


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The browser; without one, or without its driver, these tests are skipped and say so.

    It must not outlive this folder: its driver keeps an event loop in this thread, where others sign reports.
    """
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright here")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM}")
    driver.expect.set_options(timeout=15_000)  # the machine may be busy with other tests
    with driver.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(chromium: Any, web: Web) -> Iterator[OpenPage]:
    """Open a window as somebody (None: nobody yet). At the end no page may have complained or kept anything."""
    pages: list[Any] = []
    complaints: list[str] = []

    def note(message: Any) -> None:
        # What the server refuses is said in the console too, and is what some tests are about.
        refused = "Failed to load resource: the server responded with a status of 4" in message.text
        if message.type in ("error", "warning") and not refused:
            complaints.append(message.text)

    def open_(who: str | None = None, **options: Any) -> Any:
        context = chromium.new_context(base_url=web.url, **options)
        context.set_default_timeout(15_000)
        if who is not None:
            context.add_cookies([{"name": "csss_session", "value": web.person(who).cookie, "url": web.url}])
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        pages.append(page)
        return page

    yield open_
    kept = [
        page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
        for page in pages
        if page.url.startswith(web.url)
    ]
    for page in pages:
        page.context.close()
    assert complaints == []
    assert {name for names in kept for name in names} <= {"csss-keys"}
