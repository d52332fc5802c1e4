"""SMTP with STARTTLS (RFC 5321, RFC 3207)."""

import contextlib
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

from csss.delivery.channels.base import DeliveryError, Message
from csss.foundation.settings import Smtp

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class EmailChannel:
    """Sends through the site's mail server; never in clear text to another machine."""

    def __init__(self, settings: Smtp) -> None:
        self._settings = settings

    def send(self, message: Message, *, handing_over: Callable[[], None]) -> str:
        """Send one message; see `Channel.send`."""
        if not self._settings.host:
            raise DeliveryError("No mail server is configured (CSSS_SMTP_HOST).", permanent=True)
        mail = _write(message, self._settings.sender)
        try:
            server = smtplib.SMTP(self._settings.host, self._settings.port, timeout=self._settings.timeout_seconds)
            try:
                return self._converse(server, message.to, mail, handing_over)
            finally:
                _leave(server)
        except smtplib.SMTPResponseException as problem:
            # 5xx is final (RFC 5321 section 4.2.1); what a server says may quote the address, so it is not kept.
            raise DeliveryError(
                f"The mail server refused the message (code {problem.smtp_code}).", permanent=problem.smtp_code >= 500
            ) from None
        except smtplib.SMTPRecipientsRefused as problem:
            code = max((answer[0] for answer in problem.recipients.values()), default=550)
            raise DeliveryError(f"The mail server refused the address (code {code}).", permanent=code >= 500) from None
        except ssl.SSLError:
            raise DeliveryError("The mail server's certificate is not trusted.", permanent=False) from None
        except (smtplib.SMTPException, OSError) as problem:
            raise DeliveryError(
                f"The mail server cannot be reached ({type(problem).__name__}).", permanent=False
            ) from None

    def _converse(self, server: smtplib.SMTP, to: str, mail: bytes, handing_over: Callable[[], None]) -> str:
        server.ehlo_or_helo_if_needed()
        if self._settings.starttls:
            if not server.has_extn("starttls"):
                raise DeliveryError("The mail server offers no encryption (STARTTLS).", permanent=True)
            server.starttls(context=self._tls())
            server.ehlo()
        if self._settings.user and self._settings.password:
            server.login(self._settings.user, self._settings.password)
        _expect(server.mail(self._settings.sender))
        code, answer = server.rcpt(to)
        if code not in (250, 251):
            raise smtplib.SMTPRecipientsRefused({to: (code, answer)})
        handing_over()
        try:
            code, answer = server.data(mail)
        except smtplib.SMTPResponseException:
            raise  # an answer, although smtplib calls it an OSError: the server did not want the message
        except (smtplib.SMTPServerDisconnected, OSError) as problem:
            raise DeliveryError(
                f"The mail server was lost before it answered ({type(problem).__name__}).",
                permanent=False,
                outcome_unknown=True,
            ) from None
        _expect((code, answer))
        return f"{code} accepted"

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._settings.host in _LOOPBACK:
            # A relay on this very machine usually has a certificate of its own making.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _expect(reply: tuple[int, bytes]) -> None:
    code, answer = reply
    if code != 250:
        raise smtplib.SMTPResponseException(code, answer)


def _leave(server: smtplib.SMTP) -> None:
    """Say goodbye. How the server takes it changes nothing about a message that it took or refused."""
    with contextlib.suppress(OSError):
        server.quit()
    server.close()


def _write(message: Message, sender: str) -> bytes:
    try:
        for address in (message.to, sender):
            address.encode("ascii")
        return _compose(message, sender).as_bytes(policy=SMTP_POLICY)
    except ValueError:
        # A line break in a header, or an address beyond ASCII: no attempt will change that.
        raise DeliveryError("The message cannot be written as mail.", permanent=True) from None


def _compose(message: Message, sender: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = message.to
    mail["Subject"] = message.subject
    mail["Message-ID"] = message.message_id
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    mail.set_content(message.text)
    for attachment in message.attachments:
        main, _, sub = attachment.media_type.partition("/")
        mail.add_attachment(attachment.data, maintype=main, subtype=sub, filename=attachment.filename)
    return mail
