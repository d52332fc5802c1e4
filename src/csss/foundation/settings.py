"""Every setting, read once from the environment (or from files it names) and checked."""

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from csss.foundation.errors import CsssError
from csss.foundation.remotes import LOOPBACK, parse_addresses, parse_tokens
from csss.foundation.thresholds import Thresholds, parse_thresholds
from csss.foundation.vault import KEY_BYTES

PREFIX = "CSSS_"
_WEAK = ("changeme", "secret", "password", "default", "example", "csss", "test", "admin")


class SettingsError(CsssError):
    """The configuration is not usable; the message names every variable that is wrong."""

    code = "bad-configuration"


class Environment(StrEnum):
    DEMO = "demo"
    PRODUCTION = "production"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_S = TypeVar("_S", bound=_Group)


class Smtp(_Group):
    """The outgoing mail server. Without a host nothing is sent and every delivery says so."""

    host: str | None = None
    port: int = Field(587, ge=1, le=65535)
    user: str | None = None
    password: str | None = Field(None, repr=False)
    sender: str = "csss@localhost"
    starttls: bool = True
    timeout_seconds: float = Field(10.0, gt=0, le=60)

    @property
    def configured(self) -> bool:
        return self.host is not None


class Sessions(_Group):
    idle_minutes: int = Field(15, ge=1, le=60)
    absolute_hours: int = Field(12, ge=1, le=24)
    token_minutes: int = Field(60, ge=1, le=60)


class Approval(_Group):
    """The second factor of an approval: TOTP always, a mailed code only where the site chooses it."""

    email_code: bool = False
    code_minutes: int = Field(10, ge=1, le=10)
    resend_seconds: int = Field(60, ge=10)
    max_tries: int = Field(5, ge=1, le=5)


class Signing(_Group):
    """The site's PKCS#12 file for signing reports; without one a self-signed identity is made at first start."""

    pkcs12: Path | None = None
    password: str | None = Field(None, repr=False)


class Inference(_Group):
    """What runs the models' networks here, and the token that opens the door ``/v2``: without one there is no door."""

    engine: Literal["onnx", "openvino"] = "onnx"
    token: str | None = Field(None, repr=False)


class Remote(_Group):
    """Models whose network runs on another server, ``NAME=ADDRESS[,...]``, and the token of each, ``NAME=TOKEN[,...]``.

    A token goes to the server of its own model and to no other.
    """

    models: str = ""
    tokens: str = Field("", repr=False)

    def addresses(self) -> dict[str, str]:
        """The address of each remote model by its name; raises `RemoteForm`."""
        return parse_addresses(self.models)

    def tokens_by_name(self) -> dict[str, str]:
        """The token of each remote model that has one; raises `RemoteForm`."""
        return parse_tokens(self.tokens, self.addresses().keys())


class ModelSettings(_Group):
    """The settings that matter where models run without a site: `csss predict` and `csss infer`."""

    model_path: Path | None = None
    confidence_threshold: str = ""
    inference: Inference = Inference()
    remote: Remote = Remote()

    def thresholds(self) -> Thresholds:
        """The thresholds that this site set, each with the version it was set for; raises `ThresholdForm`."""
        return parse_thresholds(self.confidence_threshold)

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        problems = _inference_problems(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Settings(_Group):
    """All settings. Variables are named ``CSSS_<NAME>`` or ``CSSS_<GROUP>_<NAME>``; ``..._FILE`` reads a file."""

    environment: Environment = Environment.PRODUCTION
    app_name: str = "CSSS"
    hospital_name: str = "Hospital (set CSSS_HOSPITAL_NAME)"
    base_url: str = "https://localhost"
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    data_dir: Path = Path("var")
    database_url: str = Field("", repr=False)
    jobs_url: str = Field("", repr=False)
    blob_url: str = ""
    secret_key: str = Field("", repr=False)
    master_keys: str = Field("", repr=False)
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    model_path: Path | None = None
    confidence_threshold: str = ""
    critical_phone: str | None = None
    argon2_profile: str = Field("standard", pattern="^(standard|cheap)$")
    smtp: Smtp = Smtp()
    sessions: Sessions = Sessions()
    approval: Approval = Approval()
    signing: Signing = Signing()
    inference: Inference = Inference()
    remote: Remote = Remote()

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = _problems(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def secure(self) -> bool:
        """Whether browsers reach us by https, so that cookies can demand it."""
        return self.base_url.startswith("https://")

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may send unsafe requests: our own, and those that are listed."""
        parts = urlsplit(self.base_url)
        return frozenset({f"{parts.scheme}://{parts.netloc}", *self.allowed_origins})

    def keys(self) -> dict[int, bytes]:
        """Return the master keys by version."""
        return parse_master_keys(self.master_keys)

    def thresholds(self) -> Thresholds:
        """Return the thresholds that this site set, each with the version it was set for."""
        return parse_thresholds(self.confidence_threshold)


def _problems(settings: Settings) -> list[str]:
    found = []
    production = settings.environment is Environment.PRODUCTION
    if len(settings.secret_key) < 32 or (production and _is_weak(settings.secret_key)):
        found.append("CSSS_SECRET_KEY must be at least 32 unguessable characters")
    try:
        parse_master_keys(settings.master_keys)
    except SettingsError as problem:
        found.append(problem.message)
    if production and (settings.blob_url.startswith("memory:") or settings.database_url in ("sqlite://", "sqlite:///")):
        found.append("CSSS_BLOB_URL and CSSS_DATABASE_URL must name a place that lasts")
    found += _network_problems(settings)
    found += _inference_problems(settings)
    parts = urlsplit(settings.base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        found.append("CSSS_BASE_URL must be a full address such as https://csss.hospital.example")
    elif parts.scheme == "http" and (production or parts.hostname not in LOOPBACK):
        found.append("CSSS_BASE_URL must be https (plain http is for a demo on this machine only)")
    if production and settings.smtp.host and not settings.smtp.starttls and settings.smtp.host not in LOOPBACK:
        found.append("CSSS_SMTP_STARTTLS must stay on for a mail server on another machine")
    if production and settings.argon2_profile != "standard":
        found.append("CSSS_ARGON2_PROFILE=cheap is for tests")
    return found


def _network_problems(settings: Settings) -> list[str]:
    found = []
    production = settings.environment is Environment.PRODUCTION
    if any("*" in origin or not origin.startswith(("https://", "http://")) for origin in settings.allowed_origins):
        found.append("CSSS_ALLOWED_ORIGINS must list exact origins, not a wildcard")
    elif production and any(not origin.startswith("https://") for origin in settings.allowed_origins):
        found.append("CSSS_ALLOWED_ORIGINS must be https")
    if not all(_is_address(proxy) for proxy in settings.trusted_proxies):
        found.append("CSSS_TRUSTED_PROXIES must list IP addresses")
    if not production and settings.host not in LOOPBACK:
        found.append("CSSS_HOST must be this machine's loopback for a demo")
    return found


def _inference_problems(settings: "Settings | ModelSettings") -> list[str]:
    found = []
    token = settings.inference.token
    if token is not None and (len(token) < 32 or not token.isascii() or _is_weak(token)):
        found.append("CSSS_INFERENCE_TOKEN must be at least 32 unguessable characters")
    for parse in (settings.remote.addresses, settings.remote.tokens_by_name, settings.thresholds):
        try:
            parse()
        except CsssError as problem:
            if problem.message not in found:
                found.append(problem.message)
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_weak(secret: str) -> bool:
    lowered = secret.lower()
    steps = {ord(after) - ord(before) for before, after in pairwise(secret)}
    return len(set(secret)) < 12 or len(steps) < 8 or any(word in lowered for word in _WEAK)


def parse_master_keys(text: str) -> dict[int, bytes]:
    """Parse ``1:BASE64,2:BASE64`` into versioned 32-byte keys; raises `SettingsError`."""
    keys: dict[int, bytes] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        version, _, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
            number = int(version)
        except (ValueError, binascii.Error):
            raise SettingsError("CSSS_MASTER_KEYS must read VERSION:BASE64[,VERSION:BASE64...]") from None
        steps = {(after - before) % 256 for before, after in pairwise(key)}
        if len(key) != KEY_BYTES or len(steps) < 8 or all(32 <= byte < 127 for byte in key):
            raise SettingsError("CSSS_MASTER_KEYS: each key is 32 random bytes in base64")
        if number in keys or not 0 < number < 65536:
            # A second key under one version would make everything unreadable that the first one sealed.
            raise SettingsError("CSSS_MASTER_KEYS: versions are whole numbers from 1 to 65535, each once")
        keys[number] = key
    if not keys:
        raise SettingsError("CSSS_MASTER_KEYS is not set (32 random bytes in base64, as 1:BASE64)")
    return keys


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings; raises `SettingsError` naming everything that is wrong at once."""
    source = os.environ if environ is None else environ
    raw = _gather(source)
    data_dir = Path(raw.get("data_dir", "var")).absolute()
    raw["data_dir"] = data_dir
    raw.setdefault("database_url", f"sqlite:///{data_dir}/csss.db")
    raw.setdefault("blob_url", f"file://{data_dir}/blobs")
    if raw["database_url"].startswith("sqlite"):
        raw.setdefault("jobs_url", f"sqlite:///{data_dir}/jobs.db")
    else:
        raw.setdefault("jobs_url", raw["database_url"])
    if raw.get("environment") == Environment.DEMO:
        _fill_demo_secrets(raw, data_dir)
    return _checked(Settings, raw)


def load_model_settings(environ: Mapping[str, str] | None = None) -> ModelSettings:
    """The same for a command that runs models and is no site; whatever else is set is left alone."""
    source = os.environ if environ is None else environ
    own = {f"{PREFIX}{name}".upper() for name in _variable_names(ModelSettings)}
    return _checked(
        ModelSettings, _gather({name: source[name] for name in source if name.removesuffix("_FILE") in own})
    )


def _variable_names(group: type[_Group]) -> list[str]:
    """The names of all settings of a group and of the groups in it, without the prefix, in lower case."""
    names = []
    for name in group.model_fields:
        inner = _GROUPS.get(name)
        names += [f"{name}_{rest}" for rest in inner.model_fields] if inner else [name]
    return names


def _checked(kind: type[_S], raw: dict[str, Any]) -> _S:
    try:
        return kind(**raw)
    except ValidationError as problem:
        lines = [
            f"{PREFIX}{'_'.join(str(p).upper() for p in error['loc'])}: {error['msg']}"
            if error["loc"]
            else error["msg"].removeprefix("Value error, ")
            for error in problem.errors()
        ]
        raise SettingsError("The configuration cannot be used: " + "; ".join(lines)) from None


def _gather(source: Mapping[str, str]) -> dict[str, Any]:
    """Turn CSSS_ variables into the shape of `Settings`; an unknown variable is a typing mistake and is refused."""
    raw: dict[str, Any] = {}
    unknown = []
    for variable, value in source.items():
        if not variable.startswith(PREFIX) or variable.startswith("CSSS_TEST_"):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name.endswith("_file"):
            name, value = name.removesuffix("_file"), _read_secret_file(variable, value)
        group, _, rest = name.partition("_")
        if name in Settings.model_fields and name not in _GROUPS:
            raw[name] = tuple(filter(None, value.split(","))) if name in _LISTS else value
        elif group in _GROUPS and rest in _GROUPS[group].model_fields:
            raw.setdefault(group, {})[rest] = value
        else:
            unknown.append(variable)
    if unknown:
        raise SettingsError(f"Unknown settings: {', '.join(sorted(unknown))}. docs/deployment.md lists them all.")
    return raw


def _read_secret_file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as problem:
        raise SettingsError(f"{variable}: cannot read {path} ({problem.strerror})") from None


def _fill_demo_secrets(raw: dict[str, Any], data_dir: Path) -> None:
    """A demo makes its own secrets, each in a file that only its owner reads."""
    raw.setdefault("secret_key", _kept_secret(data_dir / "keys" / "secret_key", lambda: secrets.token_urlsafe(48)))
    raw.setdefault(
        "master_keys",
        _kept_secret(
            data_dir / "keys" / "master_keys",
            lambda: "1:" + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode(),
        ),
    )


def _kept_secret(path: Path, make: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(handle, "w") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    return path.read_text().strip()


_GROUPS: dict[str, type[_Group]] = {
    "smtp": Smtp,
    "sessions": Sessions,
    "approval": Approval,
    "signing": Signing,
    "inference": Inference,
    "remote": Remote,
}
_LISTS = ("allowed_origins", "trusted_proxies")
