"""`/v1/audience` over fakes: who may, what is answered, what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.api_keys import Scope
from serving.audience.desk import Desk
from serving.audience.engine import SCHEMA
from serving.audience.jobs import State, TooManyJobs
from tests.unit.serving.conftest import NOW, TARGET, Client, NoRunner, World

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with world.client() as started:
        yield started


def body(*customers: str, **more: object) -> str:
    return json.dumps({"target": TARGET, "customer_ids": customers, **more})


def submit(client: Client, *customers: str) -> str:
    answer = client.post("/v1/audience", content=body(*customers), headers=JSON)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finish(world: World, job_id: str) -> None:
    job = world.jobs.get(job_id)
    assert job is not None
    rows = [dict.fromkeys(SCHEMA.names) | {"customer_id": "ann", "score": 0.25}]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), world.jobs.result(job))
    world.jobs.ended(job, State.DONE)


def test_a_submit_is_answered_with_where_to_follow_it(client: Client) -> None:
    answer = client.post("/v1/audience", content=body("ann", "bob"), headers=JSON)

    told = client.get(answer.headers["Location"]).json()
    assert (told["state"], told["customers"], told["scored"]) == ("queued", 2, 0)
    assert told["submitted_by"] == "local"
    assert [job["id"] for job in client.get("/v1/audience").json()] == [told["id"]]


def test_a_file_brings_its_target_in_the_query(client: Client, world: World) -> None:
    answer = client.post(
        f"/v1/audience?target={TARGET}&send_at=2026-11-25T08:00:00Z",
        content="customer_id\nann\n007\n",
        headers={"Content-Type": "text/csv"},
    )

    job = world.jobs.get(answer.json()["id"])
    assert job is not None
    assert list(world.jobs.customers(job, 10)) == [["ann", "007"]]
    assert job.send_at == "2026-11-25T08:00:00+00:00"


@pytest.mark.parametrize(
    ("content", "kind", "query", "status"),
    [
        ("{", "application/json", "", 400),
        ("{}", "application/json", "", 422),
        (body("ann"), "text/plain", "", 415),
        (json.dumps({"target": "nope", "customer_ids": ["a"]}), "application/json", "", 404),
        ("customer_id\nann\n", "text/csv", "", 422),
        ("id\nann\n", "text/csv", f"?target={TARGET}", 422),
        ("PAR1", "application/vnd.apache.parquet", f"?target={TARGET}", 422),
        ("customer_id\nann\n", "text/csv", f"?target={TARGET}&send_at=soon", 422),
    ],
)
def test_what_cannot_be_used_is_a_problem_and_leaves_nothing(
    client: Client, world: World, content: str, kind: str, query: str, status: int
) -> None:
    answer = client.post(f"/v1/audience{query}", content=content, headers={"Content-Type": kind})

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert world.jobs.all() == []


def test_more_jobs_than_may_wait_are_asked_to_come_back(client: Client) -> None:
    for _ in range(3):
        submit(client, "ann")

    answer = client.post("/v1/audience", content=body("ann"), headers=JSON)

    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert "3 jobs wait or run" in answer.json()["detail"]


def test_a_disk_that_takes_nothing_is_a_503(client: Client, world: World) -> None:
    (world.folder / "audience").write_text("no folder")

    answer = client.post("/v1/audience", content=body("ann"), headers=JSON)

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:foresend:problem:job-not-kept"


def test_the_result_comes_as_parquet_or_as_csv(client: Client, world: World) -> None:
    job_id = submit(client, "ann")
    assert client.get(f"/v1/audience/{job_id}/result").status_code == 409
    finish(world, job_id)

    parquet = client.get(f"/v1/audience/{job_id}/result")
    csv = client.get(f"/v1/audience/{job_id}/result", headers={"Accept": "text/csv"})

    assert pq.read_table(io.BytesIO(parquet.content))["score"].to_pylist() == [0.25]
    assert csv.text.splitlines()[0].startswith('"customer_id","score"')
    assert csv.text.splitlines()[1].startswith('"ann",0.25')


def test_a_job_is_cancelled_and_then_deleted(client: Client) -> None:
    job_id = submit(client, "ann")

    assert client.send("DELETE", f"/v1/audience/{job_id}").json()["state"] == "cancelled"
    assert client.send("DELETE", f"/v1/audience/{job_id}").status_code == 200
    assert client.get(f"/v1/audience/{job_id}").status_code == 404
    assert client.send("DELETE", f"/v1/audience/{job_id}").status_code == 404


def test_only_keys_that_may_score_come_in(world: World) -> None:
    world.with_keys = True
    _, may = world.keys.add("may", [Scope.SCORE], clock=lambda: NOW)
    _, may_not = world.keys.add("not", [Scope.INGEST], clock=lambda: NOW)
    with world.client() as client:
        statuses = [
            client.get("/v1/audience", headers={"Authorization": f"Bearer {key}"}).status_code
            for key in (may, may_not, "fsk_wrong")
        ]
        by = client.post(
            "/v1/audience",
            content=body("ann"),
            headers={**JSON, "Authorization": f"Bearer {may}"},
        ).json()["submitted_by"]

    assert statuses == [200, 403, 401]
    assert by == "may"


def test_a_segment_may_be_larger_than_a_request_for_scores(client: Client, world: World) -> None:
    many = [f"customer-{number:07d}" for number in range(80_000)]
    assert len(body(*many)) > world.settings.max_body_bytes

    assert submit(client, *many)


def test_more_segments_at_once_than_memory_is_for_are_asked_to_come_back(world: World) -> None:
    desk = Desk(world.jobs, [TARGET])
    with desk.intake(), desk.intake(), pytest.raises(TooManyJobs), desk.intake():
        pass
    with desk.intake():
        pass


def test_the_desk_forgets_old_jobs_by_itself(world: World) -> None:
    seconds = [0.0]
    desk = Desk(world.jobs, [TARGET], spawn=NoRunner, monotonic=lambda: seconds[0])
    job = world.jobs.submit(TARGET, pa.table({"customer_id": ["ann"]}), send_at=None, by="crm")
    world.jobs.ended(job, State.DONE)
    desk.look()
    world.clock.now += timedelta(days=8)
    desk.look()
    assert world.jobs.get(job.id) is not None
    seconds[0] = 3601.0

    desk.look()

    assert world.jobs.get(job.id) is None
