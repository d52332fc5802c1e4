"""Many hands at the same moment: one of them takes the step, all others are told so."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from csss.accounts.actor import Actor
from csss.delivery.tables import Delivery
from csss.findings.tables import Analysis
from csss.foundation.errors import CsssError
from csss.foundation.work import Work
from csss.pathway import reading, signing
from csss.pathway.states import State
from csss.pathway.tables import SignOff
from csss.reports.content import PrescriptionFacts, ReadingFacts
from csss.reports.tables import Report
from csss.worker import run_due
from mailbox_server import Mailbox
from pathway.records import all_of, new_picture, places, timeline
from sites import NOTHING_NEEDED, READING, Site

THREADS = 24
Verb = Callable[[Work, Actor], object]


def race(site: Site, calls: list[tuple[str, Verb]]) -> Counter[str]:
    """Do all calls at once, each in a unit of work of its own; count "won" and the refusals."""
    start = threading.Barrier(len(calls))
    actors = {who: site.person(who).actor for who, _ in calls}

    def one(call: tuple[str, Verb]) -> str:
        who, verb = call
        start.wait(30)
        try:
            with site.assembly.shop.work() as work:
                verb(work, actors[who])
        except CsssError as refusal:
            return f"{refusal.status} {refusal.code}"
        return "won"

    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(pool.map(one, calls))


def assert_one_won(outcomes: Counter[str]) -> None:
    lost = {name: count for name, count in outcomes.items() if name != "won"}
    assert outcomes["won"] == 1
    # On PostgreSQL a loser may see the winner's signature, which is the own one here, before it sees the new state.
    assert set(lost) <= {"409 stale-version", "409 wrong-state", "409 no-open-code", "403 four-eyes"}


def verifying(case_id: str, site: Site) -> Verb:
    facts = ReadingFacts(**READING)  # type: ignore[arg-type]
    return lambda work, actor: signing.verify(
        work, actor, case_id=UUID(case_id), reading=facts, site=site.assembly.parts.site
    )


def completing(case_id: str, site: Site) -> Verb:
    facts = PrescriptionFacts(
        allergy_check=str(NOTHING_NEEDED["allergy_check"]), none_statement=str(NOTHING_NEEDED["none_statement"])
    )
    return lambda work, actor: signing.complete(
        work, actor, case_id=UUID(case_id), prescription=facts, site=site.assembly.parts.site
    )


def approving(case_id: str, site: Site, code: str) -> Verb:
    return lambda work, actor: signing.approve(
        work, actor, case_id=UUID(case_id), code=code, site=site.assembly.parts.site
    )


def returning(case_id: str) -> Verb:
    return lambda work, actor: signing.return_to_doctor(work, actor, case_id=UUID(case_id), reason="Look again.")


def test_one_of_many_verifies(site: Site) -> None:
    case_id = site.bring_to(State.AI_ANALYZED)
    version = site.case(case_id).version
    for who in ("doctor", "second doctor"):
        site.in_care(doctor=who)
        site.get(who, f"/scans/{case_id}/image")
    hands = ["doctor", "second doctor"] * (THREADS // 2)
    assert_one_won(race(site, [(who, verifying(case_id, site)) for who in hands]))
    assert places(site, case_id) == (State.DOCTOR_VERIFIED, 0, version + 1)
    [signature] = all_of(site, SignOff)
    assert site.case(case_id).doctor_id == signature.user_id


def test_one_of_many_completes(site: Site) -> None:
    case_id = site.bring_to(State.DOCTOR_VERIFIED)
    assert_one_won(race(site, [("pharmacist", completing(case_id, site))] * THREADS))
    assert (site.state(case_id), len(all_of(site, SignOff))) == (State.PHARMACIST_COMPLETED, 2)


def test_one_of_many_approves_and_one_report_is_mailed(site: Site, mailbox: Mailbox) -> None:
    case_id = site.bring_to(State.PHARMACIST_COMPLETED)
    calls: list[tuple[str, Verb]] = []
    for who in ("admin", "second admin", "third admin"):
        site.post(who, f"/scans/{case_id}/step-up", {"method": "totp"})
        calls += [(who, approving(case_id, site, site.totp_code(who)))] * (THREADS // 3)
    assert_one_won(race(site, calls))
    assert (site.state(case_id), len(all_of(site, SignOff))) == (State.APPROVED, 3)
    with ThreadPoolExecutor(4) as pool:
        ran = pool.map(lambda _: run_due(site.assembly.shop, site.assembly.handlers), range(4))
    assert sum(ran) == 2  # the report, and its delivery
    assert (len(all_of(site, Report)), len(all_of(site, Delivery)), len(mailbox.messages)) == (1, 1, 1)


def test_approval_and_return_at_the_same_moment_do_not_both_happen(site: Site) -> None:
    case_id = site.bring_to(State.PHARMACIST_COMPLETED)
    site.post("admin", f"/scans/{case_id}/step-up", {"method": "totp"})
    site.person("second admin")
    calls: list[tuple[str, Verb]] = [("admin", approving(case_id, site, site.totp_code("admin")))] * (THREADS // 2)
    calls += [("second admin", returning(case_id))] * (THREADS // 2)
    outcomes = race(site, calls)
    assert outcomes["won"] == 1
    # After a return the case is out of the administrators' sight.
    assert {name[:3] for name in outcomes if name != "won"} <= {"409", "404"}
    standing = sorted(row.step for row in all_of(site, SignOff) if row.voided_at is None)
    assert (site.state(case_id), standing) in [
        (State.APPROVED, ["approved", "completed", "verified"]),
        (State.AI_ANALYZED, []),
    ]


def _cancel(case_id: str) -> Verb:
    return lambda work, actor: reading.cancel(work, actor, case_id=UUID(case_id), reason="sent twice")


def _retry(case_id: str) -> Verb:
    return lambda work, actor: reading.retry_ai(work, actor, case_id=UUID(case_id))


@pytest.mark.parametrize(
    ("verb", "state", "steps"), [(_cancel, State.CANCELLED, ["cancel"]), (_retry, State.PENDING_AI, ["retry_ai"])]
)
def test_one_of_many_takes_a_failed_case_on(
    site: Site, verb: Callable[[str], Verb], state: State, steps: list[str]
) -> None:
    site.in_care()
    case_id = site.upload(data=new_picture(), modality="CT", body_part="BRAIN").json()["id"]
    site.run_jobs()
    before = len(timeline(site, case_id))
    assert_one_won(race(site, [("doctor", verb(case_id))] * THREADS))
    assert site.state(case_id) is state
    assert [step for step, _, _ in timeline(site, case_id)[before:]] == steps
    assert site.run_jobs() == (1 if state is State.PENDING_AI else 0)


def test_many_workers_analyse_a_case_once(site: Site) -> None:
    site.in_care()
    cases = [site.upload(data=new_picture()).json()["id"] for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ran = pool.map(lambda _: run_due(site.assembly.shop, site.assembly.handlers), range(4))
    assert sum(ran) == 4
    assert [places(site, case_id)[:2] for case_id in cases] == [(State.AI_ANALYZED, 0)] * 4
    assert [site.case(case_id).ai_attempts for case_id in cases] == [1] * 4
    assert len(all_of(site, Analysis)) == 4
