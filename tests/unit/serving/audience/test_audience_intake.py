"""Bodies of a submit: JSON, CSV and Parquet, and what is wrong with them."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.audience import intake
from serving.audience.intake import CSV, PARQUET, form_of, read_file, read_json
from serving.errors import InvalidRequest, NotJson, NotJsonContent


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_json_names_target_customers_and_moment() -> None:
    found = read_json(
        b'{"target": "t", "customer_ids": ["a", "b"], "send_at": "2026-01-02T03:04:05Z"}'
    )

    assert found.target == "t"
    assert found.customers["customer_id"].to_pylist() == ["a", "b"]
    assert found.send_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [
        b'{"target": "t", "customer_ids": []}',
        b'{"target": "", "customer_ids": ["a"]}',
        b'{"target": "t", "customer_ids": [1]}',
        b'{"target": "t", "customer_ids": ["a"], "more": 1}',
        b'{"target": "t", "customer_ids": ["a"], "send_at": "soon"}',
        b'{"target": "t", "customer_ids": ["a"], "send_at": "1900-01-01T00:00:00Z"}',
        b"[]",
        b"null",
    ],
)
def test_json_that_is_not_as_it_should_be_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_json(body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"target": NaN}', b"[" * 5000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises((NotJson, InvalidRequest)):
        read_json(body)


def test_a_csv_keeps_ids_as_they_are_written() -> None:
    found = read_file(b"name,customer_id\nx,007\ny,1e5\n", CSV, "t", None)

    assert found.customers["customer_id"].to_pylist() == ["007", "1e5"]
    assert found.send_at is None


def test_a_parquet_of_numbers_becomes_texts() -> None:
    found = read_file(parquet(customer_id=[7, 8], other=["x", "y"]), PARQUET, "t", None)

    assert found.customers["customer_id"].to_pylist() == ["7", "8"]


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"", CSV),
        (b"id\n1\n", CSV),
        (b"customer_id\n", CSV),
        (b"customer_id\n\xff\n", CSV),
        (b"PAR1", PARQUET),
        (parquet(other=[1]), PARQUET),
        (parquet(customer_id=[[1]]), PARQUET),
    ],
)
def test_a_file_that_cannot_be_read_says_so(body: bytes, form: str) -> None:
    with pytest.raises(InvalidRequest):
        read_file(body, form, "t", None)


def test_a_file_needs_a_target_in_the_query() -> None:
    with pytest.raises(InvalidRequest, match="target"):
        read_file(b"customer_id\na\n", CSV, None, None)


def test_the_type_of_the_body_decides() -> None:
    assert form_of("text/csv; charset=utf-8") == CSV
    with pytest.raises(NotJsonContent, match="text/csv"):
        form_of("text/plain")
    with pytest.raises(NotJsonContent):
        form_of(None)


def test_a_small_file_of_one_long_id_many_times_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "MOST_BYTES", 1_000_000)
    body = parquet(customer_id=["x" * 1_000] * 2_000)
    assert len(body) < 10_000

    with pytest.raises(InvalidRequest, match="2,000,000 bytes"):
        read_file(body, PARQUET, "t", None)


def test_ids_that_are_no_utf8_are_refused_at_once() -> None:
    ends = pa.array([0, 2], pa.int32()).buffers()[1]
    bad = pa.Array.from_buffers(pa.string(), 1, [None, ends, pa.py_buffer(b"\xff\xfe")])
    sink = io.BytesIO()
    pq.write_table(pa.table({"customer_id": bad}), sink)

    with pytest.raises(InvalidRequest, match="UTF"):
        read_file(sink.getvalue(), PARQUET, "t", None)
