"""Rows of the `placement` view: a cell as of every midnight, for people and for joins on history.

A value of w days is about mail sent in the w UTC days before the midnight, as far as it was known
then: days are taken as judged last (evidence.HORIZONS). Rates are null where nothing was counted.
Seed rates are smoothed, (count + 1/2) / (seeds + 2): few seeds say little. An index is a rate over
the one of the 28 days before the window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake

from feature_repo import contract, naming
from feature_repo.deliverability.evidence import HORIZONS
from feature_repo.deliverability.observed import Floats, Observed, Selection, select
from feature_repo.history.daily_table import DAY_US
from feature_repo.settings import Settings

_BASE_DAYS: Final = 28
_TIME: Final = pa.timestamp("us", tz="UTC")
_KEEP_HOURS: Final = 30 * 24

SCHEMA: Final = pa.schema(
    [
        *(pa.field(key, pa.string(), nullable=False) for key in contract.PLACEMENT_KEYS),
        pa.field(contract.EVENT_TIMESTAMP, _TIME, nullable=False),
        pa.field(contract.CREATED_TIMESTAMP, _TIME, nullable=False),
        *(pa.field(name, pa.float64()) for name in naming.PLACEMENT),
    ]
)

_MEANS: Final = {
    "gpt_spam_rate": Selection("postmaster", "gpt_spam_rate"),
    "gpt_reject_rate": Selection("postmaster", "gpt_delivery_error_rate", "reject"),
    "gpt_tempfail_rate": Selection("postmaster", "gpt_delivery_error_rate", "temp_fail"),
    **{
        f"gpt_{kind}_rate": Selection("postmaster", "gpt_auth_success_rate", kind)
        for kind in ("spf", "dkim", "dmarc")
    },
    "snds_filter_result": Selection("snds", "snds_filter_result"),
    "snds_complaint_rate": Selection("snds", "snds_complaint_rate"),
}
"""Means over days; parts of a day (error reasons) are added up, those of SNDS (IPs) averaged."""

_SHARES: Final = {
    "bounce_rate": "bounced",
    "block_rate": "block",
    "deferral_rate": "deferred",
    "complaint_rate": "complained",
    "unsubscribe_rate": "unsubscribed",
}


def write_placement(
    settings: Settings, seen: Observed, evident: pa.Table, known: pa.Table, estimates: pa.Table
) -> None:
    """Write the table anew when it says something else; `estimates` are those of `seen`."""
    table = placement_table(seen, evident, known, estimates)
    path = settings.feature_path(contract.PLACEMENT)
    digest = hashlib.sha256()
    for column in table.combine_chunks().columns:
        for chunk in column.chunks:
            for buffer in filter(None, chunk.buffers()):
                digest.update(buffer)
    said = digest.hexdigest()[:16]
    if DeltaTable.is_deltatable(str(path)):
        newest = DeltaTable(str(path)).history(limit=1)[0]
        if newest.get("digest") == said:
            return
    path.mkdir(parents=True, exist_ok=True)
    properties = CommitProperties({"digest": said})
    write_deltalake(str(path), table, mode="overwrite", commit_properties=properties)
    DeltaTable(str(path)).vacuum(
        retention_hours=_KEEP_HOURS, dry_run=False, enforce_retention_duration=False
    )


def placement_table(
    seen: Observed, evident: pa.Table, known: pa.Table, estimates: pa.Table
) -> pa.Table:
    """The rows of SCHEMA, by cell and midnight."""
    cells, days = len(seen.cells), seen.days
    if not cells or not days:
        return SCHEMA.empty_table()
    values: dict[str, Floats] = {}
    for width in naming.PLACEMENT_WINDOWS_DAYS:
        rates = _rates(seen, evident, known, width)
        values |= {naming.windowed(name, width): rates[name] for name in naming.PLACEMENT_RATES}
    delivered = seen.sums(evident, "delivered")
    mean_volume = _window(seen.mails, 0, _BASE_DAYS) / _BASE_DAYS
    values["delivered_1d"] = _window(delivered, 0, 1)
    values["volume_ratio"] = _over(_window(seen.mails, 0, 1), mean_volume)
    values |= _estimated(seen, estimates)
    values |= _staleness(seen, known)
    domains, providers = zip(*seen.cells, strict=True)
    repeated = pa.array(np.arange(cells).repeat(days))
    midnights = np.tile((seen.first_day + 1 + np.arange(days)) * DAY_US, cells)
    time = pa.array(midnights.astype(np.int64)).cast(_TIME)
    columns = [
        pa.array(domains).take(repeated),
        pa.array(providers).take(repeated),
        *(time, time),
        *(pa.array(values[name].ravel(), from_pandas=True) for name in naming.PLACEMENT),
    ]
    return pa.table(columns, schema=SCHEMA)


def _rates(seen: Observed, evident: pa.Table, known: pa.Table, width: int) -> dict[str, Floats]:
    """PLACEMENT_RATES of a window, each by [cell, midnight]."""
    seeds = {
        place: _window(select(seen, known, Selection("seed_list", f"seed_{place}"))[0], 0, width)
        for place in ("inbox", "tab", "spam", "missing")
    }
    total = np.sum(list(seeds.values()), axis=0)
    smoothed = {f"seed_{place}_rate": _over(n + 0.5, total + 2.0) for place, n in seeds.items()}
    rates = {name: np.where(total > 0, rate, np.nan) for name, rate in smoothed.items()}
    rates["seed_n"] = total
    for name, selection in _MEANS.items():
        value, told = select(seen, known, selection)
        per = told if selection.source == "snds" else np.minimum(told, 1.0)
        rates[name] = _over(_window(value, 0, width), _window(per, 0, width))
    passed, _ = select(seen, known, Selection("dmarc", "dmarc_pass"))
    reported, _ = select(seen, known, Selection("dmarc", "dmarc_pass", column="n"))
    rates["dmarc_pass_rate"] = _over(_window(passed, 0, width), _window(reported, 0, width))
    for name, count in _SHARES.items():
        counted = _window(seen.sums(evident, count), 0, width)
        rates[name] = _over(counted, _window(seen.mails, 0, width))
    clicked = seen.sums(evident, "clicked")
    rates["seen_index"] = _index(seen.seen, seen.mails, width)
    rates["click_index"] = _index(clicked, seen.mails, width)
    rates["canary_index"] = _index(seen.canary_seen, seen.canary_expected, width)
    return rates


def _window(values: Floats, skipped: int, width: int) -> Floats:
    """Sums over `width` days, `skipped` days before the midnight, by [cell, midnight].

    A day that lies k days back is taken from the last horizon that is not beyond k.
    """
    total = np.zeros(values.shape[1:])
    for h, (first, after) in enumerate(pairwise([*HORIZONS, 2**30])):
        start, stop = max(first, skipped + 1), min(after, skipped + width + 1)
        if start < stop:
            total += _shifted_sum(values[h], start, stop)
    return total


def _shifted_sum(values: Floats, start: int, stop: int) -> Floats:
    """Sums over the days from `start` to before `stop` days back; column m is midnight m + 1."""
    days = values.shape[1]
    summed = np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)
    midnight = np.arange(1, days + 1)
    until = np.clip(midnight - start + 1, 0, days)
    since = np.clip(midnight - stop + 1, 0, days)
    return np.asarray(summed[:, until] - summed[:, since])


def _over(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), np.nan)


def _index(part: Floats, whole: Floats, width: int) -> Floats:
    now = _over(_window(part, 0, width), _window(whole, 0, width))
    before = _over(_window(part, width, _BASE_DAYS), _window(whole, width, _BASE_DAYS))
    return _over(now, np.nan_to_num(before))


def _estimated(seen: Observed, estimates: pa.Table) -> Mapping[str, Floats]:
    """What was thought of the day before each midnight."""
    day = pc.cast(estimates["day"], pa.int32())
    newest = estimates.filter(
        pc.equal(pc.add(day, HORIZONS[0]), pc.cast(estimates["published_day"], pa.int32()))
    )
    place = {cell: number for number, cell in enumerate(seen.cells)}
    pairs = zip(newest[0].to_pylist(), newest[1].to_pylist(), strict=True)
    cell = np.array([place[pair] for pair in pairs], dtype=np.int64)
    column = pc.cast(newest["day"], pa.int32()).to_numpy() - seen.first_day
    found = {}
    for name in ("p_inbox", "p_inbox_lo", "p_inbox_hi", "is_impaired"):
        grid = np.full((len(seen.cells), seen.days), np.nan)
        grid[cell, column] = pc.cast(newest[name], pa.float64()).to_numpy()
        found[name] = grid
    return found


def _staleness(seen: Observed, known: pa.Table) -> Mapping[str, Floats]:
    """Days from the newest day with a number of a source, as known, to the midnight."""
    found = {}
    for source in naming.PLACEMENT_SOURCES:
        told = seen.mails if source == "events" else select(seen, known, Selection(source))[1]
        days = np.arange(seen.days)
        newest = np.full(told.shape[1:], -np.inf)
        for horizon, values in zip(HORIZONS, told, strict=True):
            last = np.maximum.accumulate(np.where(values > 0, days, -np.inf), axis=1)
            late = np.full(last.shape, -np.inf)
            late[:, horizon - 1 :] = last[:, : max(seen.days - horizon + 1, 0)]
            newest = np.maximum(newest, late)
        age = days + 1 - newest
        found[f"{source}_staleness_days"] = np.where(np.isfinite(age), age, np.nan)
    return found
