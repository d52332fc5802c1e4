"""A real SMTP server for tests: TLS, refusals on demand, and every message that it accepted."""

import datetime as dt
import email
import email.policy
import ssl
import tempfile
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Mailbox:
    """Listens on a free loopback port with STARTTLS; ``answers`` are given, one each, before "250"."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.encrypted: list[bool] = []
        self.answers: list[str] = []
        self._controller: Controller | None = None

    def __enter__(self) -> Self:
        self._controller = _Unchecked(self, hostname="127.0.0.1", port=0, tls_context=_tls_context())
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._controller is not None
        self._controller.stop(no_assert=True)

    @property
    def port(self) -> int:
        assert self._controller is not None
        return int(self._controller.port)

    def reset(self) -> None:
        self.messages.clear()
        self.encrypted.clear()
        self.answers.clear()

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answers:
            return self.answers.pop(0)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.messages.append(mail)
        self.encrypted.append(session.ssl is not None)
        return "250 kept"


class _Unchecked(Controller):
    def factory(self) -> SMTP:
        return SMTP(self.handler, tls_context=self.SMTP_kwargs.get("tls_context"))

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # 0 was asked for
        super()._trigger_server()


def _tls_context() -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "mail.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
    return context
