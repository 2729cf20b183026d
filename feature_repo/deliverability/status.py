"""How fresh each source is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.deliverability.importing import FORMS
from feature_repo.deliverability.readings import Readings
from feature_repo.deliverability.state import SourceState, read_states
from feature_repo.history import duck
from feature_repo.settings import Settings

STALE_AFTER: Final = {"postmaster": 4, "snds": 4}
"""Days without a number from which on a source that is asked is stale; Google publishes one to two
days late, Microsoft one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source."""

    source: str
    #: Whether it is asked by `pull`.
    is_asked: bool
    readings: int
    sending_domains: int
    #: Newest UTC day with a number, and its age in days; None: none.
    newest_day: date | None
    stale_days: int | None
    state: SourceState
    #: fresh, stale, failing, waiting, empty (asked, and nothing came yet), idle (not asked).
    verdict: str

    @property
    def is_bad(self) -> bool:
        """Whether somebody should look."""
        return self.verdict in {"stale", "failing", "waiting", "empty"}


def status(settings: Settings, asked: Sequence[str], now: datetime) -> list[SourceStatus]:
    """Every source, in the order of FORMS, as known now."""
    with duck.connect(settings) as con:
        known = Readings(settings.deliverability_path / "readings").as_known(con, None)
    states = read_states(settings)
    return [
        _status(source, known, states.get(source, SourceState()), source in asked, now)
        for source in FORMS
    ]


def _status(
    source: str, known: pa.Table, state: SourceState, is_asked: bool, now: datetime
) -> SourceStatus:
    told = pc.and_(pc.equal(known["source"], source), pc.is_valid(known["value"]))
    rows = known.filter(told)
    # Google's requirements are a state of today, whether or not there are numbers.
    daily = rows.filter(pc.not_equal(rows["metric"], "gpt_compliance"))
    newest: date | None = pc.max(daily["day"]).as_py()
    age = None if newest is None else (now.date() - newest).days
    return SourceStatus(
        source=source,
        is_asked=is_asked,
        readings=rows.num_rows,
        sending_domains=pc.count_distinct(rows["sending_domain"]).as_py(),
        newest_day=newest,
        stale_days=age,
        state=state,
        verdict=_verdict(source, age, state, is_asked, now),
    )


def _verdict(
    source: str, age: int | None, state: SourceState, is_asked: bool, now: datetime
) -> str:
    if not is_asked:
        return "idle"
    if state.retry_at is not None and now < state.retry_at:
        return "waiting"
    if state.failure is not None:
        return "failing"
    if age is None:
        return "empty"
    return "stale" if age > STALE_AFTER[source] else "fresh"
