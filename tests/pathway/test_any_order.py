"""People do anything in any order, on the real verbs: no report without three persons, no trace of a refusal."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pyotp
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from csss import audit
from csss.accounts.actor import Actor
from csss.accounts.authenticator import totp_secret
from csss.accounts.tables import Role, StepUpMethod, User
from csss.foundation.errors import CsssError
from csss.foundation.work import Work
from csss.pathway import issuing, reading, signing, submit
from csss.pathway.states import RANK, TRANSITIONS, State
from csss.pathway.tables import Case, CaseEvent, SignOff
from csss.reports.content import PrescriptionFacts, ReadingFacts
from csss.reports.tables import Report
from csss.studies.receive import Upload
from pathway.records import new_picture
from sites import READING, Site

PEOPLE = ("doctor", "second doctor", "pharmacist", "admin", "second admin")
# The step that leads on from each state, and in whose role.
ONWARD = {
    State.AI_ANALYZED: ("verify", Role.DOCTOR),
    State.DOCTOR_VERIFIED: ("complete", Role.PHARMACIST),
    State.PHARMACIST_COMPLETED: ("approve", Role.ADMIN),
    State.RENDER_FAILED: ("retry_render", Role.ADMIN),
}
BACK = {
    State.DOCTOR_VERIFIED: ("return_to_doctor", Role.PHARMACIST),
    State.PHARMACIST_COMPLETED: ("return_to_pharmacist", Role.ADMIN),
    State.AI_ANALYZED: ("reject", Role.DOCTOR),
}
ENDS = (State.REPORT_READY, State.REJECTED, State.CANCELLED)
WAITS_FOR_SYSTEM = (State.PENDING_AI, State.APPROVED)
OTHER = (
    ("verify", Role.DOCTOR),
    ("complete", Role.PHARMACIST),
    ("approve", Role.ADMIN),
    ("approve", Role.DOCTOR),
    ("return_to_doctor", Role.ADMIN),
    ("return_to_doctor", Role.DOCTOR),
    ("return_to_pharmacist", Role.ADMIN),
    ("return_to_pharmacist", Role.PHARMACIST),
    ("retry_render", Role.ADMIN),
    ("retry_ai", Role.DOCTOR),
    ("complete", Role.PATIENT),
    ("cancel", Role.PHARMACIST),
    ("reject", Role.DOCTOR),
    ("cancel", Role.DOCTOR),
)


class Verbs:
    """The verbs of one site, each for one case by one person."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.rules = site.assembly.parts.site

    def verify(self, work: Work, actor: Actor, case_id: UUID) -> None:
        signing.verify(work, actor, case_id=case_id, reading=ReadingFacts(**READING), site=self.rules)  # type: ignore[arg-type]

    def complete(self, work: Work, actor: Actor, case_id: UUID) -> None:
        words = PrescriptionFacts(allergy_check="none known", none_statement="nothing needed")
        signing.complete(work, actor, case_id=case_id, prescription=words, site=self.rules)

    def approve(self, work: Work, actor: Actor, case_id: UUID) -> None:
        signing.begin_step_up(
            work, actor, case_id=case_id, method=StepUpMethod.TOTP, site=self.rules, send_code=lambda *_: None
        )
        name = work.session.get_one(User, actor.user_id).totp_secret
        assert name is not None
        code = pyotp.TOTP(totp_secret(work.blobs, name)).at(work.clock.now())
        signing.approve(work, actor, case_id=case_id, code=code, site=self.rules)

    def return_to_doctor(self, work: Work, actor: Actor, case_id: UUID) -> None:
        signing.return_to_doctor(work, actor, case_id=case_id, reason="Look again.")

    def return_to_pharmacist(self, work: Work, actor: Actor, case_id: UUID) -> None:
        signing.return_to_pharmacist(work, actor, case_id=case_id, reason="The dose?", site=self.rules)

    def reject(self, work: Work, actor: Actor, case_id: UUID) -> None:
        reading.reject_scan(work, actor, case_id=case_id, reason_code="duplicate")

    def cancel(self, work: Work, actor: Actor, case_id: UUID) -> None:
        reading.cancel(work, actor, case_id=case_id, reason="sent twice")

    def retry_ai(self, work: Work, actor: Actor, case_id: UUID) -> None:
        reading.retry_ai(work, actor, case_id=case_id)

    def retry_render(self, work: Work, actor: Actor, case_id: UUID) -> None:
        issuing.retry_render(work, actor, case_id=case_id)


class Pathway(RuleBasedStateMachine):
    """One new case in each run; ``tally`` counts what happened in all of them."""

    def __init__(self, site: Site, tally: Counter[str]) -> None:
        super().__init__()
        self.site, self.tally, self.verbs = site, tally, Verbs(site)

    @initialize()
    def send_in(self) -> None:
        self.last = (-1, -1)
        parts = self.site.assembly.parts
        with self.site.assembly.shop.work() as work:
            self.case_id = submit.submit(
                work,
                self.site.person("patient").actor,
                patient_id=None,
                upload=Upload("scan.png", new_picture()),
                doctor_id=self.site.person("doctor").user.id,
                decode=parts.decode,
                limits=parts.limits,
            ).case.id

    # One rule and not three: Hypothesis switches whole rules off in many runs, and few would get far.
    @rule(
        what=st.sampled_from(("next", "next", "next", "back", "other", "system")),
        who=st.sampled_from(PEOPLE),
        looks=st.sampled_from((True, True, False)),
        other=st.sampled_from(OTHER),
    )
    def somebody_does_something(self, what: str, who: str, looks: bool, other: tuple[str, Role]) -> None:
        if self.case().state in ENDS:
            self.teardown()
            self.send_in()
        if what == "system" or (what == "next" and self.case().state in WAITS_FOR_SYSTEM):
            self.site.run_jobs()
            return
        name, role = {"next": ONWARD, "back": BACK}.get(what, {}).get(self.case().state, other)
        if looks:
            self.look(who)
        self.attempt(name, who, role)

    def attempt(self, name: str, who: str, role: Role) -> None:
        """Do a verb in a role; a refusal leaves the case, its timeline and its signatures as they were."""
        self.site.clock.move(timedelta(seconds=31))  # an authenticator's code works once
        actor = replace(self.site.person(who).actor, role=role)
        before = self.rows()
        try:
            with self.site.assembly.shop.work() as work:
                getattr(self.verbs, name)(work, actor, self.case_id)
        except CsssError as refusal:
            self.tally[f"refused: {refusal.code}"] += 1
            assert self.rows() == before
        else:
            self.tally[name] += 1
            assert self.rows() != before

    def look(self, who: str) -> None:
        case = self.case()
        with self.site.assembly.shop.work() as work:
            audit.record(
                work,
                signing.IMAGE_VIEWED,
                actor_id=self.site.person(who).user.id,
                actor_role="doctor",
                object_id=case.id,
                revision=case.revision,
            )

    def case(self) -> Case:
        return self.site.case(self.case_id)

    def rows(self) -> list[Any]:
        with self.site.assembly.engine.connect() as connection:
            return [
                connection.execute(select(table.__table__).where(column == self.case_id)).all()
                for table, column in (
                    (Case, Case.id),
                    (CaseEvent, CaseEvent.case_id),
                    (SignOff, SignOff.case_id),
                    (Report, Report.case_id),
                )
            ]

    @invariant()
    def revision_and_rank_never_fall(self) -> None:
        if hasattr(self, "case_id"):
            case = self.case()
            place = (case.revision, RANK[case.state])
            assert place >= self.last
            self.last = place

    @invariant()
    def a_report_stands_on_three_persons(self) -> None:
        if not hasattr(self, "case_id") or self.case().state not in (State.APPROVED, State.REPORT_READY):
            return
        with self.site.assembly.shop.work() as work:
            rows = work.session.scalars(
                select(SignOff).where(SignOff.case_id == self.case_id, SignOff.voided_at.is_(None))
            ).all()
            reports = work.session.scalars(select(Report).where(Report.case_id == self.case_id)).all()
        assert sorted(row.step for row in rows) == ["approved", "completed", "verified"]
        assert len({row.user_id for row in rows}) == 3
        if self.case().state is State.REPORT_READY:
            [report] = reports
            assert report.content_sha256 == next(row.content_sha256 for row in rows if row.step == "approved")
            self.tally["released"] += 1

    def teardown(self) -> None:
        """Every line of the timeline is a row of the table."""
        with self.site.assembly.shop.work() as work:
            events = work.session.scalars(select(CaseEvent).where(CaseEvent.case_id == self.case_id)).all()
        allowed = {(row.step.value, row.source.value, row.target.value) for row in TRANSITIONS}
        assert {(row.step, row.source, row.target) for row in events if row.step != "upload"} <= allowed
        self.tally["steps"] += len(events)


def test_no_order_of_steps_releases_a_report_without_three_persons(shared_site: Site) -> None:
    for who in PEOPLE:
        shared_site.person(who)
    shared_site.in_care()
    shared_site.in_care(doctor="second doctor")
    tally: Counter[str] = Counter()
    run_state_machine_as_test(
        lambda: Pathway(shared_site, tally),
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    # Otherwise nothing was proved.
    assert min(tally[name] for name in ("released", "return_to_doctor", "refused: four-eyes", "approve")) > 0, tally
    assert tally["steps"] > 200, tally
