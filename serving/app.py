"""The scoring application, folded from its ports: it opens nothing and reads no environment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from feature_repo.api_keys import KeyFile, Scope
from serving.admission.gate import Gate, GateMetrics
from serving.admission.keys import Doorkeeper
from serving.audience.desk import Desk
from serving.audience.routes import audience_router
from serving.documentation import DESCRIPTION, document_api
from serving.doorbell import Bell, Doorbell
from serving.edge import Edge
from serving.guard import Guard
from serving.health import Health
from serving.http.access import AccessLog
from serving.http.operations import add_doorbell, add_operations
from serving.http.problems import add_problems, broken
from serving.http.route import ScoreRoute
from serving.http.tracing import Tracing
from serving.metrics import Metrics
from serving.opened import make_service, running
from serving.registry import ModelRegistry
from serving.service import ScoringService, untraced
from serving.settings import ServingSettings
from serving.shelf import Shelf
from serving.store import FeatureStore
from serving.trials import Trial
from serving.watch import Loader, ModelWatch

VERSION: Final = "1.0.0"
"""Of the HTTP interface, not of the package."""

ROUTES: Final = frozenset(
    {"/v1/hooks/mlflow", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the application talks to."""

    registry: ModelRegistry
    store: FeatureStore
    shelf: Shelf
    load_model: Loader
    #: None: everybody may ask (`--insecure-local`).
    keys: KeyFile | None
    clock: Callable[[], datetime]
    #: What stands before the score requests of this process; None: nothing does.
    gate: Gate | None = None
    #: Processes that share the rates of keys.
    workers: int = 1
    #: What challengers get, by target; defaults for those left out.
    trials: Mapping[str, Trial] = field(default_factory=dict)
    #: Rung when MLflow's webhook comes in, in whichever process; None: there is no such door.
    bell: Bell | None = None
    #: Takes in jobs that score whole segments; None: there are none.
    desk: Desk | None = None
    #: None: nothing is traced.
    tracing: Tracing | None = None
    #: Seconds of a clock that only goes forward: of deadlines, and of rates of keys.
    monotonic: Callable[[], float] = time.monotonic


def create_app(
    ports: Ports,
    settings: ServingSettings,
    *,
    targets: Sequence[str],
    predictions: Path,
    settled: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application. `settled` is called once, when all is loaded and warm."""
    metrics = Metrics()
    if ports.gate is not None:
        metrics.registry.register(GateMetrics(ports.gate))
    service = _service(ports, settings, targets=targets, predictions=predictions, metrics=metrics)
    health = Health(service.watch, ports.store, service.predictions)
    app = _Application(
        title="Foresend",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan(ports, service, health, settings, settled),
        redoc_url=None,
        openapi_tags=[
            {"name": "scoring", "description": "What a sending system asks."},
            {"name": "operations", "description": "What runs and watches the service."},
        ],
    )
    app.state.health = health
    app.state.watch = service.watch
    add_operations(app, health, metrics)
    if ports.bell is not None:
        secret, rings = settings.mlflow_webhook_secret, metrics.promotion.rings
        add_doorbell(app, Doorbell(ports.bell, secret, ports.clock, rings))
    doorkeeper = Doorkeeper(ports.keys, workers=ports.workers, monotonic=ports.monotonic)
    if ports.desk is not None:
        app.include_router(audience_router(ports.desk, Guard(doorkeeper, Scope.SCORE)))
    add_problems(app)
    document_api(app)
    _surround(app, ports, settings, service, doorkeeper)
    return app


def _surround(
    app: _Application,
    ports: Ports,
    settings: ServingSettings,
    service: ScoringService,
    doorkeeper: Doorkeeper,
) -> None:
    """The scoring route in front of everything, and what surrounds the other routes."""
    access = AccessLog(service.metrics.http, settings.access_log_share, settings.access_log_slow_s)
    app.add_middleware(
        Edge,
        access=access,
        routes=ROUTES,
        max_body_bytes=settings.max_body_bytes,
        larger={"/v1/audience": settings.audience_max_bytes},
    )
    route = ScoreRoute(
        app.framework,
        service=service,
        doorkeeper=doorkeeper,
        access=access,
        max_body_bytes=settings.max_body_bytes,
        monotonic=ports.monotonic,
        tracing=ports.tracing,
    )
    app.front = ServerErrorMiddleware(route, handler=broken)


class _Application(FastAPI):
    """The framework's application, with a route before all of it: its layers of middleware cost
    that route more than its own work does."""

    front: ASGIApp | None = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer what the front knows, and have the framework answer the rest."""
        if self.front is not None and scope["type"] == "http":
            await self.front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def framework(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """The framework alone."""
        await super().__call__(scope, receive, send)


def _service(
    ports: Ports,
    settings: ServingSettings,
    *,
    targets: Sequence[str],
    predictions: Path,
    metrics: Metrics,
) -> ScoringService:
    is_busy = (lambda: False) if ports.gate is None else ports.gate.is_busy
    watch = ModelWatch(
        ports.registry,
        ports.shelf,
        ports.load_model,
        tuple(targets),
        metrics,
        ports.clock,
        trials=ports.trials,
        bell=ports.bell,
    )
    return make_service(
        watch,
        ports.store,
        settings,
        predictions=predictions,
        is_busy=is_busy,
        monotonic=ports.monotonic,
        part=untraced if ports.tracing is None else ports.tracing.part,
    )


def _lifespan(
    ports: Ports,
    service: ScoringService,
    health: Health,
    settings: ServingSettings,
    settled: Callable[[], None],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(service, poll_s=settings.registry_poll_s):
            # A store that answers now and is away at the first probe degrades this server, no more.
            await health.readiness()
            settled()
            async with AsyncExitStack() as stack:
                if ports.desk is not None:
                    await stack.enter_async_context(ports.desk.open())
                yield
        await ports.store.close()
        await ports.registry.close()
        if ports.tracing is not None:
            await asyncio.to_thread(ports.tracing.stop)

    return lifespan
