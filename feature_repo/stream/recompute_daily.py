"""Daily windows after a correction: the feature tables are built on, and the newest rows loaded.

The stream does not keep windows: they change at midnights. A correction changes midnights of the
past, and whoever it concerns shall not wait for the nightly build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa
import redis

from feature_repo import contract, online, point_in_time
from feature_repo.history import duck
from feature_repo.history.build import build
from feature_repo.history.feature_table import FeatureTable
from feature_repo.history.versions import BUCKETS
from feature_repo.online_codec import all_columns, feature_field, time_field
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from feature_repo.stream import score_streams
from feature_repo.stream.online_parts import parts
from feature_repo.stream.recompute_sets import taken

EVERY: Final = timedelta(seconds=15)
"""Corrections that come in quick succession share a build."""

_CHUNK: Final = 5_000
_FIELDS: Final = (
    time_field(contract.CUSTOMER_DAILY),
    *(
        feature_field(contract.CUSTOMER_DAILY, name)
        for name in contract.VIEWS[contract.CUSTOMER_DAILY]
    ),
)


def owe_daily(client: redis.Redis, project: str, customers: Iterable[str]) -> None:
    """Have the daily windows of these customers built and loaded anew."""
    for part in parts(customers, _CHUNK):
        client.sadd(_key(project), *part)


class DailyFeatures:
    """Brings the offline tables and online windows of corrected customers up to the log."""

    def __init__(
        self, settings: Settings, client: redis.Redis, clock: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._table = FeatureTable(
            contract.CUSTOMER_DAILY, settings.feature_path(contract.CUSTOMER_DAILY)
        )
        self._last: datetime | None = None

    def bring(self) -> int:
        """Build and load for whoever waits for it; the number of customers.

        Raises:
            StoreUnavailable: Redis does not answer, the disk is full, or a build or load of
                somebody else is running. The customers come again.
        """
        now = self._clock()
        if self._last is not None and now < self._last + EVERY:
            return 0
        with online.answers(), taken(self._client, _key(self._settings.project)) as customers:
            # Who never built has no windows to correct; the first build has it all.
            state = self._table.state()
            if not customers or state is None:
                return 0
            self._last = now
            held = datetime.fromisoformat(state.absorbed.through)
            # A build never goes back in time: that would be one from the beginning.
            build(self._settings, through=max(now, held))
            self._load(customers, now)
            score_streams.note_changed(self._client, self._settings.project, customers, now)
            return len(customers)

    def _load(self, customers: Sequence[str], now: datetime) -> None:
        """Write the newest windows known at `now`; of who has none any more, take them away."""
        with only_one(self._settings, "load"):
            rows = self._rows(customers, now)
            layout = all_columns(self._settings.project)
            online.OnlineWriter(self._client, layout).write(contract.CUSTOMER_DAILY, rows)
            gone = {*customers}.difference(rows.column(contract.ENTITY).to_pylist())
            for part in parts(sorted(gone), _CHUNK):
                with self._client.pipeline(transaction=False) as pipe:
                    for key in layout.keys(part):
                        pipe.hdel(key, *_FIELDS)  # type: ignore[arg-type] # bytes as they are
                    pipe.execute()

    def _rows(self, customers: Sequence[str], now: datetime) -> pa.Table:
        with duck.connect(self._settings) as con:
            con.register("concerned", pa.table({"id": pa.array(customers, type=pa.string())}))
            found = con.execute("SELECT DISTINCT md5(id)[1] FROM concerned").fetchall()
            buckets = [bucket for (bucket,) in found]
            files = self._table.files(None if len(buckets) == len(BUCKETS) else buckets)
            if not files:
                return self._table.schema.empty_table()
            names = ", ".join(map(point_in_time.quoted, self._table.schema.names))
            newest: pa.Table = con.sql(
                f"SELECT {names} FROM {point_in_time.parquet(files)} "
                f"WHERE {contract.ENTITY} IN (FROM concerned) "
                f"AND {contract.EVENT_TIMESTAMP} <= $now "
                f"QUALIFY row_number() OVER (PARTITION BY {contract.ENTITY} ORDER BY "
                f"{contract.EVENT_TIMESTAMP} DESC, {contract.CREATED_TIMESTAMP} DESC) = 1",
                params={"now": now},
            ).to_arrow_table()
            return newest


def _key(project: str) -> str:
    return f"foresend:{project}:daily_owed"
