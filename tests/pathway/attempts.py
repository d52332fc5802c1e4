"""What people try on a case: something that is refused, or the beginning of an approval."""

from datetime import timedelta
from typing import Any

from csss import audit
from pathway.records import audited, everything, last_audited
from sites import Site


def refusal(site: Site, who: str, path: str, body: Any, **options: Any) -> tuple[int, str]:
    """Send something that is refused; returns status and code after seeing that nothing changed but the audit log."""
    before, seq = everything(site), last_audited(site)
    answer = site.post(who, path, body, **options)
    assert everything(site) == before
    denied = [(row.action, row.outcome, row.detail["code"]) for row in audited(site, after=seq)]
    assert denied == [("request.denied", audit.Outcome.DENIED, answer.json()["code"])]
    return answer.status_code, answer.json()["code"]


def start_approval(site: Site, case_id: str, who: str = "admin") -> str:
    site.clock.move(timedelta(seconds=31))  # an authenticator's code works once
    assert site.post(who, f"/scans/{case_id}/step-up", {"method": "totp"}).status_code == 201
    return site.totp_code(who)
