"""A site for the whole access table: its people signed in, and a case in any state on demand."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from csss.accounts import joining
from csss.accounts.joining import Applicant
from csss.accounts.sign_in import Origin
from csss.accounts.tables import PendingRegistration, SessionKind, User
from csss.findings import choices
from csss.foundation.ids import new_id
from csss.pathway.moves import move
from csss.pathway.states import State, Step
from csss.pathway.tables import Case
from csss.reports.tables import Report
from house.access_table import ACTORS
from pathway.versions import ask_for_code, decide
from pictures import picture_png
from sites import PASSWORD, Site

LONG_NAME = "Somebody With A Long Name"


@dataclass
class Ward:
    """One site for the whole table: its people signed in, and a case in any state on demand."""

    site: Site
    cases: dict[State, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    signed_in_at: datetime | None = None
    uploads: int = 100

    def sign_in(self) -> None:
        """Give everybody a fresh token and a fresh browser session, before the old ones grow old."""
        site, now = self.site, self.site.clock.now()
        if self.signed_in_at is not None and now - self.signed_in_at < timedelta(minutes=8):
            return
        self.signed_in_at = now
        desk = site.assembly.parts.desk
        for name in ACTORS[1:]:
            person = site.person(name)
            with site.assembly.shop.work() as work:
                user = work.session.get_one(User, person.user.id)
                person.token = desk.open_session(work, user, origin=Origin("127.0.0.1"), kind=SessionKind.API).secret
                self.cookies[name] = desk.open_session(
                    work, user, origin=Origin("127.0.0.1"), kind=SessionKind.BROWSER
                ).secret

    def picture(self) -> bytes:
        """A picture that was never sent before."""
        self.uploads += 1
        return picture_png(self.uploads)

    def case_in(self, state: State) -> str:
        """Return a case of "patient" in this state: the one of before when it is there still, else a new one."""
        known = self.cases.get(state)
        if known is None or self.site.state(known) is not state:
            known = self.cases[state] = self._make(state)
        return known

    def _make(self, state: State) -> str:
        site = self.site
        site.clock.move(timedelta(seconds=31))
        if state is State.QUARANTINED:
            refused = site.upload(data=b"no picture at all, number %d" % new_id().int)
            return str(refused.json()["scan_id"])
        before = {
            State.AI_FAILED: State.PENDING_AI,
            State.CANCELLED: State.PENDING_AI,
            State.REJECTED: State.AI_ANALYZED,
            State.RENDER_FAILED: State.APPROVED,
        }
        case_id = site.bring_to(before.get(state, state), data=self.picture())
        if state is State.CANCELLED:
            site.post("patient", f"/scans/{case_id}/cancel", {"reason": "not needed"})
        elif state is State.REJECTED:
            site.post("doctor", f"/scans/{case_id}/reject", {"reason_code": "non-diagnostic"})
        elif state in before:
            steps = (Step.START_AI, Step.AI_ERROR) if state is State.AI_FAILED else (Step.RENDER_ERROR,)
            with site.assembly.shop.work() as work:
                for step in steps:
                    move(work, work.session.get_one(Case, UUID(case_id)), step, None)
        assert site.state(case_id) is state
        return case_id

    def report_of(self, case_id: str) -> UUID:
        with self.site.assembly.shop.work() as work:
            found = work.session.scalar(select(Report.id).where(Report.case_id == UUID(case_id)))
        assert found is not None
        return found

    def code(self, who: str) -> str:
        """The present code of an authenticator, one that was not used yet."""
        return self.site.totp_code(who)

    def spare_user(self) -> UUID:
        """Somebody without a part in any case."""
        with self.site.assembly.shop.work() as work:
            user = User(
                id=new_id(),
                email=f"{new_id()}@site.example",
                name="Spare",
                role="patient",
                totp_last_step=0,
                created_at=work.clock.now(),
            )
            work.session.add(user)
        return user.id

    def reset_link(self) -> str:
        user_id = self.spare_user()
        with self.site.assembly.shop.work() as work:
            return joining.reset_link(work, None, user_id=user_id)

    def registration(self) -> str:
        """The token of a registration that waits for its confirmation."""
        with self.site.assembly.shop.work() as work:
            joining.register(
                work, applicant(), passwords=self.site.assembly.parts.desk.passwords, origin=Origin("x"), can_mail=True
            )
        with self.site.assembly.shop.work() as work:
            row = work.session.scalars(select(PendingRegistration).order_by(PendingRegistration.id.desc())).first()
            assert row is not None
            return work.blobs.get(row.token_blob).decode()

    def stand_before(self, step: str, actor: str) -> None:
        """Leave the models as they are before ``step`` of ``actor`` on version 1: idle, proposed, speaking ..."""
        site = self.site
        with site.assembly.shop.work() as work:
            place = choices.standing(work).of("tiny")
        if place.proposal is not None:
            own = place.proposal.by_id == site.person("spare admin").user.id
            decide(site, "withdraw" if own else "refuse", place.proposal.version, who="spare admin")
        if place.shadow is not None:
            decide(site, "stop-shadow", place.shadow.version)
        tau = None if place.active and place.active.tau else 0.8
        before = {"roll-back": ("1", "2"), "switch-off": ("2", "1")}.get(step, ("2",))
        for version in before:
            decide(site, "activate", version, who="spare admin", tau=tau)
        if step == "stop-shadow":
            decide(site, "shadow", "1")
        if step in ("withdraw", "refuse", "confirm", "step-up"):
            decide(site, "propose", "1", who=actor if step == "withdraw" else "spare admin")
        if step == "confirm":
            ask_for_code(site, "1", who=actor)
        self.sign_in()

    def newest_choice(self) -> str:
        """The newest decision about models, as a page of now has it."""
        with self.site.assembly.shop.work() as work:
            return str(choices.standing(work).newest_id or "")

    def own_session(self, who: str) -> UUID:
        """A browser session of this person that nobody uses."""
        desk = self.site.assembly.parts.desk
        with self.site.assembly.shop.work() as work:
            user = work.session.get_one(User, self.site.person(who if who != "nobody" else "patient").user.id)
            return desk.open_session(work, user, origin=Origin("127.0.0.1"), kind=SessionKind.BROWSER).actor.session_id


def applicant() -> Applicant:
    return Applicant(
        email=f"{new_id()}@new.example", name=LONG_NAME, birth_date=date(1990, 1, 2), sex="male", password=PASSWORD
    )
