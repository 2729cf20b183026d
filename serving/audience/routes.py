"""`/v1/audience`: submit a segment, follow the job, fetch its answers, cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from feature_repo.errors import StoreUnavailable
from serving.audience.desk import Desk
from serving.audience.intake import CSV, FORMS, JSON, PARQUET, Intake, form_of, read_file, read_json
from serving.audience.jobs import Job, JobStore, State, TooManyJobs
from serving.documentation import PROBLEM_JSON
from serving.errors import Problem, UnknownTarget
from serving.guard import Guard
from serving.schemas import ProblemDocument

PATH: Final = "/v1/audience"
_CHUNK: Final = 50_000


class NoSuchJob(Problem):
    """There is no job of that id, or it was deleted."""

    status, kind, title = 404, "no-such-job", "No such job"


class NotDone(Problem):
    """The job has no answers (yet)."""

    status, kind, title = 409, "job-not-done", "The job has no result"


class QueueIsLong(Problem):
    """As many jobs wait as are allowed to."""

    status, kind, title = 429, "too-many-jobs", "Too many jobs wait"


class NotKept(Problem):
    """The disk does not take the job."""

    status, kind, title = 503, "job-not-kept", "The job cannot be kept"


class AudienceJob(BaseModel):
    """A job, as it is now."""

    id: str
    target: str
    send_at: str | None = Field(description="Null: the moment the job began.")
    submitted_by: str = Field(description="Name of the API key.")
    submitted_at: str
    state: State
    started_at: str | None
    finished_at: str | None
    customers: int
    scored: int
    attempts: int = Field(description="Runners that began it; more than one after a crash.")
    model_version: str | None
    tiers: dict[str, int]
    degraded: dict[str, int] = Field(description="Customers by cause of a degraded score.")
    unusable: int = Field(description="Rows whose id cannot be one; `problem` says so.")
    problem: str | None


_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": text,
        "content": {PROBLEM_JSON: {"schema": ProblemDocument.model_json_schema()}},
    }
    for status, text in {
        400: "The body is not JSON.",
        401: "No valid API key.",
        403: "The key may not do this.",
        404: "No such job or target.",
        409: "The job has no result.",
        413: "The body is too large.",
        415: "The body is of another type.",
        422: "The body is not valid.",
        429: "Too many jobs or requests.",
        503: "Keys or disk are not available.",
    }.items()
}

_BODY: Final = {
    "requestBody": {
        "required": True,
        "description": "The customers: JSON, or a file with a column `customer_id`, for which "
        "`target` and `send_at` are in the query.",
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["target", "customer_ids"],
                    "additionalProperties": False,
                    "properties": {
                        "target": {"type": "string", "minLength": 1, "maxLength": 64},
                        "customer_ids": {
                            "type": "array",
                            "items": {"type": "string"},
                            "minItems": 1,
                        },
                        "send_at": {"type": ["string", "null"], "format": "date-time"},
                    },
                }
            },
            CSV: {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def audience_router(desk: Desk, guard: Guard) -> APIRouter:
    """The routes; `guard` lets in who may score."""
    router = APIRouter(prefix=PATH, tags=["audience"], responses=_PROBLEMS)
    _add_submit(router, desk, guard)
    _add_jobs(router, desk.jobs, guard)
    _add_result(router, desk.jobs, guard)
    return router


def _add_submit(router: APIRouter, desk: Desk, guard: Guard) -> None:
    # As a default: FastAPI cannot look a local name up in an annotation.
    let_in: Any = Depends(guard)

    @router.post(
        "",
        status_code=202,
        operation_id="submit_audience",
        openapi_extra=_BODY,
        summary="Score a whole segment as a job",
        response_model=AudienceJob,
    )
    async def submit(
        request: Request,
        response: Response,
        holder: str = let_in,
        target: str | None = None,
        send_at: str | None = None,
    ) -> Any:
        """The job; `Location` is where to follow it."""
        form = form_of(request.headers.get("content-type"))
        try:
            with desk.intake():
                body = await request.body()
                intake = await asyncio.to_thread(_read, form, body, target, send_at)
                _check_target(intake.target, desk.targets)
                job = await asyncio.to_thread(_submit, desk.jobs, intake, holder)
        except TooManyJobs as exc:
            raise QueueIsLong(str(exc), headers={"Retry-After": "60"}) from exc
        except StoreUnavailable as exc:
            raise NotKept(str(exc), headers={"Retry-After": "60"}) from exc
        await asyncio.to_thread(desk.look)
        response.headers["Location"] = f"{PATH}/{job.id}"
        return msgspec.to_builtins(job)


def _add_jobs(router: APIRouter, jobs: JobStore, guard: Guard) -> None:
    allowed = [Depends(guard)]

    @router.get(
        "",
        operation_id="list_audiences",
        summary="All jobs, the newest first",
        dependencies=allowed,
        response_model=list[AudienceJob],
    )
    async def listed() -> Any:
        """Jobs are kept for some days after their end."""
        return msgspec.to_builtins(await asyncio.to_thread(jobs.all))

    @router.get(
        "/{job_id}",
        operation_id="get_audience",
        summary="How far a job is",
        dependencies=allowed,
        response_model=AudienceJob,
    )
    async def told(job_id: str) -> Any:
        """`scored` of `customers`."""
        return msgspec.to_builtins(_known(jobs, job_id))

    @router.delete(
        "/{job_id}",
        operation_id="cancel_audience",
        summary="Cancel a job; delete one that has ended",
        dependencies=allowed,
        response_model=AudienceJob,
    )
    async def cancelled(job_id: str) -> Any:
        """The job as it was or is; one that runs ends within a moment."""
        job = _known(jobs, job_id)
        return msgspec.to_builtins(await asyncio.to_thread(jobs.cancel, job_id) or job)


def _add_result(router: APIRouter, jobs: JobStore, guard: Guard) -> None:
    @router.get(
        "/{job_id}/result",
        operation_id="get_audience_result",
        summary="The answers of a job",
        dependencies=[Depends(guard)],
        response_class=Response,
        responses={200: {"content": {form: {"schema": {"type": "string"}} for form in FORMS[1:]}}},
    )
    async def result(job_id: str, request: Request) -> Response:
        """Parquet, or CSV with `Accept: text/csv`; one row per customer, in order."""
        job = _known(jobs, job_id)
        path = jobs.result(job)
        if job.state is not State.DONE or not path.exists():
            message = f"Job {job_id} is {job.state.value}; its result is there once it is done."
            raise NotDone(message)
        if CSV in request.headers.get("accept", ""):
            return StreamingResponse(_csv_rows(path), media_type=CSV)
        return FileResponse(path, media_type=PARQUET, filename=f"audience-{job_id}.parquet")


def _check_target(target: str, known: Sequence[str]) -> None:
    if target not in known:
        names = ", ".join(sorted(known))
        message = f"No target is called {target!r}. Known targets: {names}."
        raise UnknownTarget(message)


def _submit(jobs: JobStore, intake: Intake, by: str) -> Job:
    return jobs.submit(intake.target, intake.customers, send_at=intake.send_at, by=by)


def _known(jobs: JobStore, job_id: str) -> Job:
    job = jobs.get(job_id)
    if job is None:
        message = f"There is no job {job_id[:64]!r}. GET {PATH} lists those there are."
        raise NoSuchJob(message)
    return job


def _read(form: str, body: bytes, target: str | None, send_at: str | None) -> Intake:
    return read_json(body) if form == JSON else read_file(body, form, target, send_at)


def _csv_rows(path: Path) -> Iterator[bytes]:
    with pq.ParquetFile(path) as file:
        is_first = True
        for batch in file.iter_batches(batch_size=_CHUNK):
            sink = pa.BufferOutputStream()
            options = pyarrow.csv.WriteOptions(include_header=is_first)
            pyarrow.csv.write_csv(batch, sink, options)
            is_first = False
            yield sink.getvalue().to_pybytes()
