"""Segments scored as jobs by a running server, as the caller of `POST /v1/audience` sees it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.audience_client import CSV, PARQUET, Client, keys_of, open_client, parquet
from tests.integration.shelved_api import CUSTOMERS, KNOWN, fill, name, scores
from tests.integration.test_serving_process import TARGET, until

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

JSON = "application/json"
SMALL = {"FORESEND_SERVING_AUDIENCE_MAX_BYTES": "200000", "FORESEND_SERVING_AUDIENCE_JOBS": "3"}
SEND_AT = "2026-05-03T09:30:00+02:00"


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    return keys_of(tmp_path / "home")


@pytest.fixture
def client(tmp_path: Path, redis_url: str, keys: dict[str, str]) -> Iterator[Client]:
    fill(redis_url)
    with open_client(tmp_path / "home", redis_url, keys["score"], **SMALL) as client:
        yield client


def test_a_segment_is_scored_as_its_customers_are_one_by_one(client: Client) -> None:
    ids = [name(n) for n in range(0, CUSTOMERS, 3)] + ["nobody", name(1), name(1), "çelik"]
    body = json.dumps({"target": TARGET, "customer_ids": ids, "send_at": SEND_AT}).encode()

    submitted = {
        "json": client.submit(body, f"{JSON}; charset=utf-8"),
        "csv": client.submit("\n".join(["customer_id", *ids]).encode(), CSV, send_at=SEND_AT),
    }
    jobs = {form: client.rows(job) for form, job in submitted.items()}
    jobs["parquet"] = client.rows(client.submit(parquet(ids), PARQUET, send_at=SEND_AT))

    single = client.score(ids, SEND_AT)
    assert jobs["json"] == jobs["csv"] == jobs["parquet"]
    for row, one in zip(jobs["json"], single, strict=True):
        placement = one["placement"] or {"p_inbox_28d": None, "ghost": None, "action": None}
        as_of = row.pop("as_of")
        assert row == {
            "customer_id": one["customer_id"],
            "score": one["score"],
            "tier": one["tier"],
            "model_version": one["model_version"],
            "age_s": one["age_s"],
            "degraded": one["degraded"] and one["degraded"]["cause"],
            **placement,
            "problem": None,
        }
        assert (as_of and as_of.isoformat().replace("+00:00", "Z")) == one["as_of"]
    done = client.job(submitted["json"])
    assert (done["state"], done["scored"], done["attempts"]) == ("done", len(ids), 1)
    assert done["degraded"] == {"unknown_customer": 2}
    assert sum(done["tiers"].values()) == len(ids)
    assert done["submitted_by"] == "score"


def test_a_send_before_the_features_were_known_is_declared_as_in_single_answers(
    client: Client,
) -> None:
    before = KNOWN.replace(month=4).isoformat()

    rows = client.rows(client.submit(parquet([name(5), "nobody"]), send_at=before))

    single = client.score([name(5), "nobody"], before)
    causes = [one["degraded"]["cause"] for one in single]
    assert (
        [row["degraded"] for row in rows]
        == causes
        == [
            "features_after_send_at",
            "unknown_customer",
        ]
    )


def test_bad_ids_are_rows_and_the_others_are_scored(client: Client) -> None:
    ids = [name(1), "", None, "x" * 257, name(2), "x" * 256]

    job = client.submit(parquet(ids))
    rows = client.rows(job)

    assert [row["customer_id"] for row in rows] == ids
    assert [row["problem"] is None for row in rows] == [True, False, False, False, True, True]
    assert [row["score"] for row in rows if row["degraded"] is None and row["score"]] == scores(
        [1, 2]
    )
    assert client.job(job)["unusable"] == 3
    text = client.get(f"/{job}/result", accept=CSV)
    assert text.headers["content-type"].startswith(CSV)
    said = list(csv.DictReader(io.StringIO(text.text)))
    assert [row["customer_id"] for row in said] == [one or "" for one in ids]
    assert float(said[0]["score"]) == rows[0]["score"]


def csv_of(*lines: str) -> bytes:
    return "\n".join(lines).encode()


BAD = [
    # What is sent, as what, the query, and how it is refused.
    (b"", JSON, {}, 400),
    (b"[1]", JSON, {}, 422),
    (b"{", JSON, {}, 400),
    (b"[" * 100_000, JSON, {}, 422),
    (b'{"a":' * 30_000, JSON, {}, 422),
    (b'{"target": "%s", "customer_ids": []}' % TARGET.encode(), JSON, {}, 422),
    (b'{"target": "%s", "customer_ids": [7]}' % TARGET.encode(), JSON, {}, 422),
    (b'{"target": "%s", "customer_ids": ["a"], "x": 1}' % TARGET.encode(), JSON, {}, 422),
    (b'{"target": "nothing_7d", "customer_ids": ["a"]}', JSON, {}, 404),
    (b'{"target": "%s", "customer_ids": ["\\ud800"]}' % TARGET.encode(), JSON, {}, 400),
    (b"\xff\xfe", JSON, {}, 400),
    (b"", CSV, {}, 422),
    (csv_of("customer_id"), CSV, {}, 422),
    (csv_of("id", "a"), CSV, {}, 422),
    (csv_of("customer_id,x", "a,1", "b"), CSV, {}, 422),
    (b"customer_id\n\xff\xfe\n", CSV, {}, 422),
    (csv_of("customer_id", "a"), CSV, {"target": ""}, 422),
    (csv_of("customer_id", "a"), CSV, {"target": "nothing_7d"}, 404),
    (csv_of("customer_id", "a"), CSV, {"send_at": "tomorrow"}, 422),
    (csv_of("customer_id", "a"), CSV, {"send_at": "2026-05-01T00:00:00"}, 422),
    (b"PAR1", PARQUET, {}, 422),
    (b"PAR1" + b"\x00" * 400 + b"PAR1", PARQUET, {}, 422),
    (parquet(["a"] * 100)[:-9], PARQUET, {}, 422),
    (parquet(["a"] * 5_000).replace(b"customer_id", b"consumer_id"), PARQUET, {}, 422),
    (csv_of("customer_id", "a"), PARQUET, {}, 422),
    (parquet([]), PARQUET, {}, 422),
    (csv_of("customer_id", "a"), "text/plain", {}, 415),
    (csv_of("customer_id", "a"), "", {}, 415),
    (b" " * 300_000, JSON, {}, 413),
    (b" " * 300_000, CSV, {}, 413),
]


def test_bad_uploads_are_refused_and_leave_nothing_behind(client: Client) -> None:
    failures = []
    for content, kind, query, status in BAD:
        answer = client.post(content, kind, **query)
        if answer.status_code != status or answer.json()["status"] != status:
            failures.append((content[:60], kind, query, answer.status_code, answer.text[:300]))

    assert failures == [], "\n".join(map(str, failures))
    assert client.get().json() == []
    assert not any((client.api.home / "audience").glob("*"))
    # Damaged inside: whichever byte is turned, the answer is a job or a refusal.
    whole = parquet([name(i) for i in range(300)])
    for place in range(0, len(whole), 97):
        turned = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        answer = client.post(turned, PARQUET)
        assert answer.status_code in {202, 422}, (place, answer.text)
        if answer.status_code == 202:
            client.delete(answer.json()["id"])
    assert client.score([name(1)])[0]["degraded"] is None


def test_a_body_in_pieces_is_bounded_as_well(client: Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b" " * 10_000 for _ in range(40))

    answer = httpx.post(
        f"{client.api.url}/v1/audience",
        content=pieces(),
        headers={"Authorization": f"Bearer {client.key}", "Content-Type": JSON},
    )

    assert answer.status_code == 413


def test_more_rows_than_one_job_may_have_are_refused_before_they_are_unpacked(
    client: Client,
) -> None:
    sink, some = io.BytesIO(), pa.table({"customer_id": ["x" * 200] * 1_000_000})
    with pq.ParquetWriter(sink, some.schema, write_statistics=False) as writer:
        for _ in range(21):
            writer.write_table(some, row_group_size=1_000_000)
    server = psutil.Process(client.api.process.pid)
    before = server.memory_info().rss

    answer = client.post(sink.getvalue(), PARQUET)

    assert answer.status_code == 422, answer.text
    assert "21,000,000" in answer.json()["detail"]
    # Unpacked they are four gigabytes.
    assert server.memory_info().rss < before + (200 << 20)


def test_columns_of_other_types_are_taken_as_texts(client: Client) -> None:
    tables = [
        pa.table({"customer_id": pa.array([1, 2])}),
        pa.table({"customer_id": pa.array(["1", "2"]).dictionary_encode(), "more": [[1], [2]]}),
        pa.table({"customer_id": pa.array(["1", "2"], pa.large_string())}),
        pa.table({"customer_id": pa.array([b"1", b"2"])}),
    ]
    for table in tables:
        sink = io.BytesIO()
        pq.write_table(table, sink)
        rows = client.rows(client.submit(sink.getvalue()))
        assert [row["customer_id"] for row in rows] == ["1", "2"]


def test_only_keys_that_may_score_may_submit_see_or_cancel(
    client: Client, keys: dict[str, str]
) -> None:
    job = client.submit(parquet([name(1)]))
    client.rows(job)
    for key, status in ((keys["ingest"], 403), ("fsk_unknown", 401)):
        other = Client(client.api, key)
        asked = [
            other.post(parquet([name(1)]), PARQUET),
            other.get(),
            other.get(f"/{job}"),
            other.get(f"/{job}/result"),
            other.delete(job),
        ]
        assert [answer.status_code for answer in asked] == [status] * 5
    assert client.job(job)["state"] == "done"


def test_ids_of_jobs_are_no_paths(client: Client) -> None:
    secret = client.api.home / "audience"
    for job in ("..", "%2e%2e", "..%2fstate", "a" * 32, "A" * 32, "x", "\u00e9" * 32, "0" * 33):
        for path in (f"/{job}", f"/{job}/result"):
            assert client.get(path).status_code in {404, 405}, path
        assert client.delete(job).status_code in {404, 405}, job
    assert secret.parent.exists()


def test_a_job_that_has_ended_is_deleted_with_its_result(client: Client) -> None:
    job = client.submit(parquet([name(1)]))
    client.rows(job)

    assert client.delete(job).status_code == 200

    assert client.get(f"/{job}").status_code == 404
    assert client.get(f"/{job}/result").status_code == 404
    until(lambda: not (client.api.home / "audience" / job).exists(), "its folder is gone")
    assert client.api.stop() == 0
