"""What goes wrong on any route of the framework, as problem documents (RFC 9457)."""

from __future__ import annotations

from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from serving.documentation import PROBLEM_JSON
from serving.edge import request_id_of
from serving.errors import OtherProblem, Problem
from serving.http.heads import REQUEST_ID, SECURITY


def add_problems(app: FastAPI) -> None:
    """Answer each error with the document that fits it."""

    async def known(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, Problem)
        return _told(exc, exc.document(request_id_of(request.scope)))

    async def refused(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        detail = f"{request.method} {request.url.path} is not something this API answers."
        problem = OtherProblem(exc.status_code, exc.detail, detail, exc.headers or {})
        return _told(problem, problem.document(request_id_of(request.scope)))

    app.add_exception_handler(Problem, known)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, broken)


async def broken(request: Request, _: Exception) -> Response:
    """The answer to what nobody foresaw."""
    request_id = request_id_of(request.scope)
    # The server logs the exception with its trace after this, in the same context; the caller
    # is told where to look.
    structlog.contextvars.bind_contextvars(request_id=request_id)
    detail = "An unexpected error; the server's log has it under this request_id."
    # This answer is given outside of all that adds headers.
    headers = {name.decode(): value.decode() for name, value in SECURITY}
    problem = OtherProblem(
        500, "The server made a mistake", detail, {REQUEST_ID: request_id, **headers}
    )
    return _told(problem, problem.document(request_id))


def _told(problem: Problem, document: dict[str, Any]) -> Response:
    return Response(
        orjson.dumps(document),
        status_code=document["status"],
        headers=problem.headers,
        media_type=PROBLEM_JSON,
    )
