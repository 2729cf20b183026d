"""Where Redis is and how to be let in: a URL, read as redis-py reads it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from redis.connection import SSLConnection, parse_url

from feature_repo import wire
from feature_repo.errors import ConfigError

_CERTIFICATES: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Address:
    """A Redis server. Its URL may hold a password, so only `shown` is ever told."""

    #: The URL without user and password, for messages.
    shown: str
    host: str
    port: int
    #: Path of a Unix socket; None: host and port.
    path: str | None
    tls: ssl.SSLContext | None
    #: First commands on a connection: AUTH and SELECT as far as they are needed, then PING.
    hello: bytes = field(repr=False)
    #: Replies to them.
    hello_replies: int


def parse(url: str) -> Address:
    """The address a `redis://`, `rediss://` or `unix://` URL names.

    Options in the URL's query that set time limits are not used: the reader has its own.

    Raises:
        ConfigError: it cannot be used; the message has no password in it.
    """
    parts = urlsplit(url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
    try:
        options: Mapping[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        is_tls = issubclass(options.get("connection_class", object), SSLConnection)
        tls = _tls(options) if is_tls else None
    except (ValueError, OSError) as exc:
        message = f"FORESEND_REDIS_URL {shown!r} cannot be used: {exc}."
        raise ConfigError(message) from exc
    hello = _hello(options)
    return Address(
        shown=shown,
        host=options.get("host", "localhost"),
        port=int(options.get("port", 6379)),
        path=options.get("path"),
        tls=tls,
        hello=b"".join(hello),
        hello_replies=len(hello),
    )


def command(*words: bytes) -> bytes:
    """RESP of one command.

    >>> command(b"PING")
    b'*1\\r\\n$4\\r\\nPING\\r\\n'
    """
    return b"*%d\r\n" % len(words) + b"".join(map(wire.bulk, words))


def _hello(options: Mapping[str, Any]) -> list[bytes]:
    user, password, db = (options.get(name) for name in ("username", "password", "db"))
    commands = []
    if password:
        name = (user.encode(),) if user else ()
        commands.append(command(b"AUTH", *name, password.encode()))
    if db:
        commands.append(command(b"SELECT", b"%d" % int(db)))
    return [*commands, command(b"PING")]


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext:
    """By default the server's certificate is checked, and that it names the host."""
    required = str(options.get("ssl_cert_reqs", "required")).lower()
    if required not in _CERTIFICATES:
        message = f"ssl_cert_reqs is {required!r}, not one of {', '.join(_CERTIFICATES)}"
        raise ValueError(message)
    context = ssl.create_default_context(
        cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path")
    )
    checked = str(options.get("ssl_check_hostname", True)).lower() not in ("false", "0", "no")
    context.check_hostname = checked and required != "none"
    context.verify_mode = _CERTIFICATES[required]
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context
