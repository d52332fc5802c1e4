"""kill -9 of the server anywhere between upload and delivery: the case finishes, once in every effect."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyotp
import pytest
from servers import Server, wait_for
from sqlalchemy import func, select

from csss.audit import verify_chain
from csss.delivery.tables import Delivery, DeliveryStatus
from csss.findings.tables import Analysis
from csss.foundation.clock import SystemClock
from csss.imaging.sandbox import Sandbox
from csss.pathway.states import State
from csss.pathway.tables import CaseEvent
from csss.reports.tables import Report
from mailbox_server import Mailbox
from pictures import picture_png
from sites import API, NOTHING_NEEDED, READING, Site, open_site


@pytest.fixture
def watcher(sqlite_url: str, tmp_path: Path, sandbox: Sandbox, tiny_models: Path, mailbox: Mailbox) -> Iterator[Site]:
    """The same site seen from this process: it makes people and looks into the database; it serves nothing."""
    with open_site(sqlite_url, tmp_path, SystemClock(), sandbox, tiny_models, mailbox) as site:  # type: ignore[arg-type]
        yield site


@pytest.fixture
def server(watcher: Site, tmp_path: Path) -> Iterator[Server]:
    settings = watcher.assembly.settings
    running = Server(
        environment={
            "CSSS_ENVIRONMENT": "demo",
            "CSSS_HOSPITAL_NAME": settings.hospital_name,
            "CSSS_DATA_DIR": str(settings.data_dir),
            "CSSS_MODEL_PATH": str(settings.model_path),
            "CSSS_ARGON2_PROFILE": "cheap",
            "CSSS_SMTP_HOST": "127.0.0.1",
            "CSSS_SMTP_PORT": str(watcher.mailbox.port),
        },
        log=tmp_path / "server.log",
    )
    yield running
    running.stop()


# Seconds between what a person did and the kill: before, within and after the system's own steps.
@pytest.mark.parametrize(("after_upload", "after_approval"), [(0.0, 0.0), (0.04, 0.15), (0.1, 0.3), (0.2, 0.6)])
def test_killed_server_finishes_the_case_once(
    watcher: Site, server: Server, after_upload: float, after_approval: float
) -> None:
    for name in ("patient", "doctor", "pharmacist", "admin"):
        watcher.person(name)
    watcher.in_care()
    server.start()
    scan = _post(watcher, server, "patient", "/scans", files={"file": ("scan.png", picture_png())})
    path = f"/scans/{scan['id']}"
    time.sleep(after_upload)
    server.kill()
    server.start()
    wait_for(lambda: watcher.state(scan["id"]) is State.AI_ANALYZED, "the analysis", on_failure=server.log.read_text)
    httpx.get(server.url + API + path + "/image", headers=watcher.person("doctor").headers).raise_for_status()
    _post(watcher, server, "doctor", f"{path}/verify", json=READING)
    _post(watcher, server, "pharmacist", f"{path}/complete", json=NOTHING_NEEDED)
    _post(watcher, server, "admin", f"{path}/step-up", json={"method": "totp"})
    code = pyotp.TOTP(str(watcher.person("admin").totp)).now()
    _post(watcher, server, "admin", f"{path}/approve", json={"code": code})
    time.sleep(after_approval)
    server.kill()
    server.start()
    wait_for(lambda: watcher.state(scan["id"]) is State.REPORT_READY, "the report", on_failure=server.log.read_text)
    wait_for(lambda: _delivery(watcher) in (DeliveryStatus.SENT, DeliveryStatus.DEAD), "the delivery to end")

    with watcher.assembly.shop.work() as work:
        assert work.session.scalar(select(func.count()).select_from(Analysis)) == 1
        assert work.session.scalar(select(func.count()).select_from(Report)) == 1
        assert work.session.scalar(select(func.count()).select_from(Delivery)) == 1
        finished = select(func.count()).select_from(CaseEvent).where(CaseEvent.step.in_(("ai_done", "render_ok")))
        assert work.session.scalar(finished) == 2
        assert verify_chain(work.session).first_bad_seq is None
    # Killed in the very moment of the hand-over, the mail's fate is unknown: then it is not sent a second time.
    assert len(watcher.mailbox.messages) == 1 or (
        _delivery(watcher) is DeliveryStatus.DEAD and len(watcher.mailbox.messages) <= 1
    )


def _post(watcher: Site, server: Server, who: str, path: str, **body: object) -> dict[str, str]:
    answer = httpx.post(server.url + API + path, headers=watcher.person(who).headers, timeout=30, **body)  # type: ignore[arg-type]
    assert answer.is_success, answer.text
    found: dict[str, str] = answer.json()
    return found


def _delivery(watcher: Site) -> DeliveryStatus | None:
    with watcher.assembly.shop.work() as work:
        return work.session.scalar(select(Delivery.status))
