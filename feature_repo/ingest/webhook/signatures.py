"""How providers prove that a delivery is theirs. Every comparison takes constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pydantic import SecretStr

from feature_repo.event import CLOCK_SKEW
from feature_repo.ingest.settings import IngestSettings
from feature_repo.ingest.webhook.errors import AuthenticationFailed
from feature_repo.ingest.webhook.request import Request

_EPOCH: Final = re.compile(r"\d{1,11}(\.\d{1,9})?")
_ARMOUR: Final = re.compile(r"-----[^-]+-----|\s")


def secret(settings: IngestSettings, name: str) -> str | None:
    """The secret of this name; None when it is not set and everything local is let in.

    Raises:
        AuthenticationFailed: it is not set.
    """
    value = getattr(settings, name, None) or settings.secrets.get(name)
    if isinstance(value, SecretStr) and value.get_secret_value():
        return value.get_secret_value()
    if settings.insecure_local:
        return None
    message = (
        f"Deliveries are refused until FORESEND_INGEST_{name.upper()} is set; "
        "docs/providers.md says where the provider shows it."
    )
    raise AuthenticationFailed(message)


def check_hmac(
    key: str, signed: bytes, given: str, *, algorithm: str, encoding: str, header: str
) -> None:
    """Refuse unless `given` is the HMAC of what was signed. `encoding` is hex or base64.

    Raises:
        AuthenticationFailed: it is missing or another.
    """
    if not given:
        message = f"{header} is missing: the delivery is not signed."
        raise AuthenticationFailed(message)
    digest = hmac.new(key.encode(), signed, algorithm).digest()
    expected = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    presented = given.lower() if encoding == "hex" else given
    if not same(expected, presented):
        message = f"{header} does not fit the body. Check that both sides have the same secret."
        raise AuthenticationFailed(message)


def check_ecdsa(public_key: str, signed: bytes, given: str, *, header: str) -> None:
    """Refuse unless `given` is a base64 DER signature of what was signed, by ECDSA with SHA-256.

    Raises:
        AuthenticationFailed: it is missing, malformed or another.
    """
    if not given:
        message = f"{header} is missing: the delivery is not signed."
        raise AuthenticationFailed(message)
    try:
        signature = base64.b64decode(given, validate=True)
        _ecdsa_key(public_key).verify(signature, signed, ec.ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError) as exc:
        message = f"{header} does not fit the body. Check the public key of the webhook."
        raise AuthenticationFailed(message) from exc


@lru_cache(maxsize=16)
def _ecdsa_key(text: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(base64.b64decode(_ARMOUR.sub("", text), validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as exc:
        message = "The configured public key is no base64 of a DER public key; copy it again."
        raise AuthenticationFailed(message) from exc
    if not isinstance(key, ec.EllipticCurvePublicKey):
        message = "The configured public key is not one for ECDSA; copy it again."
        raise AuthenticationFailed(message)
    return key


def check_fresh(stamp: str, now: datetime, window_s: float, *, header: str) -> None:
    """Refuse a signed time (epoch seconds) that is older than the window or ahead of our clock.

    Raises:
        AuthenticationFailed: it is missing, malformed, too old or too new.
    """
    if _EPOCH.fullmatch(stamp) is None:
        message = f"{header} is missing or no time in epoch seconds."
        raise AuthenticationFailed(message)
    check_age(datetime.fromtimestamp(float(stamp), UTC), now, window_s, header=header)


def check_age(at: datetime, now: datetime, window_s: float, *, header: str) -> None:
    """Refuse a signed time that is older than the window or ahead of our clock.

    Raises:
        AuthenticationFailed: it is.
    """
    if at < now - timedelta(seconds=window_s):
        message = f"{header} is more than {window_s:.0f} s old: the delivery is a replay, or late."
        raise AuthenticationFailed(message)
    if at > now + CLOCK_SKEW:
        message = f"{header} is in the future: one of the two clocks is wrong."
        raise AuthenticationFailed(message)


def check_shared(expected: str, request: Request) -> None:
    """Refuse unless the request carries the secret: basic authentication or a token.

    `user:password` is compared with what basic authentication sends; a secret without a colon is
    taken as its password, as a bearer token or in the header X-Foresend-Token.

    Raises:
        AuthenticationFailed: it carries none, or another.
    """
    given = _credentials(request.header("authorization"), whole=":" in expected)
    token = request.header("x-foresend-token")
    if not given and not token:
        message = "The delivery carries neither basic authentication nor a token."
        raise AuthenticationFailed(message)
    if not any([same(expected, given), same(expected, token)]):
        message = "The credentials of the delivery are not the configured ones."
        raise AuthenticationFailed(message)


def _credentials(authorization: str, *, whole: bool) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
    return pair if whole else pair.partition(":")[2]


def same(expected: str, given: str) -> bool:
    """Compare in constant time, whatever characters or length.

    >>> same("a", "a"), same("a", "é")
    (True, False)
    """
    pair = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (expected, given))
    return hmac.compare_digest(*pair)
