"""What is read of headers."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from serving.errors import BadHeader
from serving.guard import _bearer, _header
from serving.http.heads import announced_bytes, deadline_s, head_of, request_id, secret

KEYS: list[list[tuple[bytes, bytes]]] = [
    [],
    [(b"authorization", b"Bearer fsk_a")],
    [(b"authorization", b"bearer   fsk_a ")],
    [(b"authorization", b"Bearer"), (b"x-api-key", b"fsk_b")],
    [(b"authorization", b"Basic dTpw"), (b"x-api-key", b"fsk_b")],
    [(b"authorization", b""), (b"x-api-key", b"fsk_b")],
    [(b"authorization", b"Bearer fsk_a"), (b"authorization", b"Bearer fsk_c")],
    [(b"x-api-key", "ü".encode())],
]


@pytest.mark.parametrize("headers", KEYS)
def test_a_key_is_found_where_the_framework_finds_it(
    headers: list[tuple[bytes, bytes]],
) -> None:
    async def theirs() -> str | None:
        request = Request({"type": "http", "headers": headers})
        bearer = await _bearer(request)
        return bearer.credentials if bearer is not None else await _header(request)

    assert secret(head_of(headers)) == asyncio.run(theirs())


@pytest.mark.parametrize(("value", "seconds"), [(b"1", 0.001), (b"250", 0.25), (b"60000", 60.0)])
def test_a_deadline_is_in_milliseconds(value: bytes, seconds: float) -> None:
    assert deadline_s({b"x-deadline-ms": value}) == seconds
    assert deadline_s({}) is None


@pytest.mark.parametrize("value", [b"", b"0", b"60001", b"-1", b"1.5", b"1s", b"9" * 5000, b"\xff"])
def test_a_deadline_that_cannot_be_one_is_refused_with_its_value(value: bytes) -> None:
    with pytest.raises(BadHeader, match=r"X-Deadline-Ms has value .* from 1 to 60000"):
        deadline_s({b"x-deadline-ms": value})


def test_a_length_of_many_digits_is_larger_than_any_limit() -> None:
    assert announced_bytes({b"content-length": b"9" * 5000}) > 1 << 60
    assert announced_bytes({b"content-length": b"a"}) == 0


def test_ids_are_kept_when_sane_and_else_all_different() -> None:
    made = {request_id({b"x-request-id": b"a b"}) for _ in range(1000)}

    assert request_id({b"x-request-id": b"job-7:1"}) == "job-7:1"
    assert len(made) == 1000
    assert {len(one) for one in made} == {32}
