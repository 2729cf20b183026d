"""The scoring application, folded from its ports: it opens nothing and reads no environment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from fastapi import Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from feature_repo.api_keys import KeyFile, Scope
from serving.documentation import (
    DESCRIPTION,
    PROBLEM_JSON,
    SCORE_REQUEST_BODY,
    SCORE_RESPONSES,
    document_api,
)
from serving.edge import HEADER, Edge, request_id_of
from serving.errors import OtherProblem, Problem
from serving.guard import Guard
from serving.health import Health
from serving.metrics import Metrics
from serving.parsing import check_content_type, parse_score_request
from serving.prediction_writer import PredictionWriter
from serving.registry import ModelRegistry
from serving.schemas import Health as HealthDocument
from serving.schemas import Readiness
from serving.scoring import Rules
from serving.service import LastScores, ScoringService
from serving.settings import ServingSettings
from serving.shelf import Shelf
from serving.store import FeatureStore
from serving.watch import Loader, ModelWatch

VERSION: Final = "1.0.0"
"""Of the HTTP interface, not of the package."""

ROUTES: Final = frozenset(
    {"/v1/score", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
)

log = structlog.get_logger()


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
    service = _service(ports, settings, targets=targets, predictions=predictions, metrics=metrics)
    health = Health(service.watch, ports.store)
    app = FastAPI(
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
    _add_scoring(app, service, Guard(ports.keys, Scope.SCORE))
    _add_operations(app, health, metrics)
    _add_problems(app)
    app.add_middleware(Edge, metrics=metrics, routes=ROUTES, max_body_bytes=settings.max_body_bytes)
    document_api(app)
    return app


def _service(
    ports: Ports,
    settings: ServingSettings,
    *,
    targets: Sequence[str],
    predictions: Path,
    metrics: Metrics,
) -> ScoringService:
    return ScoringService(
        watch=ModelWatch(
            ports.registry, ports.shelf, ports.load_model, tuple(targets), metrics, ports.clock
        ),
        store=ports.store,
        predictions=PredictionWriter(
            predictions,
            metrics,
            flush_s=settings.prediction_flush_s,
            flush_rows=settings.prediction_flush_rows,
            queue_rows=settings.prediction_queue_rows,
        ),
        metrics=metrics,
        rules=Rules(settings.stale_after_s, settings.clock_skew_s),
        clock=ports.clock,
        last_scores=LastScores(settings.last_scores),
    )


def _lifespan(
    ports: Ports,
    service: ScoringService,
    health: Health,
    settings: ServingSettings,
    settled: Callable[[], None],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    watch = service.watch

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.predictions.start()
        await watch.start()
        # A store that answers now and is away at the first probe degrades this server, no more.
        await health.readiness()
        settled()
        following = asyncio.create_task(watch.run(settings.registry_poll_s))
        following.add_done_callback(lambda task: _report_end(task, watch))
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await asyncio.to_thread(service.predictions.stop)
        await ports.store.close()
        await ports.registry.close()

    return lifespan


def _add_scoring(app: FastAPI, service: ScoringService, guard: Guard) -> None:
    @app.post(
        "/v1/score",
        tags=["scoring"],
        summary="Score customers for a target at the moment of a send",
        responses=SCORE_RESPONSES,
        openapi_extra=SCORE_REQUEST_BODY,
        operation_id="score",
        dependencies=[Depends(guard)],
    )
    async def score(request: Request) -> Response:
        """One score per customer, in order. An unknown customer never fails the others: the
        answer says `degraded` with its cause whenever it is less than a fresh score.
        """
        check_content_type(request.headers.get("content-type"))
        ask = parse_score_request(await request.body())
        answer = await service.score(ask, request_id_of(request.scope))
        return Response(orjson.dumps(answer), media_type="application/json")


def _add_operations(app: FastAPI, health: Health, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["operations"], summary="The process answers")
    async def healthz() -> HealthDocument:
        """200 as long as the event loop runs, whatever else is wrong."""
        return HealthDocument(status="ok")

    @app.get(
        "/readyz",
        tags=["operations"],
        summary="Whether requests should be sent here",
        responses={
            200: {"model": Readiness, "description": "Yes; `degraded` answers may be given."},
            503: {"model": Readiness, "description": "No; `reasons` says why."},
        },
    )
    async def readyz() -> Response:
        """See the field `reasons` of the answer."""
        ready, document = await health.readiness()
        return Response(
            orjson.dumps(document),
            status_code=200 if ready else 503,
            media_type="application/json",
        )

    @app.get(
        "/metrics",
        tags=["operations"],
        summary="Metrics for Prometheus",
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        response_class=Response,
    )
    async def exposition() -> Response:
        """Counters and histograms; no customer appears in them."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")


def _add_problems(app: FastAPI) -> None:
    async def known(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, Problem)
        return _told(request, exc, exc.document(request_id_of(request.scope)))

    async def refused(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        detail = f"{request.method} {request.url.path} is not something this API answers."
        problem = OtherProblem(exc.status_code, exc.detail, detail, exc.headers or {})
        return _told(request, problem, problem.document(request_id_of(request.scope)))

    async def broken(request: Request, _: Exception) -> Response:
        # The server logs the exception with its trace; the caller is told where to look.
        detail = "An unexpected error; the server's log has it under this request_id."
        request_id = request_id_of(request.scope)
        problem = OtherProblem(500, "The server made a mistake", detail, {HEADER: request_id})
        return _told(request, problem, problem.document(request_id))

    app.add_exception_handler(Problem, known)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, broken)


def _told(request: Request, problem: Problem, document: dict[str, Any]) -> Response:
    return Response(
        orjson.dumps(document),
        status_code=document["status"],
        headers=problem.headers,
        media_type=PROBLEM_JSON,
    )


def _report_end(task: asyncio.Task[None], watch: ModelWatch) -> None:
    """A watch that ends by itself is a mistake of ours; readiness shows it from then on."""
    if not task.cancelled() and task.exception() is not None:
        watch.unavailable = "Promotions are not followed any more: the watch ended. Restart."
        log.error("watch_ended", exc_info=task.exception())
