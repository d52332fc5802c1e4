"""``csss check``: is everything there that this site needs? A line each, and an exit code."""

import shutil
import smtplib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TextIO

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from csss import audit
from csss.findings import choices
from csss.findings.standing import ModelNotAvailable, Standing, check_same, find, site_threshold, spoken
from csss.foundation.errors import CsssError
from csss.foundation.ids import new_id
from csss.foundation.jobs import JobRequest, JobStatus
from csss.foundation.settings import Environment, Settings, load_settings
from csss.foundation.thresholds import Thresholds, find_unknown
from csss.inference.shelf import Shelf, may_speak
from csss.main import Assembly, assemble
from csss.migrations import is_current

FREE_BYTES_WANTED = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, whether it is good, and what there is to say."""

    subject: str
    good: bool
    words: str


def run_checks(out: TextIO) -> int:
    """Check everything and write a line for each part; returns 0 when all is good, 1 otherwise."""
    try:
        settings = load_settings()
    except CsssError as problem:
        _write(out, Finding("configuration", False, problem.message))
        return 1
    _write(out, Finding("configuration", True, f"{settings.environment} at {settings.base_url}"))
    try:
        assembly = assemble(settings)
    except (CsssError, SQLAlchemyError, OSError, ValueError) as problem:
        _write(out, Finding("start", False, f"{type(problem).__name__}: {problem}"))
        return 1
    try:
        findings = list(_findings(assembly))
    finally:
        assembly.close()
    for finding in findings:
        _write(out, finding)
    return 0 if all(finding.good for finding in findings) else 1


def _write(out: TextIO, finding: Finding) -> None:
    out.write(f"{'ok  ' if finding.good else 'FAIL'}  {finding.subject:<14} {finding.words}\n")


def _findings(assembly: Assembly) -> Iterator[Finding]:
    looks: dict[str, Callable[[Assembly], tuple[bool, str]]] = {
        "database": _database,
        "audit": _audit,
        "jobs": _jobs,
        "storage": _storage,
        "models": _models,
        "speakers": _speakers,
        "decoder": lambda assembly: (True, f"files are decoded apart: {assembly.sandbox.isolation}"),
        "signing": _signing,
        "mail": lambda assembly: _mail(assembly.settings),
        "disk": lambda assembly: _disk(assembly.settings),
    }
    for subject, look in looks.items():
        try:
            good, words = look(assembly)
        except (CsssError, SQLAlchemyError, OSError) as problem:
            good, words = False, problem.message if isinstance(problem, CsssError) else type(problem).__name__
        yield Finding(subject, good, words)


def _database(assembly: Assembly) -> tuple[bool, str]:
    name = assembly.engine.dialect.name
    if not is_current(assembly.engine):
        return False, f"{name} does not have the newest schema; run csss migrate"
    return True, f"{name} answers and has the newest schema"


def _audit(assembly: Assembly) -> tuple[bool, str]:
    settings = assembly.settings
    expected = audit.read_checkpoint(settings.data_dir / audit.CHECKPOINTS, settings.secret_key)
    with assembly.shop.work() as work:
        verdict = audit.verify_chain(work.session, expected=expected)
    if verdict.first_bad_seq is not None:
        return False, f"the chain breaks at number {verdict.first_bad_seq}: {verdict.reason}"
    return True, f"{verdict.length} links, unbroken" + (", agrees with its checkpoint" if expected else "")


def _jobs(assembly: Assembly) -> tuple[bool, str]:
    with assembly.shop.work() as work:
        counts = dict(work.session.execute(select(JobRequest.status, func.count()).group_by(JobRequest.status)).all())
    failed = counts.get(JobStatus.FAILED, 0)
    waiting = counts.get(JobStatus.REQUESTED, 0) + counts.get(JobStatus.STARTED, 0)
    return failed == 0, f"{waiting} waiting or running, {failed} given up"


def _storage(assembly: Assembly) -> tuple[bool, str]:
    name = f"check/{new_id()}"
    assembly.shop.blobs.put(name, b"csss check")
    same = assembly.shop.blobs.get(name) == b"csss check"
    assembly.shop.blobs.delete(name)
    return same, "an object was sealed, kept, read back and removed"


def _models(assembly: Assembly) -> tuple[bool, str]:
    problems = assembly.shelf.replay_golden()
    if problems:
        return False, "; ".join(f"{problem.folder}: {problem.message}" for problem in problems)
    if not assembly.shelf.models:
        return False, f"no model in {assembly.shelf.root}"
    names = ", ".join(f"{model.card.name} {model.card.version}" for model in assembly.shelf.models)
    return True, f"{names}: hashes fit and golden cases replay"


def _speakers(assembly: Assembly) -> tuple[bool, str]:
    """Every model's speaking version must be served here, and the site's threshold for it must be its own."""
    shelf, thresholds = assembly.shelf, assembly.settings.thresholds()
    with assembly.shop.work() as work:
        standing = choices.standing(work)
    names = {model.card.name for model in shelf.models if may_speak(model.card)}
    names |= {name for name, place in standing.places.items() if place.active is not None}
    words, good = [], True
    for name in sorted(names):
        try:
            words.append(_speaker(standing, shelf, thresholds, name))
        except CsssError as problem:
            good = False
            words.append(problem.message)
    if trouble := find_unknown(thresholds, shelf.reading_names() | names):
        good = False
        words.append(trouble.message)
    return good, "; ".join(words) or "no model speaks"


def _speaker(standing: Standing, shelf: Shelf, thresholds: Thresholds, name: str) -> str:
    active = standing.of(name).active
    if active is not None and active.off:
        return f"{name} was switched off; its scans are read without AI"
    version = spoken(standing, shelf, name) or ""
    model = find(shelf, name, version)
    if model is None:
        raise ModelNotAvailable(f"{name} {version} is to speak, but is not served here; its scans are not analysed")
    if active is not None:
        check_same(model, active.seal)
    tau = site_threshold(standing, thresholds, name, version)
    own = model.card.threshold.tau
    if tau is None:
        return f"{name} {version} speaks"
    return f"{name} {version} speaks, threshold {max(tau, own):g}" + ("" if tau >= own else " (its own is higher)")


def _signing(assembly: Assembly) -> tuple[bool, str]:
    assembly.identity.check_valid_at(assembly.shop.clock.now())
    own = assembly.settings.signing.pkcs12 is not None
    if not own and assembly.settings.environment is Environment.PRODUCTION:
        return True, "a certificate of our own making signs reports; set CSSS_SIGNING_PKCS12 to the hospital's"
    return True, f"certificate {assembly.identity.fingerprint[:16]} is valid"


def _mail(settings: Settings) -> tuple[bool, str]:
    if settings.smtp.host is None:
        return False, "no mail server is configured (CSSS_SMTP_HOST); reports will not be mailed"
    try:
        with smtplib.SMTP(settings.smtp.host, settings.smtp.port, timeout=settings.smtp.timeout_seconds) as server:
            code, _ = server.ehlo()
            encrypted = server.has_extn("starttls")
    except (OSError, smtplib.SMTPException) as problem:
        return False, f"{settings.smtp.host}:{settings.smtp.port} does not answer ({type(problem).__name__})"
    if settings.smtp.starttls and not encrypted:
        return False, f"{settings.smtp.host}:{settings.smtp.port} offers no STARTTLS"
    return code == 250, f"{settings.smtp.host}:{settings.smtp.port} answers"


def _disk(settings: Settings) -> tuple[bool, str]:
    free = shutil.disk_usage(settings.data_dir).free
    return free >= FREE_BYTES_WANTED, f"{free / 1024**3:.1f} GiB free in {settings.data_dir}"
