"""Signs, encrypts and checks report files: the archived copy, and the copy that a patient opens with a password."""

import io
import re
import secrets
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pikepdf
from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import BasePdfFileWriter
from pyhanko.sign import fields, signers
from pyhanko.sign.signers.pdf_signer import PdfSigningSession
from pyhanko.sign.validation import EmbeddedPdfSignature, SignatureCoverageLevel, validate_pdf_signature
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.registry import SimpleCertificateStore

from csss.foundation.errors import CsssError, Unavailable

FIELD_NAME: Final = "ReportSeal"
SITE_CERTIFICATE_DAYS: Final = 3650
RSA_KEY_BITS: Final = 3072
_DOCUMENT_SIGNING: Final = ObjectIdentifier("1.3.6.1.5.5.7.3.36")
_RESERVED_BYTES: Final = 16384
_DIGEST: Final = "sha256"
# No vowels, so that no word appears by chance; nothing that a screen font makes look like something else.
_TYPEABLE: Final = "bcdfghjkmnpqrstvwxyz23456789"
_GROUPS: Final = 3
_GROUP_LENGTH: Final = 5


class SealBroken(CsssError):
    """A report file does not carry the site's intact seal."""

    code = "seal-broken"


class SigningUnavailable(Unavailable):
    """The site's signing key cannot be used."""

    code = "signing-unavailable"


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """The site's private RSA key and its certificate, DER encoded.

    RSA only: a P-256 signature is a PDF 2.0 extension (ISO/TS 32002), which would void the archive's PDF/A-2 claim.
    """

    key_der: bytes
    certificate_der: bytes

    @classmethod
    def from_pkcs12(cls, bundle: bytes, password: bytes) -> "SigningIdentity":
        """Return the identity in a PKCS#12 bundle; raises ``SigningUnavailable`` if it cannot be opened or is weak."""
        try:
            key, certificate, _ = pkcs12.load_key_and_certificates(bundle, password)
        except ValueError as error:
            raise SigningUnavailable("The signing key cannot be opened with its password.") from error
        if certificate is None or not isinstance(key, rsa.RSAPrivateKey):
            raise SigningUnavailable("The signing bundle needs one RSA key and its certificate.")
        if key.key_size < RSA_KEY_BITS:
            raise SigningUnavailable(f"The signing key is too short: it needs {RSA_KEY_BITS} bits.")
        return cls(
            key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            certificate.public_bytes(serialization.Encoding.DER),
        )

    def __repr__(self) -> str:
        return f"SigningIdentity(certificate_sha256={self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the certificate."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.certificate_der)
        return digest.finalize().hex()

    def check_valid_at(self, moment: datetime) -> None:
        """Raise ``SigningUnavailable`` when the certificate is not valid at that moment."""
        certificate = x509.load_der_x509_certificate(self.certificate_der)
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise SigningUnavailable("The site's signing certificate has expired or is not valid yet.")


@dataclass(frozen=True, slots=True)
class SealVerdict:
    """What the seal of one file proves; ``reason`` is empty when everything holds."""

    intact: bool
    covers_file: bool
    certified: bool
    trusted: bool
    signed_at: datetime | None
    reason: str = ""

    @property
    def good(self) -> bool:
        return self.intact and self.covers_file and self.certified and self.trusted and not self.reason


def make_site_identity(name: str, *, password: bytes, made_at: datetime) -> bytes:
    """Return a PKCS#12 bundle with a new RSA-3072 key and a self-signed document-signing certificate (RFC 9336).

    ``name`` (at most 64 characters are kept, X.520's limit) is the common name that a PDF viewer shows.
    The certificate is valid from a day before ``made_at``, against clock skew, for ten years.
    """
    # E-mail protection beside document signing: older viewers (NSS) know no other purpose for signed documents.
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_KEY_BITS)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    usage = x509.KeyUsage(True, True, False, False, False, False, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made_at - timedelta(days=1))
        .not_valid_after(made_at + timedelta(days=SITE_CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([_DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return pkcs12.serialize_key_and_certificates(
        name[:64].encode(), key, certificate, None, serialization.BestAvailableEncryption(password)
    )


def new_password() -> str:
    """Return a random password of 72 bits in three groups of five, safe to copy from a screen by hand."""
    groups = ("".join(secrets.choice(_TYPEABLE) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))
    return "-".join(groups)


def sign_archive(pdf: bytes, identity: SigningIdentity, *, signed_at: datetime) -> bytes:
    """Return ``pdf`` with one certifying PAdES signature (B-B) that allows no change; its PDF/A claim stays true."""
    return _certify(pdf, identity, signed_at=signed_at, password=None)


def seal_copy(pdf: bytes, identity: SigningIdentity, *, user_password: str, signed_at: datetime) -> bytes:
    """Return the copy for delivery: AES-256 (ISO 32000-2 revision 6), then certified in one final revision.

    ``pdf`` is the unsigned archive file. Metadata is encrypted too; the owner password is random and thrown away.
    """
    return _certify(_encrypt(pdf, user_password), identity, signed_at=signed_at, password=user_password)


def validate_signature(pdf: bytes, identity: SigningIdentity, *, password: str | None = None) -> SealVerdict:
    """Return what the seal of ``pdf`` proves against the certificate of ``identity``. Never raises, never fetches.

    Every byte of the file is accounted for: those the signature covers, and the signature container, whose form
    is checked because no digest can cover it. The certificate is judged at the signing time in the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _judge(pdf, identity, password)
    # The one boundary around the parsers: whatever a damaged file makes them throw means "not our seal".
    except Exception as error:  # noqa: BLE001
        return _refused(f"the file cannot be read as a signed report ({type(error).__name__})")


def reread(pdf: bytes, identity: SigningIdentity, *, password: str | None = None) -> SealVerdict:
    """Return the good verdict of a stored file that was read back, or raise ``SealBroken``.

    Opens and decrypts the file with a second parser, reads every page, then validates the seal.
    """
    try:
        with pikepdf.open(io.BytesIO(pdf), password=password or "") as document:
            pages = [b"".join(_content_streams(page)) for page in document.pages]
    except (pikepdf.PdfError, pikepdf.PasswordError) as error:
        raise SealBroken("The stored report cannot be opened.") from error
    if not pages or not all(pages):
        raise SealBroken("The stored report has an empty page.")
    verdict = validate_signature(pdf, identity, password=password)
    if not verdict.good:
        raise SealBroken("The seal of the stored report does not hold.", facts={"reason": verdict.reason})
    return verdict


def _content_streams(page: pikepdf.Page) -> list[bytes]:
    contents = page.obj.get("/Contents")
    streams = list(contents) if isinstance(contents, pikepdf.Array) else [contents]
    return [stream.read_bytes() for stream in streams if isinstance(stream, pikepdf.Stream)]


def _encrypt(pdf: bytes, user_password: str) -> bytes:
    encrypted = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        _drop_pdfa_claim(document)
        document.save(
            encrypted,
            encryption=pikepdf.Encryption(
                owner=secrets.token_urlsafe(32),
                user=user_password,
                R=6,
                aes=True,
                metadata=True,
                allow=pikepdf.Permissions(
                    modify_annotation=False, modify_assembly=False, modify_form=False, modify_other=False
                ),
            ),
        )
    return encrypted.getvalue()


def _drop_pdfa_claim(document: pikepdf.Pdf) -> None:
    # PDF/A forbids encryption (ISO 19005-2, 6.1.3), so an encrypted copy must not call itself PDF/A.
    with document.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
        for key in ("pdfaid:part", "pdfaid:conformance"):
            if key in metadata:
                del metadata[key]


class _MetadataKeepingWriter(IncrementalPdfFileWriter):
    """A writer whose revision holds the signature and nothing else."""

    def _update_meta(self) -> None:
        # pyHanko would rewrite the XMP packet with the machine's clock and its own name, against the PDF/A claim.
        return


class _SiteSigner(signers.Signer):
    """Signs with the site's key (RSASSA-PKCS1-v1_5, which every viewer knows)."""

    def __init__(self, identity: SigningIdentity) -> None:
        super().__init__(
            signing_cert=asn1_x509.Certificate.load(identity.certificate_der),
            cert_registry=SimpleCertificateStore(),  # type: ignore[no-untyped-call]
        )
        # The key was checked when its bundle was opened; checking it again costs 80 ms a report.
        key = serialization.load_der_private_key(identity.key_der, None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SigningUnavailable("The signing key is not an RSA key.")
        self._key = key

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:
        if digest_algorithm != _DIGEST:
            raise SigningUnavailable(f"The site signs with {_DIGEST} only.")
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())


class _SignerAtTime(signers.PdfSigner):
    """A signer that writes the caller's time, not the machine's, as the time of signing."""

    signed_at: datetime

    def init_signing_session(self, pdf_out: BasePdfFileWriter, existing_fields_only: bool = False) -> PdfSigningSession:
        session = super().init_signing_session(pdf_out, existing_fields_only)
        session.system_time = self.signed_at
        return session


def _certify(pdf: bytes, identity: SigningIdentity, *, signed_at: datetime, password: str | None) -> bytes:
    identity.check_valid_at(signed_at)
    writer = _MetadataKeepingWriter(io.BytesIO(pdf))
    if password is not None:
        writer.encrypt(password)  # type: ignore[no-untyped-call]
    signer = _SignerAtTime(
        signers.PdfSignatureMetadata(
            field_name=FIELD_NAME,
            md_algorithm=_DIGEST,
            subfilter=fields.SigSeedSubFilter.PADES,
            certify=True,
            docmdp_permissions=fields.MDPPerm.NO_CHANGES,
            reason="Issued after medical review and approval",
        ),
        signer=_SiteSigner(identity),
        # Outside the page: PDF/UA wants every widget on a page tagged, PDF/A forbids hiding it (pyHanko's note).
        new_field_spec=fields.SigFieldSpec(
            FIELD_NAME,
            invis_sig_settings=fields.InvisSigSettings(box_out_of_bounds=True),
        ),
    )
    signer.signed_at = signed_at
    signed: io.BytesIO = signer.sign_pdf(writer, bytes_reserved=_RESERVED_BYTES)
    return signed.getvalue()


def _judge(pdf: bytes, identity: SigningIdentity, password: str | None) -> SealVerdict:
    reader = PdfFileReader(io.BytesIO(pdf))
    if reader.encrypted:
        reader.decrypt(password or "")
    signatures = reader.embedded_signatures
    if len(signatures) != 1:
        return _refused(f"the file has {len(signatures)} signatures, not one")
    signature = signatures[0]
    signed_at = signature.self_reported_timestamp
    context = ValidationContext(
        trust_roots=[asn1_x509.Certificate.load(identity.certificate_der)], allow_fetching=False, moment=signed_at
    )
    status = validate_pdf_signature(signature, signer_validation_context=context)
    verdict = SealVerdict(
        intact=status.intact and status.valid,
        covers_file=status.coverage is SignatureCoverageLevel.ENTIRE_FILE,
        certified=signature.docmdp_level is fields.MDPPerm.NO_CHANGES and _is_certification(reader, signature),
        trusted=status.trusted and signature.signer_cert.dump() == identity.certificate_der,
        signed_at=signed_at,
    )
    return _with_reason(verdict, _container_flaw(pdf, signature, identity), bottom_line=status.bottom_line)


def _with_reason(verdict: SealVerdict, flaw: str, *, bottom_line: bool) -> SealVerdict:
    findings = (
        (not verdict.intact, "signed bytes were changed"),
        (not verdict.covers_file, "bytes were added after signing"),
        (not verdict.certified, "the signature does not certify the file against changes"),
        (not verdict.trusted, "the signature is not of this site"),
        (bool(flaw), flaw),
        (not bottom_line, "the signature does not meet its own rules"),
    )
    reason = "; ".join(text for holds, text in findings if holds)
    return SealVerdict(
        verdict.intact, verdict.covers_file, verdict.certified, verdict.trusted, verdict.signed_at, reason
    )


def _is_certification(reader: PdfFileReader, signature: EmbeddedPdfSignature) -> bool:
    if "/Perms" not in reader.root:
        return False
    return bool(reader.root["/Perms"].raw_get("/DocMDP") == signature.sig_field.raw_get("/V"))


def _container_flaw(pdf: bytes, signature: EmbeddedPdfSignature, identity: SigningIdentity) -> str:
    start, covered, resumed, _ = (int(part) for part in signature.byte_range)
    container = pdf[start + covered : resumed]
    match = re.fullmatch(rb"<([0-9A-F]+)>", container)
    if match is None:
        return "the signature container is not in the form it was written in"
    octets = bytes.fromhex(match[1].decode("ascii"))
    written = _written_container(signature, identity).ljust(len(octets), b"\x00")
    if octets != written or signature.pkcs7_content != octets:
        return "the signature container holds more or other than the signature"
    return ""


def _written_container(signature: EmbeddedPdfSignature, identity: SigningIdentity) -> bytes:
    """Return the CMS container (RFC 5652) as this module writes it around the given signed attributes and signature.

    No digest covers the container, so what the signature does not vouch for must be what it always is.
    """
    certificate = asn1_x509.Certificate.load(identity.certificate_der)
    digest = {"algorithm": _DIGEST, "parameters": core.Null()}
    signer = {
        "version": "v1",
        "sid": {"issuer_and_serial_number": {"issuer": certificate.issuer, "serial_number": certificate.serial_number}},
        "digest_algorithm": digest,
        "signed_attrs": signature.signer_info["signed_attrs"],
        "signature_algorithm": {"algorithm": f"{_DIGEST}_rsa", "parameters": core.Null()},
        "signature": signature.signer_info["signature"].native,
    }
    content = {
        "version": "v1",
        "digest_algorithms": [digest],
        "encap_content_info": {"content_type": "data"},
        "certificates": [certificate],
        "signer_infos": [signer],
    }
    container: bytes = cms.ContentInfo({"content_type": "signed_data", "content": content}).dump()
    return container


def _refused(reason: str) -> SealVerdict:
    return SealVerdict(False, False, False, False, None, reason)
