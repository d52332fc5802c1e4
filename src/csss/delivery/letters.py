"""Letters about accounts: confirm a registration, you are registered already, an approval code."""

from datetime import timedelta
from uuid import UUID

from csss.accounts.tables import LinkPurpose, OneTimeLink, PendingRegistration, User
from csss.delivery.channels.base import Channel, DeliveryError, Message
from csss.delivery.send import Site
from csss.foundation.ids import new_id
from csss.foundation.jobs import RetryLater
from csss.foundation.work import Work


def mail_registration(work: Work, registration_id: UUID, *, channel: Channel, site: Site) -> None:
    """Send the link that confirms a registration; retried while the registration is open."""
    row = work.session.get_one(PendingRegistration, registration_id)
    if row.used_at is not None or work.clock.now() >= row.expires_at:
        return
    token = work.blobs.get(row.token_blob).decode()
    _send(
        work,
        channel,
        Message(
            message_id=f"<{row.id}@{site.mail_domain}>",
            to=row.email,
            subject=f"{site.hospital_name}: confirm your registration",
            text=(
                f"Hello,\n\nsomebody registered with this address at {site.hospital_name}. If it was you, open this "
                f"link within 24 hours and enter the password that you chose:\n\n"
                f"{site.base_url}/register/confirm/{token}\n\n"
                f"If it was not you, do nothing: without the password the link opens nothing.\n"
            ),
        ),
    )


def mail_link(work: Work, link_id: UUID, *, channel: Channel, site: Site) -> None:
    """Send an invitation or a reset to the person it is for, and to nobody else."""
    row = work.session.get_one(OneTimeLink, link_id)
    if row.used_at is not None or row.token_blob is None or work.clock.now() >= row.expires_at:
        return
    token = work.blobs.get(row.token_blob).decode()
    joining = row.purpose is LinkPurpose.INVITE
    _send(
        work,
        channel,
        Message(
            message_id=f"<{row.id}@{site.mail_domain}>",
            to=row.email,
            subject=f"{site.hospital_name}: {'you are invited' if joining else 'set a new password'}",
            text=(
                f"Hello,\n\n"
                f"{'you are invited to join' if joining else 'a new password was asked for your account at'} "
                f"{site.hospital_name}. Open this link within 24 hours; it works once:\n\n"
                f"{site.base_url}/link/{token}\n\n"
                f"Did you not expect this? Then do not open it, and tell your administrator.\n"
            ),
        ),
    )


def mail_already_registered(work: Work, user_id: UUID, *, channel: Channel, site: Site) -> None:
    """Tell the owner of an address that somebody tried to register it again."""
    user = work.session.get_one(User, user_id)
    _send(
        work,
        channel,
        Message(
            message_id=f"<{new_id()}@{site.mail_domain}>",
            to=user.email,
            subject=f"{site.hospital_name}: you have an account already",
            text=(
                f"Hello,\n\nsomebody tried to register with this address, which has an account already. If it was "
                f"you, sign in at {site.base_url}/sign-in. If it was not, you need to do nothing.\n"
            ),
        ),
    )


def send_code(channel: Channel, site: Site, address: str, purpose: str, code: str, minutes: int) -> None:
    """Hand a code to its owner now, with its ``purpose`` after "Your code to".

    Raises `DeliveryError` when the mail server does not take it.
    """
    channel.send(
        Message(
            message_id=f"<{new_id()}@{site.mail_domain}>",
            to=address,
            subject=f"{site.hospital_name}: your code to confirm",
            text=(
                f"Your code to {purpose} is\n\n    {code}\n\nIt is valid for {minutes} minutes, works once, and "
                f"only for exactly what was on your screen. If you did not ask for it, tell your security officer.\n"
            ),
        ),
        handing_over=lambda: None,
    )


def _send(work: Work, channel: Channel, message: Message) -> None:
    # No lock while a mail server thinks.
    work.pause()
    try:
        channel.send(message, handing_over=lambda: None)
    except DeliveryError as problem:
        if problem.permanent:
            raise
        raise RetryLater(work.clock.now() + timedelta(minutes=1), problem.code) from None
