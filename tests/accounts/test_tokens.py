"""Forged access tokens: every claim counts, and a token must be the very one that was issued."""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from csss.accounts.sign_in import Origin
from csss.accounts.tables import SessionKind, SignInSession, User
from csss.foundation.ids import digest, new_id
from sites import API, Site

HEADER = {"alg": "HS256", "typ": "at+jwt"}


def encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def write(header: dict[str, Any], claims: dict[str, Any] | str, key: bytes, method: str = "sha256") -> str:
    """Make a compact JWS by hand, so that nothing that a library would refuse to make stays untried."""
    payload = claims if isinstance(claims, str) else json.dumps(claims)
    signed = f"{encode(json.dumps(header).encode())}.{encode(payload.encode())}"
    return f"{signed}.{encode(hmac.new(key, signed.encode(), method).digest())}"


class Forger:
    """Knows a person's genuine claims and, for the worst case, the site's own key."""

    def __init__(self, site: Site, who: str = "patient") -> None:
        self.site = site
        self.token = site.person(who).token
        self.key = site.assembly.settings.secret_key.encode()
        payload = self.token.split(".")[1]
        self.claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))

    def without(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in self.claims.items() if key != name}

    def plant(self, token: str) -> str:
        """Let the session's row know this token, so that only what the token says can be the reason of a refusal."""
        with self.site.assembly.shop.work() as work:
            work.session.get_one(SignInSession, self.site.person("patient").actor.session_id).token_hash = digest(token)
        return token


def ask(site: Site, token: str) -> tuple[int, str | None]:
    answer = site.client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("code")


def test_hand_made_token_is_accepted_when_everything_in_it_is_right(site: Site) -> None:
    """The control of all tests below: what they change is the reason of the refusal."""
    forger = Forger(site)
    assert ask(site, forger.plant(write(HEADER, forger.claims, forger.key))) == (200, None)


def rsa_confusion(forger: Forger) -> str:
    """The site's key used as if it were an RSA public key, and an RSA signature of the forger's own."""
    key = RSAKey.import_key(rsa.generate_private_key(65537, 2048))
    return jwt.encode({"alg": "RS256", "typ": "at+jwt"}, forger.claims, key, algorithms=["RS256"])


def embedded_key(forger: Forger) -> str:
    key = b"k" * 32
    jwk = OctKey.import_key(key).as_dict()
    return write(HEADER | {"jwk": jwk}, forger.claims, key)


def duplicated(forger: Forger, *, last: str) -> str:
    """Two "sub" claims, of which readers of JSON see the last one and others the first."""
    first = str(new_id()) if last == forger.claims["sub"] else forger.claims["sub"]
    body = json.dumps(forger.without("sub"))[1:]
    return write(HEADER, f'{{"sub": "{first}", "sub": "{last}", {body}', forger.key)


def null_signature(forger: Forger) -> str:
    return write({"alg": "none", "typ": "at+jwt"}, forger.claims, b"").rsplit(".", 1)[0] + "."


FORGERIES: dict[str, Callable[[Forger], str]] = {
    "alg none": null_signature,
    "alg None": lambda f: write({"alg": "None", "typ": "at+jwt"}, f.claims, b"").rsplit(".", 1)[0] + ".",
    "alg missing": lambda f: write({"typ": "at+jwt"}, f.claims, f.key),
    "HS512 with the same key": lambda f: write(HEADER | {"alg": "HS512"}, f.claims, f.key, "sha512"),
    "HS512 named, HS256 made": lambda f: write(HEADER | {"alg": "HS512"}, f.claims, f.key),
    "wrong key": lambda f: write(HEADER, f.claims, b"x" * 48),
    "empty key": lambda f: write(HEADER, f.claims, b""),
    "RS256": rsa_confusion,
    "wrong audience": lambda f: write(HEADER, f.claims | {"aud": "another-api"}, f.key),
    "no audience": lambda f: write(HEADER, f.without("aud"), f.key),
    "wrong issuer": lambda f: write(HEADER, f.claims | {"iss": "https://evil.example"}, f.key),
    "no issuer": lambda f: write(HEADER, f.without("iss"), f.key),
    "wrong type": lambda f: write(HEADER | {"typ": "JWT"}, f.claims, f.key),
    "no type": lambda f: write({"alg": "HS256"}, f.claims, f.key),
    "expired": lambda f: write(HEADER, f.claims | {"exp": f.claims["iat"] - 1}, f.key),
    "no expiry": lambda f: write(HEADER, f.without("exp"), f.key),
    "expiry as text": lambda f: write(HEADER, f.claims | {"exp": "tomorrow"}, f.key),
    "not yet valid": lambda f: write(HEADER, f.claims | {"nbf": f.claims["iat"] + 3600}, f.key),
    "no jti": lambda f: write(HEADER, f.without("jti"), f.key),
    "jti no id": lambda f: write(HEADER, f.claims | {"jti": "../../1"}, f.key),
    "jti a list": lambda f: write(HEADER, f.claims | {"jti": [f.claims["jti"]]}, f.key),
    "jti unknown": lambda f: write(HEADER, f.claims | {"jti": str(new_id())}, f.key),
    "no subject": lambda f: write(HEADER, f.without("sub"), f.key),
    "subject another": lambda f: write(HEADER, f.claims | {"sub": str(f.site.person("admin").user.id)}, f.key),
    "jwk in the header": embedded_key,
    "jku in the header": lambda f: write(HEADER | {"jku": "https://evil.example/keys"}, f.claims, b"k" * 32),
    "kid a path": lambda f: write(HEADER | {"kid": "../../../dev/null"}, f.claims, b""),
    "x5u in the header": lambda f: write(HEADER | {"x5u": "https://evil.example/c.pem"}, f.claims, b"k" * 32),
    "crit unknown": lambda f: write(HEADER | {"crit": ["exp2"], "exp2": 1}, f.claims, f.key),
    "second subject another": lambda f: duplicated(f, last=str(new_id())),
    "claims a list": lambda f: write(HEADER, json.dumps([f.claims]), f.key),
    "claims nested 10,000 deep": lambda f: write(HEADER, "[" * 10_000 + "]" * 10_000, f.key),
    "header nested 10,000 deep": lambda f: f"{encode(b'[' * 10_000 + b']' * 10_000)}.e30.x",
    "claims no JSON": lambda f: write(HEADER, "{", f.key),
    "truncated signature": lambda f: f.token[:-2],
    "no signature": lambda f: f.token.rsplit(".", 1)[0],
    "no payload": lambda f: f.token.split(".")[0],
    "five parts": lambda f: f"{f.token}.{f.token[:4]}.x",
    "not base64": lambda f: "*.*.*",
    "only dots": lambda f: "..",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_token_is_refused(sqlite_site: Site, name: str) -> None:
    forger = Forger(sqlite_site)
    token = FORGERIES[name](forger)
    assert ask(sqlite_site, token) == (401, "invalid-token")
    assert ask(sqlite_site, forger.plant(token)) == (401, "invalid-token")


@pytest.mark.parametrize("last", ["own", "another"])
def test_duplicated_claim_is_refused_whichever_comes_last(site: Site, last: str) -> None:
    forger = Forger(site)
    token = duplicated(forger, last=forger.claims["sub"] if last == "own" else str(new_id()))
    assert ask(site, token)[0] == 401


def test_token_made_with_our_own_key_is_refused_when_we_did_not_issue_it(site: Site) -> None:
    forger = Forger(site)
    longer = forger.claims | {"exp": forger.claims["exp"] + 3600}
    assert ask(site, write(HEADER, forger.claims, forger.key))[0] == 401
    assert ask(site, write(HEADER, longer, forger.key))[0] == 401
    assert ask(site, forger.token) == (200, None)


def test_other_spelling_of_a_signature_is_refused(site: Site) -> None:
    """The last character of a signature carries two bits that mean nothing: four spellings, one of them issued."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = site.person("patient").token
    place = letters.index(token[-1])
    spellings = [token[:-1] + letters[place // 4 * 4 + low] for low in range(4)]
    assert sorted(ask(site, spelling)[0] for spelling in spellings) == [200, 401, 401, 401]


def test_jti_of_a_browser_session_is_refused(site: Site) -> None:
    forger = Forger(site)
    with site.assembly.shop.work() as work:
        user = work.session.get_one(User, site.person("patient").user.id)
        opened = site.assembly.parts.desk.open_session(work, user, origin=Origin("127.0.0.1"), kind=SessionKind.BROWSER)
        token = write(HEADER, forger.claims | {"jti": str(opened.actor.session_id)}, forger.key)
        work.session.get_one(SignInSession, opened.actor.session_id).token_hash = digest(token)
    assert ask(site, token) == (401, "invalid-token")


def test_token_with_a_later_expiry_ends_with_its_row(site: Site) -> None:
    forger = Forger(site)
    token = forger.plant(write(HEADER, forger.claims | {"exp": forger.claims["exp"] + 86_400}, forger.key))
    site.clock.move(timedelta(minutes=59))
    assert ask(site, token) == (200, None)
    site.clock.move(timedelta(minutes=1))
    assert ask(site, token) == (401, "session-ended")


def test_token_after_signing_out_is_refused(site: Site) -> None:
    token = site.person("patient").token
    site.post("patient", "/auth/logout")
    assert ask(site, token) == (401, "session-ended")


def test_role_in_a_token_is_not_looked_at(site: Site) -> None:
    forger = Forger(site)
    assert "role" not in forger.claims
    token = forger.plant(write(HEADER, forger.claims | {"role": "admin", "roles": ["admin"]}, forger.key))
    answer = site.client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["role"] == "patient"


def test_token_says_only_who_and_how_long(site: Site) -> None:
    forger = Forger(site)
    person = site.person("patient")
    now = int(site.clock.now().timestamp())
    assert forger.claims == {
        "iss": "csss",
        "aud": "csss-api",
        "sub": str(person.user.id),
        "jti": str(person.actor.session_id),
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
    }
