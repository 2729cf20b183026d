"""Evidence as arrays by horizon, cell and day: what the estimate reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.deliverability.evidence import HORIZONS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HIGH_SPAM_RATE: Final = 0.003
"""Google's own limit: from here on a spam rate speaks against the inbox. A low one says nothing:
it counts complaints over mail in the inbox, so it is lowest when nothing arrives there."""

_REPUTATION: Final = "low_domain_reputation|low_ip_reputation|spammy_content"
_ERROR_WEIGHT: Final = 20.0
_RED: Final = 2.0
"""Of SNDS; a warning when all sending addresses are red."""

_MOST_ALARM: Final = 4.0


@dataclass(frozen=True, slots=True)
class Observed:
    """Counts by [horizon, cell, day], and those by campaign as [horizon, row]."""

    cells: tuple[tuple[str, str], ...]
    #: Day of column 0, in days since the Unix epoch.
    first_day: int
    #: Mails, and those somebody saw.
    mails: Floats
    seen: Floats
    #: Apple's fetches, and how many there would be by the canaries' habit.
    canary_seen: Floats
    canary_expected: Floats
    #: Seeds in the inbox or a tab of it, and seeds placed at all.
    seeds_in: Floats
    seeds: Floats
    #: Strength of warnings of Google and Microsoft, 0.0 for none: like so many seeds in spam.
    alarm: Floats
    #: Rows by campaign, ordered by day: cell, day (as column), campaign, seen and expected.
    cell: Ints
    day: Ints
    campaign: Ints
    habitual_seen: Floats
    habitual_expected: Floats

    @property
    def days(self) -> int:
        """Number of columns."""
        return int(self.mails.shape[2])

    def sums(self, evidence: pa.Table, name: str) -> Floats:
        """A count of the evidence, by [horizon, cell, day]."""
        return _sums(evidence, name, _Frame(self.cells, self.first_day, self.days))


@dataclass(frozen=True, slots=True)
class Selection:
    """Readings of a source, and of it of a metric and a part (else all parts below `part/`)."""

    source: str
    metric: str | None = None
    part: str | None = None
    column: str = "value"


MOST_DAYS: Final = 1100
"""Days that are estimated: three years. A wrong date of long ago does not make ten thousand."""

_OWN_SOURCES: Final = ("seed_list", "postmaster", "snds")


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the axes stand for."""

    cells: tuple[tuple[str, str], ...]
    first_day: int
    days: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(HORIZONS), len(self.cells), self.days

    def places(self, table: pa.Table) -> tuple[Ints, Ints]:
        """Cell and column of each row, -1 where the row is of no cell."""
        place: dict[tuple[str | None, str | None], int] = {
            cell: number for number, cell in enumerate(self.cells)
        }
        cell = np.array([place.get(pair, -1) for pair in _pairs(table)], dtype=np.int64)
        day = np.asarray(table["day"].to_numpy(), dtype=np.int64) - self.first_day
        return np.where(day >= 0, cell, -1), day


def observed(evidence: pa.Table, readings: pa.Table, last_day: int) -> Observed:
    """The evidence and the readings (see evidence.py) of days before the midnight `last_day`."""
    # DMARC and ARF reports are written by strangers, about domains that they name: they tell of
    # cells that there are and make none.
    own = readings.filter(pc.is_in(readings["source"], pa.array(_OWN_SOURCES)))
    pairs = {*_pairs(evidence), *_pairs(own)}
    days = [*evidence["day"].to_pylist(), *own["day"].to_pylist()]
    first_day = max(min(days, default=last_day), last_day - MOST_DAYS)
    frame = _Frame(
        # What names no sending domain or no mailbox provider makes no cell.
        cells=tuple(sorted((d, p) for d, p in pairs if d and p)),
        first_day=first_day,
        days=max(last_day - first_day, 0),
    )
    cell, day = frame.places(evidence)
    order = np.argsort(day, kind="stable")
    order = order[cell[order] >= 0]

    def by_row(name: str) -> Floats:
        return np.array([evidence[f"{name}_{h}"].to_numpy()[order] for h in HORIZONS], np.float64)

    named = pc.fill_null(evidence["campaign_id"], "").combine_chunks().dictionary_encode()
    seeds = {
        place: _select(readings, frame, Selection("seed_list", f"seed_{place}"))[0]
        for place in ("inbox", "tab", "spam", "missing")
    }
    return Observed(
        cells=frame.cells,
        first_day=first_day,
        mails=_sums(evidence, "mails", frame),
        seen=_sums(evidence, "seen", frame),
        canary_seen=_sums(evidence, "canary_seen", frame),
        canary_expected=_sums(evidence, "expected_canary", frame) / 1e6,
        seeds_in=seeds["inbox"] + seeds["tab"],
        seeds=sum(seeds.values(), np.zeros(frame.shape)),
        alarm=_alarm(readings, frame),
        cell=cell[order],
        day=day[order],
        campaign=named.indices.to_numpy()[order].astype(np.int64),
        habitual_seen=by_row("habitual_seen"),
        habitual_expected=by_row("expected_seen") / 1e6,
    )


def select(observed: Observed, readings: pa.Table, selection: Selection) -> tuple[Floats, Floats]:
    """Sums of what the readings say and how many say something, by [horizon, cell, day]."""
    frame = _Frame(observed.cells, observed.first_day, observed.days)
    return _select(readings, frame, selection)


def _select(readings: pa.Table, frame: _Frame, selection: Selection) -> tuple[Floats, Floats]:
    chosen = pc.and_(pc.equal(readings["source"], selection.source), pc.is_valid(readings["value"]))
    if selection.metric is not None:
        chosen = pc.and_(chosen, pc.equal(readings["metric"], selection.metric))
    rows = readings.filter(chosen)
    if selection.part is None:
        return _totals(rows, frame, selection.column)
    part = pc.fill_null(rows["part"], "")
    whole = rows.filter(pc.equal(part, selection.part))
    below = rows.filter(pc.starts_with(part, selection.part + "/"))
    total, told = _totals(whole, frame, selection.column)
    # A source may give a total and its breakdown: what is told twice is counted once.
    parts, parts_told = _totals(below, frame, selection.column)
    return np.where(told > 0, total, parts), np.where(told > 0, told, parts_told)


def _totals(rows: pa.Table, frame: _Frame, column: str) -> tuple[Floats, Floats]:
    cell, day = frame.places(rows)
    horizon = np.searchsorted(HORIZONS, rows["horizon"].to_numpy())
    value = np.asarray(pc.fill_null(rows[column], 0.0).to_numpy(), dtype=np.float64)
    total, told = np.zeros(frame.shape), np.zeros(frame.shape)
    there = cell >= 0
    at = horizon[there], cell[there], day[there]
    np.add.at(total, at, value[there])
    np.add.at(told, at, 1.0)
    return total, told


def _sums(evidence: pa.Table, name: str, frame: _Frame) -> Floats:
    total = np.zeros(frame.shape)
    cell, day = frame.places(evidence)
    there = cell >= 0
    for h, horizon in enumerate(HORIZONS):
        np.add.at(
            total[h], (cell[there], day[there]), evidence[f"{name}_{horizon}"].to_numpy()[there]
        )
    return total


def _pairs(table: pa.Table) -> list[tuple[str | None, str | None]]:
    columns = (table["sending_domain"].to_pylist(), table["mailbox_provider"].to_pylist())
    return list(zip(*columns, strict=True))


def _alarm(readings: pa.Table, frame: _Frame) -> Floats:
    """One-sided: what the mailbox providers say is bad. That they say nothing bad says nothing."""
    spam, _ = _select(readings, frame, Selection("postmaster", "gpt_spam_rate"))
    alarm = np.where(spam >= HIGH_SPAM_RATE, spam / HIGH_SPAM_RATE, 0.0)
    named = pc.match_substring_regex(pc.fill_null(readings["part"], ""), _REPUTATION)
    errors = Selection("postmaster", "gpt_delivery_error_rate")
    alarm += _ERROR_WEIGHT * _select(readings.filter(named), frame, errors)[0]
    colour, ips = _select(readings, frame, Selection("snds", "snds_filter_result"))
    alarm += np.where(colour >= _RED * np.maximum(ips, 1.0), _RED, 0.0)
    return np.minimum(alarm, _MOST_ALARM)
