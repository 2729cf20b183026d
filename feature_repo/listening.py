"""How our HTTP servers listen: one socket, requests in flight finished, exit 0 on SIGTERM."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import ipaddress
import os
import signal
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

import structlog
import uvicorn
from uvicorn._types import ASGI3Application

from feature_repo.errors import ConfigError, ForesendError
from feature_repo.protocol import BoundedProtocol, Bounds, bounded_protocol

KEEP_ALIVE_S: Final = 75.0
"""Longer than load balancers keep idle connections, so that they and not we close them."""

TICK_S: Final = 0.1
"""Between two turns of uvicorn's main loop."""

HUSH_S: Final = 0.2
"""For handshakes under way, before the listening socket is closed."""

_SO_ATTACH_FILTER: Final = 26
_DROP_SYN: Final = (
    # Load the TCP flags; drop what has SYN and not ACK; take the rest.
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 1, 0, 0x02),
    (0x06, 0, 0, 0xFFFFFFFF),
    (0x06, 0, 0, 0),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files of TLS; `client_ca`: only clients with a certificate of it are let in."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Return when the files can be used.

        Raises:
            ConfigError: one of them cannot be read or does not belong to the others.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        except (OSError, ValueError) as exc:
            message = (
                f"TLS cannot be set up with --tls-cert {self.cert}, --tls-key {self.key} and "
                f"--tls-client-ca {self.client_ca}: {exc}. They are PEM files; the key has no "
                "password and belongs to the first certificate."
            )
            raise ConfigError(message) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a server behaves to its connections, and how it stops. Times are in seconds."""

    #: For requests in flight at a stop.
    shutdown_s: float
    #: Between a signal (not ready) and refusing connections.
    drain_s: float = 0.0
    #: Then, until idle connections are closed; answers say `Connection: close` since the signal.
    farewell_s: float = 1.0
    #: For what is done after the last answer; whatever hangs then, the process ends.
    flush_s: float = 8.0
    keep_alive_s: float = KEEP_ALIVE_S
    tls: Tls | None = None
    #: Whether other processes accept from the same socket.
    is_shared: bool = False
    bounds: Bounds = field(default_factory=Bounds)

    @property
    def longest_stop_s(self) -> float:
        """From a signal to the end of the process, whatever hangs."""
        return self.drain_s + self.farewell_s + self.shutdown_s + self.flush_s


def freeze_heap() -> None:
    """Keep the collector off what was loaded: scanning it costs 60 to 100 ms at the 99th
    percentile, and it is never garbage. What requests leave is nearly all freed by counting
    references, so the collector is called rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that holds the address; connections wait in it until the application is up.

    Raises:
        ConfigError: the address is taken or cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as exc:
        message = f"Cannot listen on {host}:{port}: {exc}. Choose another --host or --port."
        raise ConfigError(message) from exc


def hush(listening: socket.socket) -> None:
    """Answer no new handshake; connections that were made can still be accepted.

    Closing a listening socket resets the connections that nobody has accepted yet, and their
    requests with them. A client that comes now tries again, and is refused when it is closed.
    """
    code = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(kept))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as exc:
        log.info("handshakes_not_held_back", reason=str(exc))


class Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is read without types
    """uvicorn, with the stages of a stop and an end for slow senders."""

    def __init__(
        self,
        config: uvicorn.Config,
        listening: socket.socket,
        manners: Manners,
        *,
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._manners = manners
        self._stopping = stopping
        self._asked_at: float | None = None
        self._is_hushed = self._is_closed = False
        self._farewells = 0
        self._force = threading.Timer(manners.longest_stop_s, _force_end)
        self._force.daemon = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; a second signal skips the waiting."""
        if self._asked_at is not None:
            self.should_exit = True
            return
        self._asked_at = time.monotonic()
        self._stopping()
        self._manners.bounds.is_leaving = True
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.end_after_answer()
        self._force.start()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; True: shut down now."""
        ends = await super().on_tick(counter)
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.end_if_slow(now)
        return ends or self._has_left()

    def cancel_force(self) -> None:
        """The stop came to its end by itself."""
        self._force.cancel()

    def _has_left(self) -> bool:
        if self._asked_at is None:
            return False
        waited_s = time.monotonic() - self._asked_at - self._manners.drain_s
        if waited_s >= 0.0 and not (self._is_hushed or self._manners.is_shared):
            hush(self._listening)
            self._is_hushed = True
        if waited_s < (0.0 if self._manners.is_shared else HUSH_S):
            return False
        if not self._is_closed:
            self._is_closed = True
            for server in self.servers:
                server.close()
            return False
        # Turns and not time: a process that was held up shall still read what has come meanwhile.
        self._farewells += 1
        return self._farewells * TICK_S >= self._manners.farewell_s or not (
            self.server_state.connections
        )


def run(
    app: ASGI3Application,
    listening: socket.socket,
    manners: Manners,
    *,
    stopping: Callable[[], bool],
    protocol: type[BoundedProtocol] | None = None,
) -> None:
    """Serve until a signal; requests in flight are finished first.

    `stopping` is called when the first signal comes, so that readiness can say it.

    Raises:
        ForesendError: the application could not start.
    """
    config = uvicorn_config(app, manners, protocol)
    server = Server(config, listening, manners, stopping=stopping)
    # A signal that comes after the shutdown must not end the process with itself instead of 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if (tls := manners.tls) is not None:
        signal.signal(signal.SIGHUP, lambda *_: _renew(config, tls))
    server.run(sockets=[listening])
    server.cancel_force()
    if not server.started:
        message = "The server could not start; the log above says why."
        raise ForesendError(message)
    log.info("stopped", requests=server.server_state.total_requests)


def uvicorn_config(
    app: ASGI3Application, manners: Manners, protocol: type[BoundedProtocol] | None
) -> uvicorn.Config:
    """What uvicorn is told; without a protocol of the server's own, one with its bounds."""
    tls = manners.tls
    client_ca = None if tls is None else tls.client_ca
    return uvicorn.Config(
        app,
        http=protocol or bounded_protocol(manners.bounds),
        ws="none",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody here asks for a caller's address.
        proxy_headers=False,
        timeout_keep_alive=round(manners.keep_alive_s),
        timeout_graceful_shutdown=max(1, round(manners.shutdown_s)),
        ssl_certfile=None if tls is None else tls.cert,
        ssl_keyfile=None if tls is None else tls.key,
        ssl_ca_certs=None if client_ca is None else str(client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED,
    )


def _renew(config: uvicorn.Config, tls: Tls) -> None:
    """Use the certificate that is in the files now for connections from now on."""
    assert config.ssl is not None
    try:
        config.ssl.load_cert_chain(tls.cert, tls.key)
    except (OSError, ValueError) as exc:
        log.error("certificate_not_renewed", reason=str(exc))
    else:
        log.info("certificate_renewed")


def _force_end() -> None:
    """Something does not end; whoever stops us shall not have to kill us."""
    log.error("stop_forced")
    os._exit(1)
