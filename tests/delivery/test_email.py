"""The mail channel against real servers, good and odd ones."""

import socket
from collections.abc import Callable

import pytest

from csss.delivery.channels import CHANNELS, open_channels
from csss.delivery.channels.base import Attachment, DeliveryError, Message
from csss.delivery.channels.email import EmailChannel
from csss.foundation.settings import Smtp, load_settings
from delivery.odd_server import OddServer
from mailbox_server import Mailbox

LETTER = Message(
    message_id="<1@site.example>",
    to="patient@home.example",
    subject="Test Hospital: your report is ready",
    text="Hello,\n\nGrüße.\n.\nend\n",
    attachments=(Attachment("report.pdf", "application/pdf", b"%PDF-1.7\r\n.\r\n\x00\xff"),),
)


def _send(port: int, message: Message = LETTER, *, starttls: bool = True) -> tuple[str, list[str]]:
    """Send; returns the receipt and what was noted on the way."""
    notes: list[str] = []
    channel = EmailChannel(Smtp(host="127.0.0.1", port=port, starttls=starttls, sender="reports@site.example"))
    return channel.send(message, handing_over=lambda: notes.append("handing over")), notes


def _refusal(call: Callable[[], object]) -> tuple[str, bool, bool]:
    with pytest.raises(DeliveryError) as refused:
        call()
    return refused.value.message, refused.value.permanent, refused.value.outcome_unknown


def test_a_message_arrives_whole_and_encrypted(mailbox: Mailbox) -> None:
    assert _send(mailbox.port) == ("250 accepted", ["handing over"])
    [mail] = mailbox.messages
    assert mailbox.encrypted == [True]
    assert {name: mail[name] for name in ("From", "To", "Subject", "Message-ID", "Auto-Submitted")} == {
        "From": "reports@site.example",
        "To": "patient@home.example",
        "Subject": "Test Hospital: your report is ready",
        "Message-ID": "<1@site.example>",
        "Auto-Submitted": "auto-generated",
    }
    body = mail.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == LETTER.text
    [pdf] = mail.iter_attachments()
    assert (pdf.get_filename(), pdf.get_content_type(), pdf.get_content()) == (
        "report.pdf",
        "application/pdf",
        LETTER.attachments[0].data,
    )


def test_a_server_without_starttls_gets_nothing() -> None:
    with OddServer({}) as server:
        assert _refusal(lambda: _send(server.port)) == (
            "The mail server offers no encryption (STARTTLS).",
            True,
            False,
        )
        assert server.mails == []


@pytest.mark.parametrize(
    ("changes", "message", "permanent"),
    [
        ({"RCPT": "550 no such user"}, "The mail server refused the address (code 550).", True),
        ({"RCPT": "450 greylisted"}, "The mail server refused the address (code 450).", False),
        ({"MAIL": "451 busy"}, "The mail server refused the message (code 451).", False),
        ({"DATA": "554 no"}, "The mail server refused the message (code 554).", True),
        ({".": "552 too big"}, "The mail server refused the message (code 552).", True),
        ({".": "451 busy"}, "The mail server refused the message (code 451).", False),
        ({"MAIL": "drop"}, "The mail server cannot be reached (SMTPServerDisconnected).", False),
        # A refusal stays what it is, however the talk ends.
        ({".": "552 too big", "QUIT": "421 gone"}, "The mail server refused the message (code 552).", True),
        ({".": "552 too big", "RSET": "drop"}, "The mail server refused the message (code 552).", True),
        ({"RCPT": "550 no such user", "QUIT": "drop"}, "The mail server refused the address (code 550).", True),
    ],
)
def test_a_refusal_is_final_or_not_by_its_code(changes: dict[str, str], message: str, permanent: bool) -> None:
    with OddServer(changes) as server:
        assert _refusal(lambda: _send(server.port, starttls=False)) == (message, permanent, False)
        assert server.mails == []


def test_a_connection_lost_after_the_message_leaves_its_outcome_unknown() -> None:
    with OddServer({".": "drop"}) as server:
        assert _refusal(lambda: _send(server.port, starttls=False)) == (
            "The mail server was lost before it answered (SMTPServerDisconnected).",
            False,
            True,
        )


@pytest.mark.parametrize("goodbye", ["421 shutting down", "500 what", "drop"])
def test_a_message_that_was_accepted_is_sent_whatever_the_goodbye(goodbye: str) -> None:
    """A second mail would follow if a rude end of the talk counted as a refusal."""
    with OddServer({"QUIT": goodbye}) as server:
        assert _send(server.port, starttls=False) == ("250 accepted", ["handing over"])
        assert len(server.mails) == 1


def test_an_unreachable_server_is_tried_again_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert _refusal(lambda: _send(port)) == (
        "The mail server cannot be reached (ConnectionRefusedError).",
        False,
        False,
    )


def test_without_a_server_every_message_says_so() -> None:
    channel = EmailChannel(Smtp())
    assert _refusal(lambda: channel.send(LETTER, handing_over=lambda: None)) == (
        "No mail server is configured (CSSS_SMTP_HOST).",
        True,
        False,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "patient@home.example\r\nBcc: everybody@evil.example"},
        {"to": "patient@home.example\nRCPT TO:<everybody@evil.example>"},
        {"subject": "Ready\r\nBcc: everybody@evil.example"},
        {"to": "patiënt@home.example"},
    ],
    ids=["header in the address", "command in the address", "header in the subject", "address beyond ASCII"],
)
def test_what_mail_cannot_carry_is_refused_for_good_and_nothing_leaves(
    mailbox: Mailbox, changes: dict[str, str]
) -> None:
    values = {"message_id": "<1@site.example>", "to": "patient@home.example", "subject": "Ready", "text": "Hello"}
    assert _refusal(lambda: _send(mailbox.port, Message(**(values | changes)))) == (
        "The message cannot be written as mail.",
        True,
        False,
    )
    assert mailbox.messages == []


def test_every_channel_is_opened_by_its_name(tmp_path: object) -> None:
    settings = load_settings(
        {"CSSS_ENVIRONMENT": "demo", "CSSS_BASE_URL": "http://localhost", "CSSS_DATA_DIR": str(tmp_path)}
    )
    assert sorted(open_channels(settings)) == sorted(CHANNELS) == ["email"]
