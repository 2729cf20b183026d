"""Take out of the online store what the feature tables no longer have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import duckdb
import pyarrow as pa
import redis

from feature_repo.contract import STREAMED_VIEWS
from feature_repo.online_codec import STREAM_FIELD, Layout, feature_field, time_field

_CHUNK: Final = 5_000


def written(view: str) -> str:
    """Temporary table with the customers (`customer_id`) that a view has rows of."""
    return f"written_{view}"


def sweep(con: duckdb.DuckDBPyConnection, client: redis.Redis, layout: Layout) -> int:
    """Delete the rows of customers that are not in the `written` table of a view.

    Who has a state of the stream loses daily windows only: the rest is the stream's. A hash of
    which nothing else remains disappears with its rows. Returns the number of customers
    that lost a row. The keyspace is scanned once, other projects' keys are left alone.
    """
    fields = {
        view: [time_field(view), *(feature_field(view, name) for name in names)]
        for view, names in layout.views.items()
    }
    touched = 0
    keys = client.scan_iter(glob_prefix(layout.key_prefix) + b"*", count=1_000)
    for chunk in _chunks(iter(keys)):
        held = {customer: key for key in chunk if (customer := layout.customer_of(key)) is not None}
        absent = {view: _not_written(con, view, [*held]) for view in layout.views}
        streamed = _streamed(client, held, absent)
        asked = [
            (view, customer)
            for view, gone in absent.items()
            for customer in gone
            if view not in STREAMED_VIEWS or customer not in streamed
        ]
        with client.pipeline(transaction=False) as pipe:
            for view, customer in asked:
                # redis-py's types want text where it sends bytes as they are.
                pipe.hdel(held[customer], *fields[view])  # type: ignore[arg-type]
            removed = pipe.execute()
        touched += len({c for (_, c), count in zip(asked, removed, strict=True) if count})
    return touched


def _streamed(
    client: redis.Redis, held: Mapping[str, bytes], absent: Mapping[str, list[str]]
) -> set[str]:
    """Those that would lose a row of the stream's views, but have a state of the stream."""
    asked = sorted({customer for view in STREAMED_VIEWS for customer in absent.get(view, ())})
    with client.pipeline(transaction=False) as pipe:
        for customer in asked:
            pipe.hexists(held[customer], STREAM_FIELD)  # type: ignore[arg-type] # bytes as they are
        return {c for c, has in zip(asked, pipe.execute(), strict=True) if has}


def glob_prefix(prefix: bytes) -> bytes:
    """The prefix as a SCAN pattern that matches only itself."""
    special = b"*?[]^\\"
    return b"".join(b"\\" * (byte in special) + bytes([byte]) for byte in prefix)


def _chunks(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(keys, _CHUNK)):
        yield chunk


def _not_written(con: duckdb.DuckDBPyConnection, view: str, customers: list[str]) -> list[str]:
    con.register("held_online", pa.table({"customer_id": pa.array(customers, type=pa.string())}))
    rows = con.execute(
        f"SELECT customer_id FROM held_online ANTI JOIN {written(view)} USING (customer_id)"
    ).fetchall()
    return [customer for (customer,) in rows]
