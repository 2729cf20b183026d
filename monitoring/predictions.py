"""Reads a window from the prediction log, a day at a time, newest day first."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.errors import UnusableInput
from feature_repo.settings import Settings
from monitoring.errors import NoPredictions
from monitoring.windows import Values, Window
from serving.prediction_log import ANSWER, read_predictions

MOST_CUSTOMERS: Final = 200_000
"""Customers held in memory. Beyond, every second, fourth ... customer is kept: more rows would
only resolve changes far below any threshold."""

_NOT_FEATURES: Final = frozenset({*ANSWER, "feature_service"})


def read_window(
    settings: Settings,
    target: str,
    names: Sequence[str],
    *,
    days: int,
    end: datetime,
    champion: str,
    most_customers: int = MOST_CUSTOMERS,
) -> Window:
    """The newest prediction of each customer in `[end - days, end)`, with the named features.

    Raises:
        NoPredictions: the window holds none; the message says where there are some.
        UnusableInput: a file of the log cannot be read.
    """
    kept = _Kept(most_customers)
    for back in range(days + 1):
        # Days of the log are UTC days; a window that ends within one touches one more.
        first = _midnight(end) - timedelta(days=back)
        start = max(first, end - timedelta(days=days))
        stop = min(first + timedelta(days=1), end)
        if start < stop:
            kept.add(_read(settings, target, start, stop))
    if not kept.every_at:
        raise NoPredictions(_where_they_are(settings, target, days, end))
    return kept.window(names, days=days, end=end, champion=champion)


@dataclass
class _Kept:
    """Rows kept so far: the newest of each customer, as days come newest first."""

    most: int
    seen: set[str] = field(default_factory=set)
    days: list[pa.Table] = field(default_factory=list)
    every_at: list[npt.NDArray[np.float64]] = field(default_factory=list)
    one_in: int = 1

    def add(self, day: pa.Table) -> None:
        """Keep the last row of each customer that no later day had; rows are oldest first."""
        if not day.num_rows:
            return
        self.every_at.append(_epoch_s(day["scored_at"]))
        customers = day["customer_id"].to_pylist()
        rows = []
        for row in range(day.num_rows - 1, -1, -1):
            customer = customers[row]
            if customer not in self.seen and _hash(customer) % self.one_in == 0:
                self.seen.add(customer)
                rows.append(row)
        self.days.append(day.take(pa.array(rows, pa.int64())))
        while len(self.seen) > self.most:
            self._halve()

    def _halve(self) -> None:
        self.one_in *= 2
        self.seen = {c for c in self.seen if _hash(c) % self.one_in == 0}
        self.days = [
            day.filter(pa.array([c in self.seen for c in day["customer_id"].to_pylist()]))
            for day in self.days
        ]

    def window(self, names: Sequence[str], *, days: int, end: datetime, champion: str) -> Window:
        """The rows as a window."""
        rows = pa.concat_tables(self.days, promote_options="default")
        held = [name for name in names if name in rows.column_names]
        bare = np.ones(rows.num_rows, dtype=np.bool_)
        for name in rows.column_names:
            if name not in _NOT_FEATURES:
                bare &= _nulls(rows[name])
        answered = rows.filter(pa.array(~bare))
        versions = _objects(answered["model_version"])
        features = {name: _values(answered[name]) for name in held}
        absent = {
            name: mask
            for name in held
            if (mask := _absent(answered[name], versions, champion)).any()
        }
        return Window(
            days=days,
            end=end,
            every_at=np.concatenate(self.every_at),
            bare_at=_epoch_s(rows["scored_at"])[bare],
            scored_at=_epoch_s(answered["scored_at"]),
            model_version=versions,
            score=_values(answered["score"]),
            features=features,
            absent=absent,
            one_in=self.one_in,
        )


def _read(settings: Settings, target: str, start: datetime, end: datetime) -> pa.Table:
    try:
        return read_predictions(settings, target, start, end)
    except (pa.ArrowException, OSError) as exc:
        message = (
            f"The prediction log of {start:%Y-%m-%d} under {settings.predictions_path} cannot be "
            f"read: {exc}. Move the damaged file away, then run the report again."
        )
        raise UnusableInput(message) from exc


def _absent(column: pa.ChunkedArray, versions: Values, champion: str) -> npt.NDArray[np.bool_]:
    """Rows whose model version does not have the feature.

    A number that was seen and missing is NaN, one that was not seen is null. Texts have no NaN: a
    version has a text feature if any of its rows has a value, and the champion has all.
    """
    nulls = _nulls(column)
    if pa.types.is_string(column.type):
        for version in set(versions.tolist()):
            of_version = np.equal(versions, version).astype(np.bool_)
            if not nulls[of_version].all():
                nulls[of_version] = False
    nulls[np.equal(versions, champion).astype(np.bool_)] = False
    return nulls


def _nulls(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = pc.is_null(column).to_numpy()
    return mask.copy()


def _values(column: pa.ChunkedArray) -> Values:
    values: Values = column.to_numpy()
    return values


def _objects(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    return np.array(column.to_pylist(), dtype=object)


def _epoch_s(times: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    micros: npt.NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
    return micros / 1e6


def _midnight(moment: datetime) -> datetime:
    utc = moment.astimezone(UTC)
    return datetime(utc.year, utc.month, utc.day, tzinfo=UTC)


def _hash(customer: str) -> int:
    return zlib.crc32(customer.encode())


def _where_they_are(settings: Settings, target: str, days: int, end: datetime) -> str:
    window = f"{end - timedelta(days=days):%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    found: list[pa.ChunkedArray] = []
    for path in sorted(settings.predictions_path.glob("date=*/part-*.parquet")):
        try:
            rows = pq.read_table(path, columns=["target", "scored_at"], partitioning=None)
        except (pa.ArrowException, OSError):
            continue
        found += rows.filter(pc.equal(rows["target"], target))["scored_at"].chunks
    times = pa.chunked_array(found, pa.timestamp("us", tz="UTC"))
    if not len(times):
        return (
            f"No prediction of {target!r} from {window}, and none at all in "
            f"{settings.predictions_path}. Score customers with POST /v1/score first; the service "
            "writes its log every few seconds."
        )
    bounds = pc.min_max(times).as_py()
    return (
        f"No prediction of {target!r} from {window}. The log holds {len(times)} outside it, from "
        f"{bounds['min']:%Y-%m-%d %H:%M} to {bounds['max']:%Y-%m-%d %H:%M} UTC. Name another end "
        "with --as-of or a longer --window."
    )
