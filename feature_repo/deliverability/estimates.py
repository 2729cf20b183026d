"""The table of estimates: what was thought of each cell and day, and from which midnight on.

Delta, at `settings.deliverability_path / "estimates"`, written anew as a whole; what was published
once stays the same while log and readings are appended to.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake

from feature_repo.deliverability.estimate import Estimate, estimate
from feature_repo.deliverability.evidence import HORIZONS, evidence, readings_known
from feature_repo.deliverability.observed import Observed, observed
from feature_repo.deliverability.placement_view import write_placement
from feature_repo.history.log import Snapshot
from feature_repo.settings import Settings

ESTIMATES: Final = pa.schema(
    [
        ("sending_domain", pa.string()),
        ("mailbox_provider", pa.string()),
        # The UTC day the mail was sent.
        ("day", pa.date32()),
        # The UTC midnight from which the estimate was known: one, three and eight days later.
        ("published_day", pa.date32()),
        # Share of that mail in the inbox: posterior mean, and its central 90 %.
        ("p_inbox", pa.float64()),
        ("p_inbox_lo", pa.float64()),
        ("p_inbox_hi", pa.float64()),
        # More likely than not below 0.8. The mail of other cells counts as seen.
        ("is_impaired", pa.bool_()),
        # Trials that would tell as much.
        ("evidence", pa.float64()),
        # Share of the cell's mail that is seen by a person on good days.
        ("seen_rate", pa.float64()),
        # Seen, and fetched by Apple, over what was expected; null: nothing to compare with.
        ("seen_index", pa.float64()),
        ("canary_index", pa.float64()),
    ]
)

_DIGITS: Final = 6
"""Estimates are rounded, so that what follows from them is the same on every machine."""

_KEEP_HOURS: Final = 30 * 24
_FOLDER: Final = "estimates"


def update_estimates(
    settings: Settings,
    con: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    last_day: int,
    *,
    full: bool = False,
) -> pa.Table:
    """Bring the table up to the midnight `last_day` (days since the Unix epoch); returns it.

    `full` counts all evidence anew.

    The table of the `placement` view comes from the same evidence and is written with it.
    """
    evident = evidence(settings, con, snapshot, last_day, full=full)
    known = readings_known(settings, con, last_day)
    seen = observed(evident, known, last_day)
    table = as_table(seen, estimate(seen), last_day)
    write_placement(settings, seen, evident, known, table)
    held = read_estimates(settings)
    if not table.equals(held):
        path = str(settings.deliverability_path / _FOLDER)
        said = CommitProperties({"writer": "estimates", "through_day": str(last_day)})
        write_deltalake(path, table, mode="overwrite", commit_properties=said)
        DeltaTable(path).vacuum(
            retention_hours=_KEEP_HOURS, dry_run=False, enforce_retention_duration=False
        )
    return table


def read_estimates(settings: Settings) -> pa.Table:
    """The table, empty when there is none yet; ordered by cell, day and publication."""
    path = str(settings.deliverability_path / _FOLDER)
    if not DeltaTable.is_deltatable(path):
        return ESTIMATES.empty_table()
    keys = [(name, "ascending") for name in ESTIMATES.names[:4]]
    return pa.table(DeltaTable(path).to_pyarrow_table()).cast(ESTIMATES).sort_by(keys)


def as_table(seen: Observed, estimated: Estimate, last_day: int) -> pa.Table:
    """The rows of ESTIMATES that are published at the midnight `last_day`."""
    horizon, cell, column = (axis.ravel() for axis in np.indices(seen.mails.shape))
    day = seen.first_day + column
    published = day + np.array(HORIZONS)[horizon]
    order = np.lexsort((published, day, cell))
    order = order[published[order] <= last_day]
    domains, providers = zip(*seen.cells, strict=True) if seen.cells else ((), ())
    cells = pa.array(cell[order])

    def values(name: str) -> pa.Array:
        numbers = np.round(getattr(estimated, name).ravel()[order], _DIGITS)
        return pa.array(numbers, from_pandas=True)

    columns = {
        "sending_domain": pa.array(domains, pa.string()).take(cells),
        "mailbox_provider": pa.array(providers, pa.string()).take(cells),
        "day": pa.array(day[order].astype(np.int32)).cast(pa.date32()),
        "published_day": pa.array(published[order].astype(np.int32)).cast(pa.date32()),
        "p_inbox": values("p_inbox"),
        "p_inbox_lo": values("low"),
        "p_inbox_hi": values("high"),
        "is_impaired": pa.array(estimated.is_impaired.ravel()[order]),
        "evidence": values("trials"),
        "seen_rate": values("seen_rate"),
        "seen_index": values("seen_index"),
        "canary_index": values("canary_index"),
    }
    return pa.table(columns, schema=ESTIMATES)


def impaired(estimates: pa.Table, last_day: int) -> pa.Table:
    """What lowers the chance of a message, as known at the midnight `last_day`.

    Columns: sending_domain, mailbox_provider, day, published (both days since the Unix epoch),
    until (the midnight of the next publication, exclusive), p_inbox, seen_rate. What is not in it
    counts as seen.
    """
    table = estimates.append_column("published", pc.cast(estimates["published_day"], pa.int32()))
    table = table.set_column(2, "day", pc.cast(table["day"], pa.int32()))
    table = table.filter(pc.and_(table["is_impaired"], pc.less_equal(table["published"], last_day)))
    after = dict(pairwise(HORIZONS))
    horizons = pc.subtract(table["published"], table["day"]).to_pylist()
    days = table["day"].to_pylist()
    until = [d + after[h] if h in after else 2**30 for d, h in zip(days, horizons, strict=True)]
    names = ("sending_domain", "mailbox_provider", "day", "published", "p_inbox", "seen_rate")
    return table.select(names).append_column("until", pa.array(until, pa.int32()))


def digest(impairments: pa.Table) -> str:
    """Equal for equal impairments (as `impaired` gives them); empty when there is none."""
    if not impairments.num_rows:
        return ""
    return hashlib.sha256(repr(impairments.to_pydict()).encode()).hexdigest()[:16]
