"""Access tokens: what is signed and sent, what is kept, and what is never told."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from feature_repo.deliverability.errors import SourceRefused
from feature_repo.deliverability.tokens import (
    RefreshToken,
    ServiceAccount,
    Tokens,
    read_service_account,
)
from feature_repo.errors import ConfigError
from tests.unit.feature_repo.deliverability.world import NOON, Clock, Web

SCOPE = "https://www.googleapis.com/auth/postmaster.traffic.readonly"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def account(key: rsa.RSAPrivateKey) -> dict[str, str]:
    return {
        "type": "service_account",
        "client_email": "puller@project.iam.gserviceaccount.com",
        "private_key_id": "k1",
        "private_key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def tokens_told(*lifetimes: int) -> Iterator[httpx.Response]:
    for number, lifetime in enumerate(lifetimes):
        yield httpx.Response(200, json={"access_token": f"t{number}", "expires_in": lifetime})


def form_of(request: httpx.Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_a_service_account_signs_who_it_is_for_what_and_how_long(
    account: dict[str, str], key: rsa.RSAPrivateKey
) -> None:
    web, clock = Web(tokens_told(3600)), Clock()
    grant = ServiceAccount(account, [SCOPE], "ann@shop.example")
    assert Tokens(grant, web.client(clock), clock=lambda: clock.now).current() == "t0"

    form = form_of(web.requests[0])
    header, claims, signature = form["assertion"].split(".")
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert decoded(header) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert decoded(claims) == {
        "iss": "puller@project.iam.gserviceaccount.com",
        "scope": SCOPE,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 3600,
        "sub": "ann@shop.example",
    }
    _verify(key, f"{header}.{claims}", signature)
    with pytest.raises(InvalidSignature):
        _verify(key, f"{header}.{claims}x", signature)


def _verify(key: rsa.RSAPrivateKey, body: str, signature: str) -> None:
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    key.public_key().verify(raw, body.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_a_refresh_token_is_sent_with_its_client() -> None:
    web, clock = Web(tokens_told(3600)), Clock()
    tokens = Tokens(RefreshToken("id", "s3", "r1"), web.client(clock), clock=lambda: clock.now)

    assert tokens.current() == "t0"
    assert form_of(web.requests[0]) == {
        "grant_type": "refresh_token",
        "client_id": "id",
        "client_secret": "s3",
        "refresh_token": "r1",
    }


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    web, clock = Web(tokens_told(3600, 3600, 3600)), Clock()
    tokens = Tokens(RefreshToken("id", "s3", "r1"), web.client(clock), clock=lambda: clock.now)

    assert [tokens.current(), tokens.current()] == ["t0", "t0"]
    clock.now += timedelta(minutes=59)
    assert tokens.current() == "t1"
    tokens.forget()
    assert tokens.current() == "t2"


@pytest.mark.parametrize("lifetime", [None, "soon", -1])
def test_a_lifetime_that_is_none_is_an_hour(lifetime: object) -> None:
    told = [
        httpx.Response(200, json={"access_token": f"t{n}", "expires_in": lifetime}) for n in (0, 1)
    ]
    web, clock = Web(iter(told)), Clock()
    tokens = Tokens(RefreshToken("id", "s3", "r1"), web.client(clock), clock=lambda: clock.now)

    tokens.current()
    clock.now += timedelta(minutes=57)
    assert tokens.current() == "t0"
    clock.now += timedelta(minutes=2)
    assert tokens.current() == "t1"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(400, json={"error": "invalid_grant", "error_description": "r1 is gone"}),
        httpx.Response(200, json={"expires_in": 3600}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=["t0"]),
    ],
)
def test_no_token_is_an_error_without_a_secret_in_it(answer: httpx.Response) -> None:
    web, clock = Web(iter([answer])), Clock()
    tokens = Tokens(RefreshToken("id", "s3", "r1"), web.client(clock), clock=lambda: clock.now)

    with pytest.raises(SourceRefused, match="FORESEND_POSTMASTER") as failure:
        tokens.current()
    assert "s3" not in str(failure.value)
    assert "r1" not in str(failure.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "has no client_email and private_key"),
        ('{"client_email": "a", "private_key": "SECRET", "token_uri": "http://x"}', "https://"),
    ],
)
def test_a_key_file_that_is_none_is_refused_by_name(
    tmp_path: Path, content: str, told: str
) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)

    with pytest.raises(ConfigError, match=told) as failure:
        read_service_account(path)
    assert str(path) in str(failure.value)
    assert "SECRET" not in str(failure.value)


def test_a_key_that_is_no_rsa_key_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="no RSA key") as failure:
        ServiceAccount({"client_email": "a", "private_key": "SECRET"}, [SCOPE], None)
    assert "SECRET" not in str(failure.value)
