"""Access tokens of Google's OAuth, from a service account's key or a person's refresh token."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from feature_repo.deliverability.errors import SourceRefused
from feature_repo.deliverability.patience import PatientClient
from feature_repo.errors import ConfigError

TOKEN_URI: Final = "https://oauth2.googleapis.com/token"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME: Final = timedelta(hours=1)
#: A token that is about to end is not used any more.
_MARGIN: Final = timedelta(minutes=2)


class Grant(Protocol):
    """What is shown to the token endpoint."""

    uri: str

    def form(self, now: datetime) -> dict[str, str]:
        """The fields of the form."""


class ServiceAccount:
    """A service account signs a statement with its key (RFC 7523)."""

    def __init__(self, key: Mapping[str, Any], scopes: Sequence[str], subject: str | None) -> None:
        self.uri: str = key.get("token_uri", TOKEN_URI)
        self._key = key
        self._scopes = " ".join(scopes)
        self._subject = subject
        self._signer = _signer(key)

    def form(self, now: datetime) -> dict[str, str]:
        """The signed statement, valid for an hour."""
        claims = {
            "iss": self._key["client_email"],
            "scope": self._scopes,
            "aud": self.uri,
            "iat": int(now.timestamp()),
            "exp": int((now + _LIFETIME).timestamp()),
        }
        if self._subject is not None:
            claims["sub"] = self._subject
        header = {"alg": "RS256", "typ": "JWT", "kid": self._key.get("private_key_id", "")}
        body = f"{_part(header)}.{_part(claims)}"
        signature = self._signer.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
        return {"grant_type": _GRANT, "assertion": f"{body}.{_encoded(signature)}"}


class RefreshToken:
    """A person agreed once, in a browser, and left a refresh token (RFC 6749, 6)."""

    uri = TOKEN_URI

    def __init__(self, client_id: str, client_secret: str, refresh_token: str) -> None:
        self._form = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": refresh_token,
        }

    def form(self, now: datetime) -> dict[str, str]:
        """The same at any time."""
        del now
        return self._form


class Tokens:
    """Hands out an access token, and gets a new one when the last is about to end."""

    def __init__(
        self, grant: Grant, client: PatientClient, *, clock: Callable[[], datetime]
    ) -> None:
        self._grant = grant
        self._client = client
        self._clock = clock
        self._token: str | None = None
        self._ends = clock()

    def current(self) -> str:
        """An access token that lasts a while.

        Raises:
            SourceRefused: the credentials are not taken.
            SourceUnavailable: nobody answers.
        """
        if self._token is None or self._clock() >= self._ends - _MARGIN:
            self._token, lifetime = self._fetch()
            self._ends = self._clock() + lifetime
        return self._token

    def forget(self) -> None:
        """Get a new token next time: the last one was not taken."""
        self._token = None

    def _fetch(self) -> tuple[str, timedelta]:
        form = self._grant.form(self._clock())
        response = self._client.send(lambda: httpx.Request("POST", self._grant.uri, data=form))
        try:
            told = response.json()
        except ValueError:
            told = {}
        token = told.get("access_token") if isinstance(told, dict) else None
        if response.status_code != 200 or not isinstance(token, str):
            # Google's words for what is wrong; the form, with the secrets, is not shown.
            problem = told.get("error", "") if isinstance(told, dict) else ""
            message = (
                f"Google gives no token (status {response.status_code} {problem}): "
                "the credentials in FORESEND_POSTMASTER_* are not taken. "
                "invalid_grant means a withdrawn or expired one, or a wrong clock."
            )
            raise SourceRefused(message, response.status_code)
        lifetime = told.get("expires_in")
        is_told = isinstance(lifetime, int | float) and lifetime > 0
        return token, timedelta(seconds=lifetime) if is_told else _LIFETIME


def read_service_account(path: Path) -> Mapping[str, Any]:
    """The key file of a service account.

    Raises:
        ConfigError: it is none. What is in it is not shown.
    """
    try:
        key = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        message = (
            f"FORESEND_POSTMASTER_SERVICE_ACCOUNT {path} cannot be read as JSON "
            f"({type(exc).__name__}). Give the key file that Google made for the account."
        )
        raise ConfigError(message) from None
    if not isinstance(key, dict) or not {"client_email", "private_key"} <= key.keys():
        message = (
            f"FORESEND_POSTMASTER_SERVICE_ACCOUNT {path} has no client_email and private_key: "
            "it is not the key file of a service account. Make one under IAM, Service accounts."
        )
        raise ConfigError(message)
    if not str(key.get("token_uri", TOKEN_URI)).startswith("https://"):
        message = f"token_uri in {path} must begin with https://. Use Google's file as it is."
        raise ConfigError(message)
    return key


def _signer(key: Mapping[str, Any]) -> rsa.RSAPrivateKey:
    try:
        found = serialization.load_pem_private_key(str(key["private_key"]).encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, rsa.RSAPrivateKey):
        message = (
            "The private_key of FORESEND_POSTMASTER_SERVICE_ACCOUNT is no RSA key in PEM form. "
            "Download the key file again."
        )
        raise ConfigError(message)
    return found


def _part(content: Mapping[str, object]) -> str:
    return _encoded(json.dumps(content, separators=(",", ":")).encode())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
