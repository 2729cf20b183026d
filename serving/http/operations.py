"""The routes of those who run the server: probes, metrics, and MLflow's doorbell."""

from __future__ import annotations

import orjson
from fastapi import FastAPI, Request, Response

from serving.doorbell import Doorbell
from serving.health import Health
from serving.metrics import Metrics
from serving.schemas import Health as HealthDocument
from serving.schemas import Readiness


def add_operations(app: FastAPI, health: Health, metrics: Metrics) -> None:
    """The probes and the metrics."""

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


def add_doorbell(app: FastAPI, doorbell: Doorbell) -> None:
    """The door of MLflow's webhook."""

    # Not in the document: who calls it is MLflow, and it needs no key but its signature.
    @app.post("/v1/hooks/mlflow", include_in_schema=False)
    async def ring(request: Request) -> Response:
        doorbell.ring(request.headers, await request.body())
        return Response(status_code=204)
