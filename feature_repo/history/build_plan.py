"""What a build has to do to each table: nothing, what is new, or all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import duckdb
from deltalake import DeltaTable
from ibis.expr.types import Table

from feature_repo import activity, contract, event, naming
from feature_repo.history import scope
from feature_repo.history.daily_table import DAY_US
from feature_repo.history.feature_table import Absorbed, FeatureTable, TableState
from feature_repo.history.log import Snapshot
from feature_repo.settings import Settings

TABLES_VERSION: Final = 3
"""Raised when the same log gives other rows than before, beside `activity.KERNEL_VERSION`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one table comes from what it has absorbed to `goal`."""

    table: FeatureTable
    #: What the table holds, None when nothing of it can stay.
    held: TableState | None
    goal: Absorbed

    @property
    def is_behind(self) -> bool:
        """Whether there is anything to do."""
        return self.held is None or self.held.absorbed != self.goal

    @property
    def since_position(self) -> int | None:
        """Log rows after this position are new to the table; None: all of them are."""
        return None if self.held is None else self.held.absorbed.position

    @property
    def through_us(self) -> int:
        """`through` in microseconds since the Unix epoch."""
        return _micros(self.goal.through)

    @property
    def last_day(self) -> int:
        """The last midnight, in days since the Unix epoch."""
        return self.through_us // DAY_US

    def scope(self, rows: Table, impaired: Table) -> Table:
        """The customers to look at again, see `history/scope.py`."""
        if self.table.view == contract.CUSTOMER_PLACEMENT:
            return self._unseen(rows, impaired)
        if self.held is None:
            return scope.all_customers(rows)
        changed = scope.changed(rows, self.held.absorbed.position)
        if self.table.view != contract.CUSTOMER_DAILY:
            return changed
        after_day = _micros(self.held.absorbed.through) // DAY_US
        return scope.union(changed, scope.passing(rows, after_day, self.last_day))

    def _unseen(self, rows: Table, impaired: Table) -> Table:
        mail = scope.impaired_mail(rows, impaired)
        if self.held is None:
            return scope.all_customers(mail)
        changed = scope.changed(rows, self.held.absorbed.position)
        after_day = _micros(self.held.absorbed.through) // DAY_US
        passing = scope.placement_passing(rows, mail, after_day, self.last_day)
        return scope.union(changed, passing).semi_join(mail, "customer_id")


def plan_build(
    tables: Sequence[FeatureTable],
    settings: Settings,
    snapshot: Snapshot,
    through: datetime,
    impaired_at: Callable[[int], str],
    *,
    full: bool,
) -> list[Plan]:
    """A plan for each table. `impaired_at` is the digest of what is impaired as of a midnight."""
    goal = Absorbed(
        position=snapshot.last_position,
        through=through.astimezone(UTC).isoformat(),
        declaration=declaration(settings),
    )
    plans = []
    for table in tables:
        mine, held = goal, table.state()
        if table.view == contract.CUSTOMER_PLACEMENT:
            mine = replace(goal, impairments=impaired_at(_micros(goal.through) // DAY_US))
            # What was published is part of the past: when it changed, so did every row.
            if held and held.absorbed.impairments != impaired_at(
                _micros(held.absorbed.through) // DAY_US
            ):
                held = None
        plans.append(Plan(table, None if full else _usable(held, mine), mine))
    return plans


def declaration(settings: Settings) -> str:
    """Hash of everything but the log's rows that decides what a table holds.

    The version of DuckDB is part of it because content digests use its hash function.
    """
    log = DeltaTable(str(settings.log_path)).metadata().id
    said = (
        *(sorted(contract.VIEWS.items())),
        *(naming.MEASURES, naming.TOTALS, naming.ENGAGEMENT, naming.LAST_AT),
        *(naming.HALF_LIVES_DAYS, naming.WINDOWS_DAYS, naming.BLOCKS),
        *(naming.BLOCK_HALF_LIFE_DAYS, event.HUMAN_MACHINES, event.MICROS),
        *(activity.KERNEL_VERSION, TABLES_VERSION, duckdb.__version__, log),
    )
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _usable(held: TableState | None, goal: Absorbed) -> TableState | None:
    if held is None or held.absorbed.declaration != goal.declaration:
        return None
    went_back = held.absorbed.position > goal.position or datetime.fromisoformat(
        held.absorbed.through
    ) > datetime.fromisoformat(goal.through)
    return None if went_back else held


def _micros(iso: str) -> int:
    return activity.micros_since_epoch(datetime.fromisoformat(iso))
