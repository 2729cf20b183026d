"""The composition root: settings become ports, ports an application, and a socket serves it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from fastapi import FastAPI
from pydantic import SecretStr
from uvicorn._types import ASGI3Application

from feature_repo.addresses import mlflow_uri, redis_url
from feature_repo.api_keys import KeyFile, keys_path
from feature_repo.config import load_config
from feature_repo.errors import ConfigError
from feature_repo.listening import Manners, Tls, freeze_heap, is_loopback, listen, run
from feature_repo.logs import configure_logs
from feature_repo.protocol import Bounds
from feature_repo.settings import Settings
from serving.admission.channel import Begin
from serving.admission.gate import Budget, Gate
from serving.admission.gated import gate_protocol
from serving.admission.parent import Parent
from serving.app import Ports, create_app
from serving.audience.opened import open_desk
from serving.doorbell import Bell
from serving.http.tracing import check_tracing, open_tracing
from serving.model import ScoringModel
from serving.registry import open_registry
from serving.settings import ServingSettings, load_serving_settings, load_tracing_settings
from serving.shelf import Shelf
from serving.store import RedisStore
from serving.trials import trials_of

SWITCH_S: Final = 0.0005
"""How long another thread, such as one that loads a model, may keep the loop from running; Python's
own 5 ms would be felt by every request."""

log = structlog.get_logger()


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    insecure_local: bool,
    workers: int | None = None,
    tls: Tls | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish what runs and return.

    `workers`: processes that answer; None: as the settings say.

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
    check_tracing(load_tracing_settings())
    count = limits.workers if workers is None else workers
    if tls is not None:
        tls.check()
    if count == 1:
        gate = open_gate(limits)
        app = open_app(settings, limits, insecure_local=insecure_local, gate=gate)
    listening = listen(host, port)
    address = listening.getsockname()
    log.info(
        "listening",
        host=address[0],
        port=address[1],
        api_keys=not insecure_local,
        tls=tls is not None,
        workers=count,
    )
    with _pid_file(settings, address[1]):
        if count == 1:
            answer_on(app, listening, limits, gate, stopping=app.state.health.stop, tls=tls)
        else:
            _answer_together(settings, listening, limits, count, insecure_local, tls)


def open_gate(limits: ServingSettings) -> Gate:
    """A gate with the places that the settings give to a worker."""
    return Gate(
        singles=Budget(limits.gate_singles),
        bulk=Budget(limits.gate_bulk),
        swallow_bytes=limits.max_body_bytes,
        bounds=Bounds(receive_s=limits.receive_s),
    )


def answer_on(
    app: ASGI3Application,
    listening: socket.socket,
    limits: ServingSettings,
    gate: Gate,
    *,
    stopping: Callable[[], bool],
    tls: Tls | None,
    is_shared: bool = False,
) -> None:
    """Answer on a socket in this process; `is_shared`: others accept from it too.

    Raises:
        ForesendError: the application could not start.
    """
    sys.setswitchinterval(SWITCH_S)
    manners = _manners(limits, gate.bounds, tls, is_shared=is_shared)
    run(app, listening, manners, stopping=stopping, protocol=gate_protocol(gate))


def open_app(
    settings: Settings,
    limits: ServingSettings,
    *,
    insecure_local: bool,
    gate: Gate,
    workers: int = 1,
) -> FastAPI:
    """The application over this installation's Redis, MLflow and files."""
    keys = None if insecure_local else KeyFile(keys_path(settings))
    if keys is not None and not keys.keys():
        log.warning("no_api_keys", cure="foresend keys add NAME")
    config = load_config(settings)
    ports = Ports(
        registry=open_registry(mlflow_uri(settings), timeout_s=limits.registry_timeout_s),
        store=RedisStore(redis_url(settings), project=settings.project, settings=limits),
        shelf=Shelf(settings.state_path / "models"),
        load_model=ScoringModel.load,
        keys=keys,
        clock=lambda: datetime.now(UTC),
        gate=gate,
        workers=workers,
        trials=trials_of(config),
        bell=Bell(settings.state_path / "doorbell"),
        desk=open_desk(settings, limits, tuple(config.targets)),
        tracing=open_tracing(load_tracing_settings()),
    )
    return create_app(
        ports,
        limits,
        targets=tuple(config.targets),
        predictions=settings.predictions_path,
        settled=freeze_heap,
    )


def _answer_together(
    settings: Settings,
    listening: socket.socket,
    limits: ServingSettings,
    count: int,
    insecure_local: bool,
    tls: Tls | None,
) -> None:
    begin = Begin(
        settings=_plain(settings),
        listening=listening.fileno(),
        number=0,
        workers=count,
        insecure_local=insecure_local,
        tls_cert=None if tls is None else str(tls.cert),
        tls_key=None if tls is None else str(tls.key),
        tls_client_ca=None if tls is None or tls.client_ca is None else str(tls.client_ca),
    )
    manners = _manners(limits, Bounds(), tls, is_shared=False)
    asyncio.run(Parent(begin, listening, manners).run())


def _manners(
    limits: ServingSettings, bounds: Bounds, tls: Tls | None, *, is_shared: bool
) -> Manners:
    return Manners(
        shutdown_s=limits.shutdown_s,
        drain_s=limits.drain_s,
        farewell_s=limits.farewell_s,
        keep_alive_s=limits.keep_alive_s,
        tls=tls,
        is_shared=is_shared,
        bounds=bounds,
    )


def _plain(settings: Settings) -> str:
    """The settings as JSON with their secrets, for the eyes of a worker only."""
    values = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings
    }
    return json.dumps(values, default=str)


@contextmanager
def _pid_file(settings: Settings, port: int) -> Iterator[Path]:
    """`state/serve-PORT.pid`, for `kill -HUP`; there as long as the server runs."""
    path = settings.state_path / f"serve-{port}.pid"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
