"""Settings: read once, checked at once, and every refusal of the house rules."""

import base64
import hashlib
import os
import secrets
import stat
from pathlib import Path

import pytest

from csss.foundation.settings import (
    Environment,
    Settings,
    SettingsError,
    load_settings,
    parse_master_keys,
)
from csss.foundation.thresholds import SiteThreshold

STRONG = "q9Zr2LwX7vTn4KbY8mHd3GpF6jQs5ce1"
KEY = hashlib.sha256(b"a master key of these tests").digest()
MASTER = base64.b64encode(KEY).decode()
PRODUCTION = {
    "CSSS_SECRET_KEY": STRONG,
    "CSSS_MASTER_KEYS": f"1:{MASTER}",
    "CSSS_BASE_URL": "https://scans.hospital.org",
    "CSSS_DATA_DIR": "/nowhere",
}


def load(**changes: str | None) -> Settings:
    values = PRODUCTION | {f"CSSS_{name.upper()}": value for name, value in changes.items()}
    return load_settings({name: value for name, value in values.items() if value is not None})


def refusal(**changes: str | None) -> str:
    with pytest.raises(SettingsError) as refused:
        load(**changes)
    assert refused.value.code == "bad-configuration"
    return refused.value.message


def test_a_production_site_needs_three_settings_and_the_rest_has_safe_defaults() -> None:
    settings = load()
    assert (settings.environment, settings.secure, settings.host) == (Environment.PRODUCTION, True, "127.0.0.1")
    assert settings.database_url == "sqlite:////nowhere/csss.db"
    assert (settings.jobs_url, settings.blob_url) == ("sqlite:////nowhere/jobs.db", "file:///nowhere/blobs")
    assert (settings.confidence_threshold, settings.allowed_origins, settings.trusted_proxies) == ("", (), ())
    assert (settings.approval.email_code, settings.approval.code_minutes, settings.approval.max_tries) == (False, 10, 5)
    assert (settings.smtp.starttls, settings.argon2_profile) == (True, "standard")
    assert settings.origins == frozenset({"https://scans.hospital.org"})
    assert settings.keys() == {1: KEY}


def test_jobs_go_to_the_same_server_when_the_database_is_not_sqlite() -> None:
    url = "postgresql+psycopg://csss@db/csss"
    assert load(database_url=url).jobs_url == url


SECRET_RULE = "CSSS_SECRET_KEY must be at least 32 unguessable characters"
TAU = "CSSS_CONFIDENCE_THRESHOLD: a threshold is a number from 0.5 up to, not with, 1"
TAU_FORM = (
    "CSSS_CONFIDENCE_THRESHOLD must read MODEL/VERSION=TAU[,MODEL/VERSION=TAU...], "
    "because a threshold belongs to one version of a model"
)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"secret_key": None}, SECRET_RULE),
        ({"secret_key": ""}, SECRET_RULE),
        ({"secret_key": STRONG[:31]}, SECRET_RULE),
        ({"secret_key": "a" * 64}, SECRET_RULE),
        ({"secret_key": "abcabcabcabc" * 5}, SECRET_RULE),
        ({"secret_key": STRONG + "changeme"}, SECRET_RULE),
        ({"secret_key": STRONG + "PassWord"}, SECRET_RULE),
        ({"master_keys": None}, "CSSS_MASTER_KEYS is not set (32 random bytes in base64, as 1:BASE64)"),
        ({"master_keys": MASTER}, "CSSS_MASTER_KEYS must read VERSION:BASE64[,VERSION:BASE64...]"),
        ({"master_keys": "1:not base64!"}, "CSSS_MASTER_KEYS must read VERSION:BASE64[,VERSION:BASE64...]"),
        ({"master_keys": "1:" + MASTER[:20]}, "CSSS_MASTER_KEYS: each key is 32 random bytes in base64"),
        (
            {"master_keys": "1:" + base64.b64encode(b"a" * 32).decode()},
            "CSSS_MASTER_KEYS: each key is 32 random bytes in base64",
        ),
        ({"master_keys": f"0:{MASTER}"}, "CSSS_MASTER_KEYS: versions are whole numbers from 1 to 65535, each once"),
        ({"master_keys": f"65536:{MASTER}"}, "CSSS_MASTER_KEYS: versions are whole numbers from 1 to 65535, each once"),
        (
            {"master_keys": f"1:{MASTER},1:{MASTER}"},
            "CSSS_MASTER_KEYS: versions are whole numbers from 1 to 65535, each once",
        ),
        ({"allowed_origins": "*"}, "CSSS_ALLOWED_ORIGINS must list exact origins, not a wildcard"),
        (
            {"allowed_origins": "https://a.org,https://*.b.org"},
            "CSSS_ALLOWED_ORIGINS must list exact origins, not a wildcard",
        ),
        (
            {"base_url": "http://scans.hospital.org"},
            "CSSS_BASE_URL must be https (plain http is for a demo on this machine only)",
        ),
        (
            {"base_url": "http://localhost"},
            "CSSS_BASE_URL must be https (plain http is for a demo on this machine only)",
        ),
        (
            {"base_url": "http://10.0.0.5", "environment": "demo"},
            "CSSS_BASE_URL must be https (plain http is for a demo on this machine only)",
        ),
        (
            {"base_url": "scans.hospital.org"},
            "CSSS_BASE_URL must be a full address such as https://csss.hospital.example",
        ),
        ({"base_url": "ftp://x.org"}, "CSSS_BASE_URL must be a full address such as https://csss.hospital.example"),
        (
            {"smtp_host": "mail.hospital.org", "smtp_starttls": "false"},
            "CSSS_SMTP_STARTTLS must stay on for a mail server on another machine",
        ),
        ({"argon2_profile": "cheap"}, "CSSS_ARGON2_PROFILE=cheap is for tests"),
        ({"argon2_profile": "none"}, "CSSS_ARGON2_PROFILE: String should match pattern '^(standard|cheap)$'"),
        ({"confidence_threshold": "0.85"}, TAU_FORM),
        ({"confidence_threshold": "chest=0.85"}, TAU_FORM),
        ({"confidence_threshold": "chest/=0.85"}, TAU_FORM),
        ({"confidence_threshold": "/1=0.85"}, TAU_FORM),
        ({"confidence_threshold": "chest/1/2=0.85"}, TAU_FORM),
        ({"confidence_threshold": "chest/1="}, TAU_FORM),
        ({"confidence_threshold": "chest/1=0.85,chest/2"}, TAU_FORM),
        ({"confidence_threshold": "chest/1=nan"}, TAU),
        ({"confidence_threshold": "chest/1=high"}, TAU),
        ({"confidence_threshold": "chest/1=0.4"}, TAU),
        ({"confidence_threshold": "chest/1=1.0"}, TAU),
        ({"confidence_threshold": "chest/1=inf"}, TAU),
        (
            {"confidence_threshold": "chest/1=0.8,chest/1=0.9"},
            "CSSS_CONFIDENCE_THRESHOLD names each version once",
        ),
        ({"approval_code_minutes": "11"}, "CSSS_APPROVAL_CODE_MINUTES: Input should be less than or equal to 10"),
        ({"approval_max_tries": "6"}, "CSSS_APPROVAL_MAX_TRIES: Input should be less than or equal to 5"),
        ({"sessions_token_minutes": "61"}, "CSSS_SESSIONS_TOKEN_MINUTES: Input should be less than or equal to 60"),
        ({"port": "70000"}, "CSSS_PORT: Input should be less than or equal to 65535"),
        ({"environment": "staging"}, "CSSS_ENVIRONMENT: Input should be 'demo' or 'production'"),
    ],
)
def test_each_unsafe_setting_is_refused_by_its_name(changes: dict[str, str | None], problem: str) -> None:
    assert refusal(**changes) == f"The configuration cannot be used: {problem}"


def test_everything_that_is_wrong_is_said_at_once() -> None:
    message = refusal(secret_key="x", allowed_origins="*", base_url="http://a.org")
    assert [word in message for word in ("SECRET_KEY", "ALLOWED_ORIGINS", "BASE_URL")] == [True] * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("chest/1=0.5", (SiteThreshold("chest", "1", 0.5),)),
        (" chest/1.2 = 0.999 , ", (SiteThreshold("chest", "1.2", 0.999),)),
        ("chest/2=0.8,chest/1=0.9", (SiteThreshold("chest", "2", 0.8), SiteThreshold("chest", "1", 0.9))),
    ],
)
def test_each_threshold_is_read_with_the_version_it_belongs_to(text: str, expected: tuple[SiteThreshold, ...]) -> None:
    assert load(confidence_threshold=text).thresholds() == expected


@pytest.mark.parametrize(
    "name", ["secret", "smtp", "smtp_hots", "smtp_", "approvals_email_code", "SECRET_KEYS", "sessions"]
)
def test_a_mistyped_name_is_refused_and_named(name: str) -> None:
    assert refusal(**{name: "x"}) == (f"Unknown settings: CSSS_{name.upper()}. docs/deployment.md lists them all.")


def test_variables_of_tests_and_of_others_are_passed_over() -> None:
    assert load_settings({**PRODUCTION, "CSSS_TEST_POSTGRES": "x", "PATH": "/bin"}) == load()


def test_groups_lists_and_numbers_are_read(tmp_path: Path) -> None:
    settings = load(
        smtp_host="mail.hospital.org",
        smtp_port="2525",
        approval_email_code="true",
        sessions_idle_minutes="5",
        allowed_origins="https://a.org,https://b.org",
        trusted_proxies="10.0.0.1",
        signing_pkcs12=str(tmp_path / "key.p12"),
    )
    assert (settings.smtp.host, settings.smtp.port, settings.approval.email_code) == ("mail.hospital.org", 2525, True)
    assert (settings.sessions.idle_minutes, settings.trusted_proxies) == (5, ("10.0.0.1",))
    assert settings.signing.pkcs12 == tmp_path / "key.p12"
    assert settings.origins == {"https://scans.hospital.org", "https://a.org", "https://b.org"}


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    for name, text in (("key", STRONG), ("mail", "mail word\n")):
        (tmp_path / name).write_text(text)
    settings = load(secret_key=None, secret_key_file=str(tmp_path / "key"), smtp_password_file=str(tmp_path / "mail"))
    assert (settings.secret_key, settings.smtp.password) == (STRONG, "mail word")
    missing = str(tmp_path / "missing")
    assert refusal(secret_key_file=missing) == (
        f"CSSS_SECRET_KEY_FILE: cannot read {missing} (No such file or directory)"
    )


def test_secrets_are_in_no_representation_and_no_refusal() -> None:
    words = {
        "secret_key": STRONG,
        "master_keys": f"1:{MASTER}",
        "database_url": "postgresql+psycopg://csss:db-word@db/csss",
        "smtp_password": "mail-word",
        "signing_password": "key-word",
    }
    settings = load(**words)
    shown = repr(settings) + str(settings)
    secrets_of = [*words.values(), MASTER, "db-word"]
    assert [word for word in secrets_of if word in shown] == []
    message = refusal(**words, port="x", confidence_threshold="2")
    assert [word for word in secrets_of if word in message] == []


def test_a_demo_makes_its_own_secrets_once_for_its_owner_alone(tmp_path: Path) -> None:
    environ = {"CSSS_ENVIRONMENT": "demo", "CSSS_BASE_URL": "http://127.0.0.1:8000", "CSSS_DATA_DIR": str(tmp_path)}
    first, again = load_settings(environ), load_settings(environ)
    assert (first.secret_key, first.keys()) == (again.secret_key, again.keys())
    assert (len(first.secret_key) >= 64, first.secure) == (True, False)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
    assert files == {"secret_key": 0o600, "master_keys": 0o600}
    other = load_settings(environ | {"CSSS_DATA_DIR": str(tmp_path / "other")})
    assert other.secret_key != first.secret_key


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().secret_key = "other"  # type: ignore[misc]


def test_many_master_keys_are_read_by_version() -> None:
    new = secrets.token_bytes(32)
    text = f" 1:{MASTER} , 12:{base64.b64encode(new).decode()},"
    assert parse_master_keys(text) == {1: KEY, 12: new}


def test_without_an_environment_the_process_own_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CSSS_")]:
        monkeypatch.delenv(name)
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == load()
