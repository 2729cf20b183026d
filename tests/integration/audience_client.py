"""Whoever submits segments to a server and waits for their scores."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.api_keys import KeyFile, Scope, keys_path
from feature_repo.settings import Settings
from tests.integration.shelved_api import CUSTOMERS, name, serving
from tests.integration.test_serving_process import TARGET, Api, until

PARQUET: Final = "application/vnd.apache.parquet"
CSV: Final = "text/csv"

Job = dict[str, Any]


def parquet(ids: Sequence[str | None]) -> bytes:
    """A file of customers."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"customer_id": pa.array(ids, pa.string())}), sink)
    return sink.getvalue()


def long_segment(rows: int) -> bytes:
    """So many rows of few customers, over and over."""
    return parquet([name(i % CUSTOMERS) for i in range(rows)])


def keys_of(home: Path) -> dict[str, str]:
    """A key for scoring and one for something else, by scope."""
    keys = KeyFile(keys_path(Settings(home=home)))
    return {
        scope.value: keys.add(scope.value, [scope], clock=lambda: datetime.now(UTC))[1]
        for scope in (Scope.SCORE, Scope.INGEST)
    }


@dataclass(frozen=True)
class Client:
    """One caller of one server."""

    api: Api
    key: str

    def post(self, content: bytes, kind: str, **query: str) -> httpx.Response:
        return httpx.post(
            f"{self.api.url}/v1/audience",
            params={"target": TARGET, **query},
            content=content,
            headers={**self._signed, "Content-Type": kind},
            timeout=60,
        )

    def post_json(self, **body: object) -> httpx.Response:
        return self.post(json.dumps(body).encode(), "application/json")

    def submit(self, content: bytes, kind: str = PARQUET, **query: str) -> str:
        """The id of a job that was taken."""
        answer = self.post(content, kind, **query)
        assert answer.status_code == 202, answer.text
        job: Job = answer.json()
        assert answer.headers["location"] == f"/v1/audience/{job['id']}"
        return str(job["id"])

    def get(self, path: str = "", **headers: str) -> httpx.Response:
        url = f"{self.api.url}/v1/audience{path}"
        return httpx.get(url, headers={**self._signed, **headers}, timeout=60)

    def delete(self, job_id: str) -> httpx.Response:
        url = f"{self.api.url}/v1/audience/{job_id}"
        return httpx.delete(url, headers=self._signed, timeout=60)

    def job(self, job_id: str) -> Job:
        answer = self.get(f"/{job_id}")
        assert answer.status_code == 200, answer.text
        job: Job = answer.json()
        return job

    def until(self, job_id: str, *states: str) -> Job:
        until(lambda: self.job(job_id)["state"] in states, f"the job is {' or '.join(states)}")
        return self.job(job_id)

    def until_begun(self, job_id: str) -> None:
        until(lambda: self.job(job_id)["scored"] > 0, "some of it is scored")

    def rows(self, job_id: str) -> list[dict[str, Any]]:
        """The answers of a job, once it is done."""
        self.until(job_id, "done", "failed")
        answer = self.get(f"/{job_id}/result")
        assert answer.status_code == 200, (answer.text, self.job(job_id))
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(answer.content)).to_pylist()
        return rows

    def score(self, ids: Sequence[str], send_at: str | None = None) -> list[dict[str, Any]]:
        """The same customers by `POST /v1/score`."""
        asked = {"target": TARGET, "customers": [{"customer_id": one} for one in ids]}
        body = asked if send_at is None else {**asked, "send_at": send_at}
        url = f"{self.api.url}/v1/score"
        answer = httpx.post(url, json=body, headers=self._signed, timeout=60)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["scores"]
        return rows

    @property
    def _signed(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def open_client(
    home: Path, redis_url: str, key: str, *options: str, **more: str
) -> Iterator[Client]:
    """A server that wants keys, and who has one."""
    with serving(home, redis_url, *options, insecure=False, **more) as api:
        yield Client(api, key)


def runners(api: Api) -> list[psutil.Process]:
    """The processes that work jobs off, of this server."""
    found = []
    for child in psutil.Process(api.process.pid).children(recursive=True):
        # One may end while it is looked at.
        with suppress(psutil.Error):
            if "serving.audience.runner" in child.cmdline():
                found.append(child)
    return found
