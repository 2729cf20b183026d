"""The composition root: settings become ports, ports an application, and a socket serves it."""

from __future__ import annotations

import gc
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from feature_repo.addresses import mlflow_uri, redis_url
from feature_repo.config import load_config
from feature_repo.errors import ConfigError, ForesendError
from feature_repo.settings import Settings
from serving.app import Ports, create_app
from serving.auth import KeyFile, keys_path
from serving.logs import configure_logs
from serving.model import ScoringModel
from serving.registry import open_registry
from serving.settings import ServingSettings, load_serving_settings
from serving.shelf import Shelf
from serving.store import RedisStore

KEEP_ALIVE_S: Final = 75
"""Longer than load balancers keep idle connections, so that they and not we close them."""

log = structlog.get_logger()


def serve(settings: Settings, *, host: str, port: int, insecure_local: bool) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish what runs and return.

    Raises:
        ConfigError: a setting, the address or the key file cannot be used.
    """
    if insecure_local and not is_loopback(host):
        message = (
            f"--insecure-local asks for no API keys, so it listens on loopback only, not on "
            f"{host!r}. Leave it out and make a key with `foresend keys add NAME`."
        )
        raise ConfigError(message)
    configure_logs()
    limits = load_serving_settings()
    app = open_app(settings, limits, insecure_local=insecure_local)
    listening = listen(host, port)
    address = listening.getsockname()
    log.info("listening", host=address[0], port=address[1], api_keys=not insecure_local)
    run(app, listening, limits)


def open_app(settings: Settings, limits: ServingSettings, *, insecure_local: bool) -> FastAPI:
    """The application over this installation's Redis, MLflow and files."""
    keys = None if insecure_local else KeyFile(keys_path(settings))
    if keys is not None and not keys.keys():
        log.warning("no_api_keys", cure="foresend keys add NAME")
    ports = Ports(
        registry=open_registry(mlflow_uri(settings), timeout_s=limits.registry_timeout_s),
        store=RedisStore(redis_url(settings), project=settings.project, settings=limits),
        shelf=Shelf(settings.state_path / "models"),
        load_model=ScoringModel.load,
        keys=keys,
        clock=lambda: datetime.now(UTC),
    )
    return create_app(
        ports,
        limits,
        targets=tuple(load_config(settings).targets),
        predictions=settings.predictions_path,
        settled=freeze_heap,
    )


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


def run(app: FastAPI, listening: socket.socket, limits: ServingSettings) -> None:
    """Serve until a signal; requests in flight are finished first.

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
        timeout_graceful_shutdown=max(1, round(limits.shutdown_s)),
    )
    server = uvicorn.Server(config)
    server.handle_exit = _draining(app, server.handle_exit, limits.drain_s)
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
    app: FastAPI, stop: Callable[[int, FrameType | None], None], drain_s: float
) -> Callable[[int, FrameType | None], None]:
    """Say not ready first; refuse connections `drain_s` later, when balancers have seen it."""

    def handle_exit(number: int, frame: FrameType | None) -> None:
        again, app.state.health.stopping = app.state.health.stopping, True
        if again or drain_s == 0.0:
            stop(number, frame)
        else:
            threading.Timer(drain_s, stop, (number, frame)).start()

    return handle_exit
