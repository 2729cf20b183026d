"""What a URL of Redis says, and that its password is never told."""

from __future__ import annotations

import ssl

import pytest

from feature_repo.errors import ConfigError
from serving.online.address import command, parse


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "hello"),
    [
        # Nothing but a place.
        ("redis://cache:6380", "cache", 6380, None, [b"PING"]),
        # Defaults.
        ("redis://", "localhost", 6379, None, [b"PING"]),
        # Data base 0 is where a connection begins.
        ("redis://cache/0", "cache", 6379, None, [b"PING"]),
        ("redis://cache/3", "cache", 6379, None, [b"SELECT 3", b"PING"]),
        ("redis://:p%40ss@cache", "cache", 6379, None, [b"AUTH p@ss", b"PING"]),
        ("redis://ann:p@[::1]:1/2", "::1", 1, None, [b"AUTH ann p", b"SELECT 2", b"PING"]),
        ("unix://ann:p@/run/r.sock?db=4", "localhost", 6379, "/run/r.sock",
         [b"AUTH ann p", b"SELECT 4", b"PING"]),
    ],
)  # fmt: skip
def test_a_url_is_read_as_redis_py_reads_it(
    url: str, host: str, port: int, path: str | None, hello: list[bytes]
) -> None:
    address = parse(url)

    assert (address.host, address.port, address.path) == (host, port, path)
    assert address.hello == b"".join(command(*words.split()) for words in hello)
    assert address.hello_replies == len(hello)
    assert address.tls is None


def test_tls_checks_the_certificate_and_the_name_unless_told_otherwise() -> None:
    strict, loose = parse("rediss://cache"), parse("rediss://cache?ssl_cert_reqs=none")

    assert strict.tls is not None
    assert strict.tls.verify_mode is ssl.CERT_REQUIRED
    assert strict.tls.check_hostname
    assert loose.tls is not None
    assert loose.tls.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:secret@cache",
        "redis://ann:secret@cache:port",
        "rediss://ann:secret@cache?ssl_ca_certs=/nowhere/ca.pem",
        "rediss://ann:secret@cache?ssl_cert_reqs=perhaps",
    ],
)
def test_a_url_that_cannot_be_used_is_named_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)

    assert "secret" not in str(caught.value)
    assert "FORESEND_REDIS_URL" in str(caught.value)


def test_an_address_is_printed_without_its_password() -> None:
    address = parse("redis://ann:secret@cache:1/2?socket_timeout=3")

    assert "secret" not in repr(address)
    assert address.shown == "redis://cache:1/2"
