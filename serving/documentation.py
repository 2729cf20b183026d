"""The OpenAPI document's examples, and the scoring route, which FastAPI does not see.

It is answered in front of the framework (serving/http/route.py); contract tests hold it to this.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from serving.http.heads import DEADLINE, LONGEST_DEADLINE_MS, REQUEST_ID
from serving.schemas import ProblemDocument, ScoreRequest, ScoreResponse

PROBLEM_JSON: Final = "application/problem+json"
_REF: Final = "#/components/schemas/{model}"

DESCRIPTION: Final = """\
Scores each e-mail customer at the moment a message is about to be sent.

Errors are problem documents (RFC 9457) with a `request_id`, which is also in the header
`X-Request-Id` of every answer; send your own in that header and it is kept.
"""

SCORE_DESCRIPTION: Final = """\
One score per customer, in order. An unknown customer never fails the others: the answer says
`degraded` with its cause whenever it is less than a fresh score.
"""

_MODEL: Final = {
    "name": "purchase_30d",
    "version": "3",
    "run_id": "9f2c0c1e6b7d4a54a1f0a6f9e3c1b2d4",
    "loaded_at": "2026-11-23T06:00:11Z",
}

_POLICY: Final = {
    "model_version": "3",
    "approved_by": "Ann Smith",
    "approved_at": "2026-11-23T09:14:02Z",
    "is_current": True,
    "names": ["low", "medium", "high"],
    "cuts": [0.0312, 0.1044],
}

REQUEST_EXAMPLES: Final = {
    "one": {
        "summary": "One customer, now",
        "value": {"target": "purchase_30d", "customers": [{"customer_id": "c-1001"}]},
    },
    "several": {
        "summary": "Several customers at a planned time, with what is special about the message",
        "value": {
            "target": "purchase_30d",
            "send_at": "2026-11-24T08:30:00+01:00",
            "customers": [
                {"customer_id": "c-1001", "campaign_id": "winter-1", "message_id": "m-1"},
                {"customer_id": "c-1002", "utc_offset_minutes": -300},
            ],
        },
    },
    "reasons": {
        "summary": "With the two strongest reasons",
        "value": {
            "target": "purchase_30d",
            "customers": [{"customer_id": "c-1001"}],
            "reasons": 2,
        },
    },
}

ANSWER_EXAMPLES: Final = {
    "fresh": {
        "summary": "A full answer",
        "value": {
            "request_id": "4b2f1f0c8d5e4c3b9a7d6e5f4a3b2c1d",
            "target": "purchase_30d",
            "send_at": "2026-11-24T07:30:00Z",
            "model": _MODEL,
            "tier_policy": _POLICY,
            "scores": [
                {
                    "customer_id": "c-1001",
                    "score": 0.0731,
                    "tier": "medium",
                    "model_version": "3",
                    "canary": False,
                    "as_of": "2026-11-23T18:02:44Z",
                    "age_s": 48436.0,
                    "placement": {"p_inbox_28d": 0.97, "ghost": 0.04, "action": None},
                    "degraded": None,
                    "reasons": {
                        "base": 0.0412,
                        "top": [
                            {
                                "feature": "clicks_30d",
                                "value": 4.0,
                                "points": 0.0271,
                                "age_s": 3180.5,
                            },
                            {
                                "feature": "hours_since_last_open",
                                "value": 61.2,
                                "points": -0.0064,
                                "age_s": 3180.5,
                            },
                        ],
                        "other": 0.0112,
                        "method": "path",
                    },
                }
            ],
        },
    },
    "degraded": {
        "summary": "A customer nothing is known about",
        "value": {
            "request_id": "0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a",
            "target": "purchase_30d",
            "send_at": "2026-11-24T07:30:00Z",
            "model": _MODEL,
            "tier_policy": _POLICY,
            "scores": [
                {
                    "customer_id": "c-9999",
                    "score": 0.0412,
                    "tier": "medium",
                    "model_version": "3",
                    "canary": False,
                    "as_of": None,
                    "age_s": None,
                    "placement": None,
                    "degraded": {
                        "cause": "unknown_customer",
                        "score_is": "base_rate",
                        "detail": "The feature store holds nothing about this customer; the "
                        "score is the model's base rate.",
                    },
                    "reasons": None,
                }
            ],
        },
    },
}

_MODELS: Final[tuple[tuple[type[BaseModel], JsonSchemaMode], ...]] = (
    (ScoreRequest, "validation"),
    (ScoreResponse, "serialization"),
    (ProblemDocument, "serialization"),
)


def problem(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """One error answer of the document."""
    schema = {"$ref": _REF.format(model="ProblemDocument")}
    told = {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}
    return told if headers is None else {**told, "headers": headers}


_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds until to ask again.", "schema": {"type": "string"}}
}

SCORE_RESPONSES: Final[dict[str, dict[str, Any]]] = {
    "200": {
        "description": "One score per customer, in the order of the request.",
        "content": {
            "application/json": {
                "schema": {"$ref": _REF.format(model="ScoreResponse")},
                "examples": ANSWER_EXAMPLES,
            }
        },
    },
    "400": problem("The body is not JSON, or a header cannot be used."),
    "401": problem("No API key was sent, or it is not known."),
    "403": problem("The API key lacks the scope `score`."),
    "404": problem("No such target; the known ones are listed."),
    "413": problem("The body has too many bytes."),
    "415": problem("The body is not declared as application/json."),
    "422": problem("The body is not what the schema says; `errors` lists where."),
    "429": problem("The key asks too often, or the server has too much to do.", _RETRY_AFTER),
    "500": problem("The server made a mistake; its log has the request id."),
    "503": problem("No model of the target was ever loaded, or keys are damaged.", _RETRY_AFTER),
    "504": problem("The deadline passed before the answer was there."),
}

_SECURITY_SCHEMES: Final = {
    "HTTPBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer fsk_...`",
    },
    "APIKeyHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "`X-API-Key: fsk_...`",
    },
}

SCORE_OPERATION: Final[dict[str, Any]] = {
    "tags": ["scoring"],
    "summary": "Score customers for a target at the moment of a send",
    "description": SCORE_DESCRIPTION,
    "operationId": "score",
    "parameters": [
        {
            "name": DEADLINE,
            "in": "header",
            "required": False,
            "description": "Milliseconds for which the answer is of use: a request that cannot be "
            "answered by then is given up, with a 504.",
            "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_DEADLINE_MS},
        },
        {
            "name": REQUEST_ID,
            "in": "header",
            "required": False,
            "description": "Kept when it is 1 to 64 letters, digits or `_.:-`, else replaced.",
            "schema": {"type": "string"},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": _REF.format(model="ScoreRequest")},
                "examples": REQUEST_EXAMPLES,
            }
        },
    },
    "responses": SCORE_RESPONSES,
    "security": [{name: []} for name in _SECURITY_SCHEMES],
}


def document_api(app: FastAPI) -> None:
    """Make the application's OpenAPI document complete."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            schema["paths"] = {"/v1/score": {"post": SCORE_OPERATION}, **schema["paths"]}
            components = schema.setdefault("components", {})
            components.setdefault("securitySchemes", {}).update(_SECURITY_SCHEMES)
            schemas = components.setdefault("schemas", {})
            for model, mode in _MODELS:
                own = model.model_json_schema(ref_template=_REF, mode=mode)
                schemas.update(own.pop("$defs", {}))
                schemas[model.__name__] = own
            app.openapi_schema = schema
        return app.openapi_schema

    # FastAPI documents this very assignment as the way to extend the document.
    app.openapi = openapi  # type: ignore[method-assign]
