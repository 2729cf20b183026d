"""How our HTTP servers listen: one socket, requests in flight finished, exit 0 on SIGTERM."""

from __future__ import annotations

import gc
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from feature_repo.errors import ConfigError, ForesendError

KEEP_ALIVE_S: Final = 75
"""Longer than load balancers keep idle connections, so that they and not we close them."""

log = structlog.get_logger()


def freeze_heap() -> None:
    """Keep the collector off what was loaded: scanning it costs 60 to 100 ms at the 99th
    percentile, and it is never garbage."""
    gc.collect()
    gc.freeze()


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


def run(
    app: FastAPI,
    listening: socket.socket,
    *,
    shutdown_s: float,
    drain_s: float = 0.0,
    stopping: Callable[[], bool],
) -> None:
    """Serve until a signal; requests in flight are finished first.

    `stopping` is called when the first signal comes, so that readiness can say it; it returns
    whether it had been called before. Connections are refused `drain_s` later.

    Raises:
        ForesendError: the application could not start.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(shutdown_s)),
    )
    server = uvicorn.Server(config)
    server.handle_exit = _draining(stopping, server.handle_exit, drain_s)
    # After its shutdown uvicorn raises the signal again for whoever had it before; that would end
    # the process with a signal instead of with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listening])
    if not server.started:
        message = "The server could not start; the log above says why."
        raise ForesendError(message)
    log.info("stopped")


def _draining(
    stopping: Callable[[], bool],
    stop: Callable[[int, FrameType | None], None],
    drain_s: float,
) -> Callable[[int, FrameType | None], None]:
    """Say not ready first; refuse connections `drain_s` later, when balancers have seen it."""

    def handle_exit(number: int, frame: FrameType | None) -> None:
        if stopping() or drain_s == 0.0:
            stop(number, frame)
        else:
            threading.Timer(drain_s, stop, (number, frame)).start()

    return handle_exit
