"""A simulated programme whose mail stops reaching the inboxes of one provider, installed to train.

Two installations share one log: one with placement estimates, and a naive one that was told
nothing of placement and estimates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
from deltalake import DeltaTable

from feature_repo import contract
from feature_repo.history import duck
from feature_repo.history.build import build
from feature_repo.history.log import EventLog
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.targets import Target, target_from
from infra.bench.ghost_readings import import_readings
from infra.simulator.history import write_history
from infra.simulator.options import Collapse, Options
from training.dataset import Dataset
from training.reading import to_us
from training.retrieval import Decided, decide, with_features
from training.spine import SpineCounts

LAST_MAILS: Final = 5
"""Mails by which a customer truly is a ghost: most of them were put into spam."""

CLICKS: Final = {"event": "clicked", "horizon_days": 7, "spine": "sent"}
"""The target of the benchmark."""


@dataclass(frozen=True, slots=True)
class Programme:
    """A simulated programme in a folder. The last of its collapses is the one that is looked at."""

    options: Options
    folder: Path

    @property
    def collapse(self) -> Collapse:
        """The collapse at whose end customers are looked at."""
        return self.options.collapses[-1]

    @property
    def before(self) -> datetime:
        """Midnight at which it begins."""
        return self.options.start + timedelta(days=self.collapse.first_day)

    @property
    def after(self) -> datetime:
        """Midnight at which it is over."""
        return self.before + timedelta(days=self.collapse.days)


def click_target() -> Target:
    """Clicks of a message within a week."""
    return target_from("click_7d", CLICKS)


def simulate(folder: Path, options: Options) -> Programme:
    """Write the programme's events, truth and readings."""
    rmtree(folder, ignore_errors=True)
    write_history(options, folder)
    return Programme(options, folder)


def truly_ghosts(programme: Programme) -> dict[str, bool]:
    """Of everybody who got LAST_MAILS before the end of the collapse: was most of them in spam?"""
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        path = programme.folder / "truth.parquet"
        return dict(con.execute(_GHOSTS_SQL, [str(path), programme.after, LAST_MAILS]).fetchall())


_GHOSTS_SQL: Final = """
WITH newest AS (
  SELECT customer_id, placement
  FROM read_parquet($1) WHERE type = 'sent' AND event_time < $2
  QUALIFY row_number() OVER (PARTITION BY customer_id ORDER BY event_time DESC) <= $3
)
SELECT customer_id, 2 * count_if(placement = 'spam') > count(*)
FROM newest GROUP BY customer_id HAVING count(*) = $3
"""


def inboxed(programme: Programme, dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Which decisions are about a mail that truly reached the inbox."""
    with duckdb.connect(":memory:") as con:
        con.execute("SET TimeZone = 'UTC'")
        rows = con.execute(
            "SELECT customer_id, epoch_us(event_time) FROM read_parquet(?) "
            "WHERE type = 'sent' AND placement = 'inbox'",
            [str(programme.folder / "truth.parquet")],
        ).fetchall()
    truly = set(rows)
    keys = zip(dataset.customer.tolist(), dataset.at_us.tolist(), strict=True)
    return np.fromiter((key in truly for key in keys), dtype=np.bool_, count=len(dataset))


def install(programme: Programme, home: Path, *, seeds: bool) -> Settings:
    """The programme's log, what was measured of its placement, the estimates and the features."""
    rmtree(home, ignore_errors=True)
    settings = Settings(home=home)
    with duck.connect(settings) as con:
        rows = con.read_parquet(str(programme.folder / "events.parquet"))
        EventLog(settings.log_path).append(con, rows)
    end = programme.options.end
    import_readings(programme.folder, settings, seeds=seeds)
    build(settings, through=end)
    return settings


def told_nothing(settings: Settings, home: Path) -> Settings:
    """The same installation without estimates: every mail counts as inboxed."""
    rmtree(home, ignore_errors=True)
    copytree(settings.home, home)
    naive = Settings(home=home)
    rmtree(naive.deliverability_path, ignore_errors=True)
    (naive.state_path / "registry.db").unlink(missing_ok=True)
    DeltaTable(str(naive.feature_path(contract.CUSTOMER_PLACEMENT))).delete()
    return naive


def decisions(settings: Settings, as_of: datetime | None) -> Dataset:
    """The training rows as known at a time, or by all that is known."""
    return with_features(open_store(settings), decide(settings, click_target(), as_of))


def state_at(settings: Settings, customers: npt.NDArray[np.object_], at: datetime) -> Dataset:
    """What a request at `at` would read of these customers; labels mean nothing."""
    rows = len(customers)
    asked = Decided(
        target=click_target(),
        as_of=at,
        grace=timedelta(0),
        counts=SpineCounts(decisions=rows, immature=0),
        snapshot=EventLog(settings.log_path).snapshot(),
        label=np.zeros(rows, dtype=np.int8),
        at_us=np.full(rows, to_us(at)),
        customer=customers,
        weight=np.ones(rows),
        unseen=0,
    )
    return with_features(open_store(settings), asked)


def described(options: Options) -> dict[str, Any]:
    """What tells programmes apart."""
    collapses = [f"{c.provider}:{c.first_day}:{c.days}" for c in options.collapses]
    return {"customers": options.customers, "days": options.days, "collapses": collapses}
