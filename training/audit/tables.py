"""Reading feature tables as of many times, with none of the offline store's own code.

Per row the newest feature row of its customer with both times at or before it. Written a second
time on purpose: an audit that shares the code it audits shares its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo import contract
from training.audit.evidence import Ints
from training.dataset import Columns

Files = Mapping[str, Sequence[str]]
"""Parquet files of each stored view."""


def ask(con: duckdb.DuckDBPyConnection, customer: npt.NDArray[Any], at_us: Ints) -> None:
    """Make the table `asked` (position, customer_id, at_us), which the others read."""
    rows = pa.table(
        {
            "position": pa.array(np.arange(len(at_us)), pa.int64()),
            "customer_id": pa.array(customer.tolist(), pa.string()),
            "at_us": pa.array(at_us, pa.int64()),
        }
    )
    con.register("asked_arrow", rows)
    con.execute("CREATE OR REPLACE TEMP TABLE asked AS SELECT * FROM asked_arrow")
    con.unregister("asked_arrow")


def choose(con: duckdb.DuckDBPyConnection, view: str, files: Sequence[str]) -> None:
    """Make `used` (position, event_us, created_us, careless_us): the feature row of each row.

    careless_us is the event_timestamp of the row that would be used if created_timestamp were not
    looked at. Also makes the view `stored`, the table with its times in microseconds.
    """
    con.execute(f"CREATE OR REPLACE TEMP VIEW stored AS {_stored(view, files)}")
    con.execute(_USED_SQL)


def values(con: duckdb.DuckDBPyConnection, view: str, names: Iterable[str]) -> Columns:
    """The named columns of the chosen rows, one value per row of `asked`, missing where none."""
    wanted = [name for name in contract.VIEWS[view] if name in set(names)]
    if not wanted:
        return {}
    chosen = ", ".join(f'any_value("{name}") AS "{name}"' for name in wanted)
    rows = con.sql(_VALUES_SQL.format(chosen=chosen)).to_arrow_table()
    return {name: _array(name, rows.column(name)) for name in wanted}


def _array(name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
    if name in contract.TEXT_FEATURES:
        return np.array(column.to_pylist(), dtype=object)
    found = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(found, dtype=np.float64)


def _stored(view: str, files: Sequence[str]) -> str:
    columns = ", ".join(f'"{name}"' for name in contract.VIEWS[view])
    times = (
        f"epoch_us({contract.EVENT_TIMESTAMP}) AS event_us, "
        f"epoch_us({contract.CREATED_TIMESTAMP}) AS created_us"
    )
    if not files:
        empty = ", ".join(f'NULL AS "{name}"' for name in contract.VIEWS[view])
        return (
            "SELECT NULL::VARCHAR AS customer_id, NULL::BIGINT AS event_us, "
            f"NULL::BIGINT AS created_us, {empty} WHERE false"
        )
    names = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return (
        f"SELECT {contract.ENTITY} AS customer_id, {times}, {columns} "
        f"FROM read_parquet([{names}], union_by_name=true, hive_partitioning=false)"
    )


_USED_SQL: Final = """
CREATE OR REPLACE TEMP TABLE used AS
  SELECT position, any_value(at_us) AS at_us,
         max((event_us, created_us)) FILTER (created_us <= at_us) AS newest,
         max(event_us) AS careless_us
  FROM asked JOIN (SELECT customer_id, event_us, created_us FROM stored) AS stored
    USING (customer_id)
  WHERE event_us <= at_us
  GROUP BY position;
CREATE OR REPLACE TEMP TABLE used AS
  SELECT position, at_us, newest[1] AS event_us, newest[2] AS created_us, careless_us FROM used
"""

_VALUES_SQL: Final = """
SELECT asked.position, {chosen}
FROM asked LEFT JOIN used USING (position) LEFT JOIN stored
  ON stored.customer_id = asked.customer_id AND stored.event_us = used.event_us
     AND stored.created_us = used.created_us
GROUP BY asked.position ORDER BY asked.position
"""
