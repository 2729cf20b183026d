"""The ingest application, folded from its ports: it opens nothing and reads no environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from feature_repo.api_keys import KeyFile
from feature_repo.ingest.admission import Admission
from feature_repo.ingest.backpressure import Pressure
from feature_repo.ingest.confirmation import Confirmations
from feature_repo.ingest.edge import Edge, EdgePorts
from feature_repo.ingest.edge_docs import DESCRIPTION, document_api
from feature_repo.ingest.health import Health
from feature_repo.ingest.inbound import Inbound
from feature_repo.ingest.mapper import Mapper
from feature_repo.ingest.metrics import Metrics
from feature_repo.ingest.problems import PROBLEM_JSON
from feature_repo.ingest.raw.store import RawStore
from feature_repo.ingest.settings import IngestSettings

VERSION: Final = "1.0.0"
"""Of the HTTP interface, not of the package."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPorts:
    """What the application is made of."""

    inbound: Inbound
    store: RawStore
    mapper: Mapper
    pressure: Pressure
    confirmations: Confirmations
    #: None: everybody may deliver canonical events (`--insecure-local`).
    keys: KeyFile | None
    metrics: Metrics
    clock: Callable[[], datetime]
    #: Called last at a stop: releases the queue and the files.
    close: Callable[[], None]


class IngestApp(FastAPI):
    """The framework's application behind the edge."""

    edge: Edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer deliveries in front of the framework, everything else in it."""
        await self.edge(scope, receive, send)

    async def inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the framework answers."""
        await super().__call__(scope, receive, send)


def create_app(
    ports: IngestPorts, settings: IngestSettings, *, settled: Callable[[], None] = lambda: None
) -> IngestApp:
    """The application. `settled` is called once, when everything is up."""
    health = Health(ports.pressure, ports.mapper)
    app = IngestApp(
        title="Foresend ingest",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan(ports, settings, settled),
        redoc_url=None,
    )
    app.state.health = health
    _add_operations(app, health, ports.metrics)
    _add_problems(app)
    admission = Admission(ports.pressure, settings)
    ports.metrics.in_flight.set_function(lambda: admission.requests)
    edge = EdgePorts(
        inbound=ports.inbound,
        store=ports.store,
        admission=admission,
        keys=ports.keys,
        landed=ports.confirmations.landed,
        metrics=ports.metrics,
        clock=ports.clock,
    )
    app.edge = Edge(app.inner, ports=edge, settings=settings)
    document_api(app, ports.inbound.providers)
    return app


def _lifespan(
    ports: IngestPorts, settings: IngestSettings, settled: Callable[[], None]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ports.mapper.start()
        await asyncio.to_thread(ports.pressure.look)
        looking = asyncio.create_task(ports.pressure.run())
        looking.add_done_callback(_report_end)
        settled()
        yield
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        ports.confirmations.close()
        # What was answered for is durable already; this only saves the next start some work.
        await asyncio.to_thread(ports.store.close)
        await asyncio.to_thread(ports.mapper.finish, settings.shutdown_s)
        ports.store.abandon()
        ports.close()

    return lifespan


def _add_operations(app: FastAPI, health: Health, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["operations"], summary="The process works")
    async def healthz() -> Response:
        """503 when only a restart helps, else 200, whatever else is wrong."""
        is_alive = health.is_alive()
        body = orjson.dumps({"status": "ok" if is_alive else "restart"})
        return Response(body, status_code=200 if is_alive else 503, media_type="application/json")

    @app.get("/readyz", tags=["operations"], summary="Whether deliveries should be sent here")
    async def readyz() -> Response:
        """200 or 503; `reasons` says why not, or what is degraded."""
        ready, document = health.readiness()
        return Response(
            orjson.dumps(document),
            status_code=200 if ready else 503,
            media_type="application/json",
        )

    @app.get("/metrics", tags=["operations"], summary="Metrics for Prometheus")
    async def exposition() -> Response:
        """Counters and histograms; no customer appears in them."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")


def _add_problems(app: FastAPI) -> None:
    async def refused(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        detail = f"{request.method} {request.url.path} is not something this API answers."
        body = {
            "type": "urn:foresend:problem:http",
            "title": exc.detail,
            "status": exc.status_code,
            "detail": detail,
            "request_id": request.scope.get("state", {}).get("request_id", ""),
        }
        return Response(
            orjson.dumps(body),
            status_code=exc.status_code,
            headers=dict(exc.headers or {}),
            media_type=PROBLEM_JSON,
        )

    app.add_exception_handler(HTTPException, refused)


def _report_end(task: asyncio.Task[None]) -> None:
    """A look that ends by itself is a mistake of ours; deliveries go on as it last said."""
    if not task.cancelled() and task.exception() is not None:
        log.error("pressure_not_seen_any_more", exc_info=task.exception())
