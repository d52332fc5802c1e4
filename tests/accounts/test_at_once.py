"""Two of the same at the same moment: a code, a link and a count of failures are still used once each."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from csss.accounts import joining
from csss.accounts.authenticator import check_totp
from csss.accounts.joining import Applicant
from csss.accounts.sign_in import Origin
from csss.accounts.tables import PendingRegistration, SessionKind, User
from csss.foundation.errors import CsssError
from csss.foundation.work import Work
from sites import PASSWORD, Site


def outcome_of(site: Site, verb: Callable[[Work], object]) -> str:
    """Run a verb in a unit of work of its own and return "done", or the code of its refusal."""
    try:
        with site.assembly.shop.work() as work:
            verb(work)
    except CsssError as refusal:
        return refusal.code
    return "done"


def while_the_first_is_not_through(site: Site, verb: Callable[[Work], object]) -> list[str]:
    """Run ``verb`` twice, the second time before the first one's transaction ends."""
    outcomes: list[str] = []
    second = threading.Thread(target=lambda: outcomes.append(outcome_of(site, verb)))

    def first(work: Work) -> None:
        verb(work)
        second.start()
        time.sleep(0.2)  # the second gets as far as it can; that it waits here is the point

    outcomes.append(outcome_of(site, first))
    second.join()
    return sorted(outcomes)


def test_authenticator_code_works_once(site: Site) -> None:
    user_id, code = site.person("doctor").user.id, site.totp_code("doctor")

    def verb(work: Work) -> None:
        if not check_totp(work, work.session.get_one(User, user_id), code):
            raise CsssError("used", code="used")

    assert while_the_first_is_not_through(site, verb) == ["done", "used"]


def test_sign_in_link_works_once(site: Site) -> None:
    user_id = site.person("patient").user.id
    with site.assembly.shop.work() as work:
        token = joining.demo_link(work, work.session.get_one(User, user_id))
    outcomes = while_the_first_is_not_through(site, lambda work: joining.use_sign_in_link(work, token, is_demo=True))
    assert outcomes == ["done", "link-invalid"]


def test_registration_link_works_once(site: Site) -> None:
    passwords, origin = site.assembly.parts.desk.passwords, Origin("127.0.0.1")
    applicant = Applicant(
        email="new@mail.example",
        name="New Person",
        birth_date=site.clock.now().date(),
        sex="other",
        password=PASSWORD,
    )
    with site.assembly.shop.work() as work:
        joining.register(work, applicant, passwords=passwords, origin=origin, can_mail=True)
    with site.assembly.shop.work() as work:
        token = work.blobs.get(work.session.query(PendingRegistration).one().token_blob).decode()
    outcomes = while_the_first_is_not_through(
        site,
        lambda work: joining.confirm_registration(
            work, token=token, password=PASSWORD, passwords=passwords, origin=origin
        ),
    )
    assert outcomes == ["done", "link-invalid"]


def test_guesses_made_at_once_are_counted_one_by_one(site: Site) -> None:
    """Otherwise a hundred guesses sent together would count as one."""
    desk, email = site.assembly.parts.desk, site.person("patient").user.email
    outcomes: list[str] = []
    gate = threading.Barrier(12)

    def verb(work: Work) -> None:
        desk.sign_in(
            work,
            email=email,
            password="not this one, sorry",
            code=None,
            origin=Origin("198.51.100.7"),
            kind=SessionKind.API,
        )

    def guess() -> None:
        gate.wait()
        outcomes.append(outcome_of(site, verb))

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"wrong-credentials": 5, "throttled": 7}
