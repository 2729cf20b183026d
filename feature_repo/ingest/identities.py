"""The table of identities inside DuckDB: what an import makes of an address."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from feature_repo.ingest.cell_operations import CUSTOMER_OF
from feature_repo.ingest.webhook.customers import identities

_STAND_IN: Final = "'e:' || left(of_digest, 32)"


def create_identities(con: duckdb.DuckDBPyConnection, path: Path | None) -> None:
    """Make the macro that mappings with `email_id` call; `path` is the installation's table.

    Raises:
        StoreUnavailable: the table cannot be read; without it events would get other ids.
    """
    if path is None:
        con.execute(f"CREATE TEMP MACRO {CUSTOMER_OF}(of_digest) AS {_STAND_IN}")
        return
    known = identities(path)
    table = pa.table({"digest": list(known), "customer_id": list(known.values())})
    con.register("known_identities", table)
    # A copy: the Arrow table would have to outlive this call.
    con.execute("CREATE TEMP TABLE identities AS SELECT * FROM known_identities")
    con.unregister("known_identities")
    con.execute(
        f"CREATE TEMP MACRO {CUSTOMER_OF}(of_digest) AS coalesce("
        "(SELECT nullif(i.customer_id, '') FROM identities i WHERE i.digest = of_digest), "
        f"{_STAND_IN})"
    )
