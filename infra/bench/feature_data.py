"""Feature tables of made-up customers, in the form the build leaves them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from deltalake import write_deltalake

from feature_repo import contract
from feature_repo.history.feature_table import PARTITION, feature_schema
from feature_repo.settings import Settings

_COUNTRIES: Final = np.array(["GB", "DE", "Österreich", None], dtype=object)
_SPAN: Final = timedelta(days=400)


def write_feature_tables(
    settings: Settings,
    *,
    customers: int,
    versions: int,
    until: datetime,
    seed: int = 0,
    first: int = 0,
) -> None:
    """Append to each view's table `versions` rows per customer, known up to `until`.

    Customers are numbered from `first`.
    """
    rng = np.random.default_rng(seed)
    names = [*map(customer_id, range(first, first + customers))]
    buckets = pa.array([hashlib.md5(name.encode()).hexdigest()[0] for name in names] * versions)
    for view in contract.VIEWS:
        table = view_rows(rng, view, names, versions=versions, until=until)
        table = table.append_column(PARTITION, buckets)
        path = settings.feature_path(view)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(str(path), table, mode="append", partition_by=[PARTITION])


def view_rows(
    rng: np.random.Generator, view: str, names: list[str], *, versions: int, until: datetime
) -> pa.Table:
    """Rows of one view: every customer at `versions` times, a fifth of the values missing."""
    rows = len(names) * versions
    ages = rng.integers(0, int(_SPAN.total_seconds() * 1e6), rows)
    times = int(until.timestamp() * 1e6) - ages
    known = pa.array(times, type=pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    schema = feature_schema(view)
    columns = [pa.array(names * versions), known, known]
    for name in schema.names[3:]:
        columns.append(_values(rng, name, rows, until.timestamp()))
    return pa.table(columns, schema=schema)


def customer_id(number: int) -> str:
    """The name of a made-up customer."""
    return f"customer-{number:07d}"


def _values(rng: np.random.Generator, name: str, rows: int, now: float) -> pa.Array:
    missing = rng.random(rows) < 0.2
    if name in contract.TEXT_FEATURES:
        return pa.array(rng.choice(_COUNTRIES, rows), type=pa.string(), mask=missing)
    return pa.array(_numbers(rng, name, rows, now), mask=missing)


def _numbers(rng: np.random.Generator, name: str, rows: int, now: float) -> npt.NDArray[np.float64]:
    """Numbers of the size the feature has: times, logarithms, offsets or counts."""
    if name.endswith("_at"):
        return now - rng.random(rows) * 3e7
    if "_log2_" in name:
        return now / 86_400 / float(name.rsplit("_d", 1)[1]) + rng.normal(size=rows)
    if name == "utc_offset_minutes":
        return rng.integers(-720, 841, rows).astype(np.float64)
    return rng.integers(0, 1_000, rows).astype(np.float64)
