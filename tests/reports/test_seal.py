"""That a seal holds for untouched files only, and that the delivered copy hides what it says."""

import io
import random
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pikepdf
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

from csss.reports.seal import (
    SealBroken,
    SigningIdentity,
    SigningUnavailable,
    make_site_identity,
    new_password,
    reread,
    sign_archive,
    validate_signature,
)
from reports.samples import (
    ISSUED_AT,
    PASSWORD,
    archive_pdf,
    run_tool,
    sealed_pdf,
    signed_pdf,
    site_identity,
    text_of,
)

COPIES: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "archive": (signed_pdf, None),
    "delivered": (sealed_pdf, PASSWORD),
}
both_copies = pytest.mark.parametrize(("make", "password"), COPIES.values(), ids=COPIES.keys())


def _container(pdf: bytes) -> tuple[int, int]:
    """Return the first and the past-the-end offset of the hexadecimal digits of the signature."""
    match = re.search(rb"/Contents <([0-9A-F]{1000,})>", pdf)
    assert match is not None
    return match.span(1)


def _good(pdf: bytes, password: str | None) -> bool:
    return validate_signature(pdf, site_identity(), password=password).good


@both_copies
def test_seal_holds_for_the_untouched_file(make: Callable[[], bytes], password: str | None) -> None:
    verdict = reread(make(), site_identity(), password=password)
    assert (verdict.intact, verdict.covers_file, verdict.certified, verdict.trusted) == (True, True, True, True)
    assert (verdict.good, verdict.reason, verdict.signed_at) == (True, "", ISSUED_AT.replace(microsecond=0))


@both_copies
def test_seal_breaks_with_any_flipped_covered_byte(make: Callable[[], bytes], password: str | None) -> None:
    pdf = make()
    start, end = _container(pdf)
    covered = [*range(start - 1), *range(end + 1, len(pdf))]
    chosen = random.Random(7).sample(covered, 40)
    held = []
    for offset in chosen:
        changed = bytearray(pdf)
        changed[offset] ^= 1 << (offset % 8)
        if _good(bytes(changed), password):
            held.append(offset)
    assert held == []


@both_copies
def test_seal_breaks_with_any_change_in_the_signature_container(
    make: Callable[[], bytes], password: str | None
) -> None:
    pdf = make()
    start, end = _container(pdf)
    length = int(pdf[start + 4 : start + 8], 16) * 2 + 8
    letter = next(offset for offset in range(start, end) if pdf[offset : offset + 1] in b"ABCDEF")
    # 4 and 50 to 85: the outer length and the set of digests, where a lenient reader accepts other digits.
    offsets = [*range(start, start + 90), *random.Random(8).sample(range(start + 90, start + length), 30)]
    changes = {
        "padding": (start + length, b"1"),
        "last padding": (end - 1, b"1"),
        "lower case": (letter, pdf[letter : letter + 1].lower()),
        **{f"digit {at - start}": (at, b"1" if pdf[at : at + 1] == b"0" else b"0") for at in offsets},
    }
    held = [
        name for name, (offset, digit) in changes.items() if _good(pdf[:offset] + digit + pdf[offset + 1 :], password)
    ]
    assert held == []


@both_copies
def test_seal_breaks_with_an_appended_annotation(make: Callable[[], bytes], password: str | None) -> None:
    writer = IncrementalPdfFileWriter(io.BytesIO(make()))
    if password is not None:
        writer.encrypt(password)
    note = generic.DictionaryObject(
        {
            generic.NameObject("/Type"): generic.NameObject("/Annot"),
            generic.NameObject("/Subtype"): generic.NameObject("/Text"),
            generic.NameObject("/Contents"): generic.TextStringObject("No finding."),
            generic.NameObject("/Rect"): generic.ArrayObject(map(generic.NumberObject, (0, 0, 99, 99))),
        }
    )
    page, _ = writer.find_page_for_modification(0)
    writer.register_annotation(page, writer.add_object(note))
    appended = io.BytesIO()
    writer.write(appended)
    verdict = validate_signature(appended.getvalue(), site_identity(), password=password)
    assert (verdict.good, verdict.covers_file) == (False, False)
    with pytest.raises(SealBroken):
        reread(appended.getvalue(), site_identity(), password=password)


@both_copies
def test_seal_breaks_with_bytes_after_the_end(make: Callable[[], bytes], password: str | None) -> None:
    assert not _good(make() + b"\n", password)


@both_copies
def test_seal_of_another_site_is_not_trusted(make: Callable[[], bytes], password: str | None) -> None:
    verdict = validate_signature(make(), site_identity("Another Hospital"), password=password)
    assert (verdict.intact, verdict.trusted, verdict.good) == (True, False, False)
    assert verdict.reason.startswith("the signature is not of this site")


def test_validate_signature_refuses_an_unsigned_file() -> None:
    verdict = validate_signature(archive_pdf(), site_identity())
    assert (verdict.good, verdict.reason) == (False, "the file has 0 signatures, not one")


@pytest.mark.parametrize("damaged", [b"", b"%PDF-1.7\n", b"\x00" * 5000, signed_pdf()[:9000], signed_pdf()[9000:]])
def test_validate_signature_never_raises(damaged: bytes) -> None:
    assert validate_signature(damaged, site_identity()).good is False


@pytest.mark.parametrize("password", [None, "", "bcdfg-hjkmn-23457"])
def test_delivered_copy_opens_with_its_own_password_only(password: str | None) -> None:
    assert validate_signature(sealed_pdf(), site_identity(), password=password).good is False
    with pytest.raises(SealBroken):
        reread(sealed_pdf(), site_identity(), password=password)
    with pytest.raises(pikepdf.PasswordError):
        pikepdf.open(io.BytesIO(sealed_pdf()), password=password or "")


def test_delivered_copy_shows_no_word_without_its_password(tmp_path: Path) -> None:
    assert "Erika Musterfrau" in text_of(sealed_pdf(), tmp_path, password=PASSWORD)
    words = (b"R-2026-000123", b"Scan report", b"Musterfrau", b"P-004711", "Musterfrau".encode("utf-16-be"))
    assert b"R-2026-000123" in signed_pdf()
    assert [word for word in words if word in sealed_pdf()] == []


def test_delivered_copy_is_encrypted_with_aes_256_revision_6() -> None:
    with pikepdf.open(io.BytesIO(sealed_pdf()), password=PASSWORD) as document:
        encryption, allowed = document.encryption, document.allow
        facts = (encryption.R, encryption.V, encryption.bits, document.user_password_matched)
        methods = {str(method) for method in (encryption.stream_method, encryption.string_method)}
        owner = document.owner_password_matched
        metadata_encrypted = document.trailer.Encrypt.get("/EncryptMetadata", True)
    assert facts == (6, 5, 256, True)
    assert methods == {"EncryptionMethod.aesv3"}
    assert (owner, bool(metadata_encrypted)) == (False, True)
    assert (allowed.accessibility, allowed.print_highres, allowed.modify_other, allowed.modify_annotation) == (
        True,
        True,
        False,
        False,
    )


def test_delivered_copy_no_longer_claims_pdfa() -> None:
    with (
        pikepdf.open(io.BytesIO(sealed_pdf()), password=PASSWORD) as document,
        document.open_metadata() as metadata,
    ):
        claims = {key for key in ("pdfaid:part", "pdfaid:conformance") if key in metadata}
        accessible = metadata["pdfuaid:part"]
    assert (claims, accessible) == (set(), "1")


def test_sign_archive_adds_a_signature_and_nothing_else() -> None:
    assert signed_pdf().startswith(archive_pdf())
    with pikepdf.open(io.BytesIO(archive_pdf())) as before, pikepdf.open(io.BytesIO(signed_pdf())) as after:
        assert after.Root.Metadata.read_bytes() == before.Root.Metadata.read_bytes()
        assert after.pdf_version == "1.7"
        assert set(after.Root.keys()) - set(before.Root.keys()) == {"/AcroForm", "/Extensions", "/Perms"}
        widgets = [(page.index, widget) for page in after.pages for widget in page.obj.get("/Annots", [])]
        flags = [int(widget.F) for _, widget in widgets]
        right_edges = [float(widget.Rect[2]) for _, widget in widgets]
    # PDF/A-2 6.3.2: printed and not hidden; PDF/UA-1 7.18.1: outside the page when it is not tagged.
    assert [flag & 0b100111 for flag in flags] == [0b100]
    assert [edge < 0 for edge in right_edges] == [True]


@both_copies
def test_sealed_files_hold_no_active_content(make: Callable[[], bytes], password: str | None) -> None:
    forbidden = {"/JS", "/JavaScript", "/OpenAction", "/AA", "/Launch", "/EmbeddedFile", "/EmbeddedFiles", "/URI"}
    with pikepdf.open(io.BytesIO(make()), password=password or "") as document:
        names = {name for each in document.objects for name in _names(each)}
        fields = [str(field.FT) for field in document.Root.AcroForm.Fields]
    assert names & forbidden == set()
    assert fields == ["/Sig"]


def _names(value: pikepdf.Object) -> Iterator[str]:
    if isinstance(value, pikepdf.Stream):
        value = value.stream_dict
    if isinstance(value, pikepdf.Name):
        yield str(value)
    elif isinstance(value, pikepdf.Array):
        for item in value:
            yield from () if getattr(item, "is_indirect", False) else _names(item)
    elif isinstance(value, pikepdf.Dictionary):
        for name, item in value.items():
            yield name
            if not getattr(item, "is_indirect", False):
                yield from _names(item)


@both_copies
def test_sealed_files_pass_qpdf(make: Callable[[], bytes], password: str | None, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(make())
    checked = run_tool("qpdf", f"--password={password or ''}", "--check", str(path))
    assert (checked.returncode, "No syntax or stream encoding errors found" in checked.stdout) == (0, True)


@both_copies
def test_sealed_files_satisfy_pdfsig(make: Callable[[], bytes], password: str | None, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(make())
    printed = run_tool("pdfsig", "-upw", password or "", str(path)).stdout
    lines = [line.strip(" -") for line in printed.splitlines()]
    wanted = (
        "Total document signed",
        "Signature Validation: Signature is Valid.",
        "Signature Type: ETSI.CAdES.detached",
    )
    assert [line for line in wanted if line not in lines] == []
    assert "Signer Certificate Common Name: Lindenhof Hospital" in lines


def test_new_password_has_72_bits_and_no_ambiguous_character() -> None:
    made = {new_password() for _ in range(500)}
    letters = set("".join(made)) - {"-"}
    assert len(made) == 500
    assert {tuple(len(group) for group in each.split("-")) for each in made} == {(5, 5, 5)}
    assert letters == set("bcdfghjkmnpqrstvwxyz23456789")
    assert len(letters) ** 15 > 2**60


def test_signing_identity_needs_its_password() -> None:
    bundle = make_site_identity("Site", password=b"right", made_at=ISSUED_AT)
    with pytest.raises(SigningUnavailable):
        SigningIdentity.from_pkcs12(bundle, b"wrong")


def test_site_certificate_is_for_signing_documents_only() -> None:
    certificate = x509.load_der_x509_certificate(site_identity().certificate_der)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (usage.digital_signature, usage.content_commitment, usage.key_cert_sign, authority) == (
        True,
        True,
        False,
        False,
    )
    assert "1.3.6.1.5.5.7.3.36" in {purpose.dotted_string for purpose in purposes}


def test_signing_identity_hides_its_key() -> None:
    shown = repr(site_identity())
    assert shown == f"SigningIdentity(certificate_sha256={site_identity().fingerprint})"


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)])
def test_signing_identity_refuses_keys_that_void_the_claims(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Site")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, ISSUED_AT, ISSUED_AT + timedelta(days=1))
    ).sign(key, hashes.SHA256())
    bundle = pkcs12.serialize_key_and_certificates(
        b"site", key, certificate, None, serialization.BestAvailableEncryption(b"test")
    )
    with pytest.raises(SigningUnavailable):
        SigningIdentity.from_pkcs12(bundle, b"test")


@pytest.mark.parametrize("days", [-40, 3700])
def test_sign_archive_refuses_a_certificate_outside_its_time(days: int) -> None:
    with pytest.raises(SigningUnavailable):
        sign_archive(archive_pdf(), site_identity(), signed_at=ISSUED_AT + timedelta(days=days))
