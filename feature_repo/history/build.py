"""Build the feature tables from the event log: all of it, or what changed since the last build.

A table is brought from the log position it has absorbed to the newest one in one Delta commit that
also carries the new position. Killed before the commit, a build has done nothing to that table;
killed after it, the next build finds the position there and goes on with the other tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import duckdb
import pyarrow as pa
from ibis.expr.types import Table

from feature_repo import activity, contract
from feature_repo.deliverability.estimates import digest, impaired, update_estimates
from feature_repo.deliverability.mail import make_mail
from feature_repo.errors import NotReady
from feature_repo.history import scope
from feature_repo.history.build_plan import Plan, plan_build
from feature_repo.history.daily_table import DAY_US
from feature_repo.history.duck import backend, connect
from feature_repo.history.feature_table import FeatureTable
from feature_repo.history.log import EventLog, Snapshot
from feature_repo.history.table_update import update
from feature_repo.history.versions import versions
from feature_repo.settings import Settings
from feature_repo.sole import only_one, write_whole

Progress = Callable[[str, float], None]
"""Told the step a build is at and the share of that step that is done, 0.0 to 1.0."""

STATE_FILE: Final = "build.json"
"""Under `settings.state_path`: the result of the last complete build, for people and tools. The
truth is in the tables' commits."""


@dataclass(frozen=True, slots=True)
class TableResult:
    """A feature table after a build."""

    rows: int
    #: Sixteen hexadecimal digits, equal for equal rows whatever their order and files.
    digest: str
    #: Delta version.
    version: int


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build left."""

    tables: dict[str, TableResult]
    #: Customers that were looked at again.
    customers_touched: int
    #: Greatest log_pos whose row is in the features.
    watermark: int
    #: ISO time up to which rows exist that only the passing of time brings about.
    through: str


def build(
    settings: Settings,
    *,
    full: bool = False,
    through: datetime,
    estimates: pa.Table | None = None,
    wait_s: float = 0.0,
    progress: Progress = lambda step, share: None,
) -> BuildResult:
    """Bring every feature table up to the newest log row and, for windows, up to `through`.

    Incremental and full builds end in equal rows. A table is built anew when `full`, when its
    declaration changed, when the log is another one, or when `through` went back. `estimates` of
    placement are taken as given, where this log holds too little to estimate from. Waits up
    to `wait_s` for a build that is running.

    Raises:
        NotReady: the log is empty.
        StoreUnavailable: another build of this installation is running.
    """
    with only_one(settings, "build", wait_s=wait_s):
        snapshot = EventLog(settings.log_path).snapshot()
        if snapshot.last_position < 0:
            message = (
                f"The event log {settings.log_path} is empty. "
                "Import events first: `foresend import FILE`."
            )
            raise NotReady(message)
        tables = [FeatureTable(view, settings.feature_path(view)) for view in contract.VIEWS]
        with connect(settings) as con:
            progress("estimates", 0.0)
            last_day = activity.micros_since_epoch(through) // DAY_US
            if estimates is None:
                estimates = update_estimates(settings, con, snapshot, last_day, full=full)
            progress("estimates", 1.0)

            def impaired_at(day: int) -> str:
                return digest(impaired(estimates, day))

            plans = plan_build(tables, settings, snapshot, through, impaired_at, full=full)
            con.register("impaired", impaired(estimates, last_day))
            touched = _run(con, snapshot, plans, progress)
        result = BuildResult(
            {table.view: _table_result(table) for table in tables},
            touched,
            snapshot.last_position,
            through.astimezone(UTC).isoformat(),
        )
        write_whole(settings.state_path / STATE_FILE, json.dumps(asdict(result), indent=2))
    return result


def _run(
    con: duckdb.DuckDBPyConnection, snapshot: Snapshot, plans: list[Plan], progress: Progress
) -> int:
    """Update the tables that are behind; returns the number of customers looked at."""
    behind = [plan for plan in plans if plan.is_behind]
    if not behind:
        return 0
    progress("versions", 0.0)
    rows = snapshot.rows(con)
    ibis_con = backend(con)
    scopes = {plan.table.view: plan.scope(rows, ibis_con.table("impaired")) for plan in behind}
    for view, customers in scopes.items():
        ibis_con.create_table(f"scope_{view}", customers, temp=True)
    looked_at = scope.union(*(ibis_con.table(f"scope_{view}") for view in scopes))
    ibis_con.create_table("scope", looked_at, temp=True)
    _make_versions(con, rows, [p for p in behind if p.table.view != contract.CUSTOMER_PLACEMENT])
    if contract.CUSTOMER_PLACEMENT in scopes:
        mine = ibis_con.table(f"scope_{contract.CUSTOMER_PLACEMENT}")
        if mine.count().execute():
            make_mail(con, rows, mine)
    progress("versions", 1.0)
    for plan in behind:
        update(con, plan, partial(progress, plan.table.view))
    return int(ibis_con.table("scope").count().execute())


def _make_versions(con: duckdb.DuckDBPyConnection, rows: Table, plans: list[Plan]) -> None:
    """The temporary table `versions`, of the customers that any of the plans looks at."""
    if not plans:
        return
    ibis_con = backend(con)
    customers = None
    if all(plan.since_position is not None for plan in plans):
        customers = scope.union(*(ibis_con.table(f"scope_{p.table.view}") for p in plans))
    # By bucket, so that reading one bucket skips the blocks of all others.
    ibis_con.create_table("versions", versions(rows, customers).order_by("bucket"), temp=True)


def _table_result(table: FeatureTable) -> TableResult:
    state, version = table.state(), table.version()
    if state is None or version is None:
        message = f"The feature table {table.path} has no build of ours; run a build with --full."
        raise NotReady(message)
    return TableResult(state.content.rows, f"{state.content.digest:016x}", version)
