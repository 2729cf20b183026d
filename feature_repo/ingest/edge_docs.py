"""The OpenAPI document of the delivery route, which is answered in front of the framework."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from feature_repo.ingest import problems
from feature_repo.ingest.edge import PATH

DESCRIPTION: Final = """\
Takes events from e-mail providers, shops and your own systems.

A 2xx means that the delivery is on disk; everything else follows from there. Errors are
problem documents (RFC 9457) with a `request_id`, which is also in the header `X-Request-Id`.
"""

_REFUSALS: Final = (
    problems.BadBody,
    problems.NotAuthentic,
    problems.MissingScope,
    problems.NoSuchProvider,
    problems.TooSlow,
    problems.TooLarge,
    problems.OddEncoding,
    problems.Unavailable,
)


def document_api(app: FastAPI, providers: Iterable[str]) -> None:
    """Let the application's document tell of the delivery route."""
    names = sorted(providers)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            document["paths"][PATH + "{provider}"] = {"post": _operation(names)}
            document.setdefault("components", {})["schemas"] = {"Problem": _PROBLEM}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _operation(providers: list[str]) -> dict[str, Any]:
    reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
    refused = {
        str(refusal.status): {
            "description": f"{refusal.title}.",
            "content": {problems.PROBLEM_JSON: reference},
        }
        for refusal in _REFUSALS
    }
    accepted = {"type": "object", "properties": {"accepted": {"const": True}}}
    taken = {
        "description": "The delivery is on disk.",
        "content": {"application/json": {"schema": accepted}},
    }
    return {
        "operationId": "ingest",
        "tags": ["events"],
        "summary": "Deliver events in the provider's own form",
        "description": "200 for providers, several of which insist on it; 202 for `canonical`.",
        "parameters": [
            {
                "name": "provider",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": providers},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        "responses": {"200": taken, "202": taken, **refused},
    }


_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
}
