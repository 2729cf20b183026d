"""Two readers of a body, the quick one and that of the document, mean the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.asks import Ask, AskedCustomer
from serving.errors import Problem
from serving.http import asked
from serving.parsing import parse_score_request
from serving.reasons import MOST
from serving.schemas import MOST_REASONS

TEXTS = st.text(max_size=300) | st.sampled_from(["", "a" * 256, "a" * 257, "é" * 256, "\x00"])
ODD = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-2000, 2000)
    | st.sampled_from([1080, -1080, 1081, 0, 20, 21, 10**30, 1.0])
    | TEXTS
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.none(), max_size=2)
)
MOMENTS = st.sampled_from(
    [
        "2026-11-24T08:30:00Z",
        "2026-11-24 08:30+01:00",
        "2026-11-24T08:30:00.123456789-0530",
        "2026-11-24t08:30:00z",
        "2026-02-30T08:30:00Z",
        "1999-12-31T23:59:59Z",
        "2099-12-31T23:59:59-00:01",
        "2026-11-24T08:30:00",
        "2026-11-24T08:30:00Z\n",
        "0001-01-01T00:00:00+23:59",
    ]
)


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual, and now and then something else."""
    return st.one_of(usual, usual, usual, ODD)


CUSTOMERS = st.fixed_dictionaries(
    {"customer_id": mostly(st.text(min_size=1, max_size=20))},
    optional={
        "utc_offset_minutes": mostly(st.integers(-1080, 1080)),
        "campaign_id": mostly(TEXTS),
        "message_id": mostly(TEXTS),
    },
)
BODIES = st.fixed_dictionaries(
    {
        "target": mostly(st.text(min_size=1, max_size=64)),
        "customers": mostly(st.lists(mostly(CUSTOMERS), min_size=1, max_size=3)),
    },
    optional={"send_at": mostly(MOMENTS), "reasons": mostly(st.integers(0, 20)), "more": ODD},
)


def by_the_document(body: bytes) -> Ask | str:
    """What the models of the document read, or how they refuse."""
    try:
        read = parse_score_request(body)
    except Problem as exc:
        return f"{exc.status} {exc.detail}"
    return Ask(
        target=read.target,
        customers=[AskedCustomer(**one.model_dump()) for one in read.customers],
        send_at=None if read.send_at is None else read.send_at.timestamp(),
        reasons=read.reasons,
    )


def as_served(body: bytes) -> Ask | str:
    try:
        return plain(asked.read_ask(body))
    except Problem as exc:
        return f"{exc.status} {exc.detail}"


def quickly(body: bytes) -> Ask | None:
    """What the quick reader reads without help, None when it gives up."""
    try:
        read = asked._DECODER.decode(body)
        send_at = None if read.send_at is None else asked._epoch_s(read.send_at)
    except ValueError:
        return None
    return plain(
        Ask(target=read.target, customers=read.customers, send_at=send_at, reasons=read.reasons)
    )


def plain(ask: Ask) -> Ask:
    """With customers of one class, so that they can be compared."""
    customers = [
        AskedCustomer(c.customer_id, c.utc_offset_minutes, c.campaign_id, c.message_id)
        for c in ask.customers
    ]
    return Ask(target=ask.target, customers=customers, send_at=ask.send_at, reasons=ask.reasons)


@given(BODIES)
def test_a_body_means_the_same_to_both(body: dict[str, Any]) -> None:
    written = json.dumps(body).encode()
    told = by_the_document(written)

    assert as_served(written) == told
    # The quick reader needs no help with what is valid, and takes nothing that is not.
    assert quickly(written) == (None if isinstance(told, str) else told)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,truefalsn0123.eE+-\\ud8', max_size=60))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"target":' * 50_000)
@example(b'{"target": NaN, "customers": []}')
@example(b'{"target": 1e999999, "customers": []}')
@example(b'{"target": ' + b"9" * 100_000 + b"}")
@example('{"target": "t", "customers": [{"customer_id": "a"}]}'.encode("utf-16"))
def test_bytes_mean_the_same_to_both(body: bytes | str) -> None:
    written = body if isinstance(body, bytes) else body.encode()

    assert as_served(written) == by_the_document(written)


CUSTOMER = '{"customer_id": "a", %s}'
ODDITIES = [
    # The last of two is meant, whatever the first was.
    '"campaign_id": "a", "campaign_id": "b"',
    '"campaign_id": 7, "campaign_id": "b"',
    '"campaign_id": "b", "campaign_id": 7',
    # Integers only, and no other spelling of them.
    '"utc_offset_minutes": 60.0',
    '"utc_offset_minutes": 6e1',
    '"utc_offset_minutes": -0',
    '"utc_offset_minutes": 060',
    '"utc_offset_minutes": true',
    '"utc_offset_minutes": NaN',
    '"utc_offset_minutes": Infinity',
    '"utc_offset_minutes": 18446744073709551616',
    # Escapes, and halves of characters.
    '"campaign_\\u0069d": "a"',
    '"campaign_id": "\\ud83d\\ude00"',
    '"campaign_id": "\\ud83d"',
    '"campaign_id": "\\ude00\\ud83d"',
    '"campaign_id": "\\u0000"',
    '"campaign_id": "\t"',
    '"campaign_id": "\x7f"',
    '"campaign_id": "' + "😀" * 256 + '"',
    '"campaign_id": "' + "😀" * 257 + '"',
    '"campaign_id": "a",',
    '"Campaign_id": "a"',
]


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_spelling_means_the_same_to_both(oddity: str) -> None:
    written = f'{{"target": "t", "customers": [{CUSTOMER % oddity}]}}'.encode()

    assert as_served(written) == by_the_document(written)
    assert quickly(written) in (by_the_document(written), None)


def test_a_thousand_customers_are_read_and_one_more_is_not() -> None:
    def body(customers: int) -> bytes:
        rows = [{"customer_id": "a"}] * customers
        return json.dumps({"target": "t", "customers": rows}).encode()

    read = quickly(body(1000))

    assert read is not None
    assert len(read.customers) == 1000
    assert quickly(body(1001)) is None


def test_the_document_promises_as_many_reasons_as_are_given() -> None:
    assert MOST_REASONS == MOST
