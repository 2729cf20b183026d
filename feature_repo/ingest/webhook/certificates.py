"""Certificates of signers, fetched once and kept as long as they are valid."""

from __future__ import annotations

import urllib.request
from collections import OrderedDict
from datetime import datetime
from http.client import HTTPException, HTTPMessage
from threading import Lock
from typing import IO, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from feature_repo.ingest.webhook.errors import AuthenticationFailed, VerificationUnavailable
from feature_repo.ingest.webhook.request import Fetch

_LARGEST: Final = 65_536
_TIMEOUT_S: Final = 5.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A pinned host must not be able to send us elsewhere."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


_opener: Final = urllib.request.build_opener(_NoRedirect)


def fetch_url(url: str) -> bytes:
    """The content of an https URL; follows no redirect. The caller has checked the host.

    Raises:
        OSError: it cannot be had.
    """
    if not url.startswith("https://"):
        message = "only https URLs are fetched"
        raise OSError(message)
    try:
        with _opener.open(url, timeout=_TIMEOUT_S) as answer:
            content: bytes = answer.read(_LARGEST)
            return content
    except HTTPException as exc:
        message = f"no HTTP answer: {exc!r}"
        raise OSError(message) from exc


class Certificates:
    """RSA keys of certificates by URL. Safe to use from several threads."""

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, Fetch], x509.Certificate] = OrderedDict()
        self._lock = Lock()

    def key(self, url: str, now: datetime, fetch: Fetch) -> RSAPublicKey:
        """The public key of the certificate at a URL whose host the caller has checked.

        Raises:
            AuthenticationFailed: it is no certificate with an RSA key that is valid now.
            VerificationUnavailable: it cannot be fetched now.
        """
        with self._lock:
            certificate = self._kept.get((url, fetch))
        if certificate is None:
            certificate = self._fetched(url, fetch)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            with self._lock:
                self._kept.pop((url, fetch), None)
            message = "The certificate of the signer is not valid at this time."
            raise AuthenticationFailed(message)
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            message = "The certificate of the signer has no RSA key."
            raise AuthenticationFailed(message)
        return key

    def _fetched(self, url: str, fetch: Fetch) -> x509.Certificate:
        content = _content(url, fetch)
        try:
            certificate = x509.load_pem_x509_certificate(content)
        except ValueError as exc:
            message = "What the signer's URL holds is no certificate."
            raise AuthenticationFailed(message) from exc
        with self._lock:
            self._kept[url, fetch] = certificate
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return certificate


def _content(url: str, fetch: Fetch) -> bytes:
    try:
        return fetch(url)
    except OSError as exc:
        message = f"The certificate of the signer cannot be fetched now: {exc}."
        raise VerificationUnavailable(message) from exc
