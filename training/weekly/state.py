"""What a weekly run has done so far: one small file per week, written as a whole at every step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from feature_repo.errors import ConfigError
from feature_repo.settings import Settings
from feature_repo.sole import write_whole


class Status(StrEnum):
    """How a target stands."""

    PASSED = "passed"  #: registered, every gate passed
    GATE = "gate"  #: registered, and a gate failed or could not tell
    LEAK = "leak"  #: the audit found a leak; nothing is registered
    NOT_READY = "not_ready"  #: data are missing or too few
    ERROR = "error"  #: something did not work

    @property
    def is_final(self) -> bool:
        """Whether doing it again in the same week would tell nothing new."""
        return self in {Status.PASSED, Status.GATE, Status.LEAK}

    @property
    def exit_code(self) -> int:
        """What `foresend weekly` ends with when this is the worst of its targets."""
        return _CODES[self]


_CODES: Mapping[Status, int] = {
    Status.PASSED: 0,
    Status.LEAK: 1,
    Status.ERROR: 2,
    Status.GATE: 3,
    Status.NOT_READY: 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one target."""

    target: str
    status: Status
    #: Knowledge time, ISO 8601.
    as_of: str
    #: Why it is not trained; what the gates say.
    reasons: tuple[str, ...] = ()
    version: str | None = None
    run_id: str | None = None
    seconds: float | None = None
    #: Found in MLflow instead of trained by this run.
    found: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The moment a weekly run asks about."""

    at: datetime
    #: Whether somebody chose it; else it is the time of the run.
    is_chosen: bool = False

    @property
    def week(self) -> str:
        """Its ISO week, such as 2026-W47."""
        return week_of(self.at)

    @property
    def key(self) -> str:
        """Name of its state and report: the week, and the moment when it was chosen."""
        return f"{self.week}-as-of-{self.at:%Y%m%dT%H%M%S}" if self.is_chosen else self.week


def week_of(at: datetime) -> str:
    """The ISO week of a time in UTC.

    >>> week_of(datetime(2026, 11, 23, tzinfo=UTC))
    '2026-W48'
    """
    return at.astimezone(UTC).strftime("%G-W%V")


def end_of_week(word: str) -> datetime | None:
    """The last microsecond of an ISO week such as 2026-W47; None when the word is none.

    Raises:
        ConfigError: it looks like a week and there is no such week.
    """
    if "W" not in word:
        return None
    try:
        monday = datetime.strptime(f"{word}-1", "%G-W%V-%u").replace(tzinfo=UTC)
    except ValueError as exc:
        message = f"--as-of has value {word!r}, which is no ISO week; write one like 2026-W47."
        raise ConfigError(message) from exc
    return monday + timedelta(days=7) - timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekState:
    """How far a week's run has come."""

    key: str
    week: str
    #: Knowledge time of the targets that are still to be done, ISO 8601; None: not settled yet.
    as_of: str | None = None
    #: Whether the newest run came to its end, whatever it found.
    ended: bool = False
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)

    def with_outcome(self, outcome: Outcome) -> WeekState:
        """The state with a target's outcome."""
        return replace(self, outcomes={**self.outcomes, outcome.target: outcome})


def state_path(settings: Settings, key: str) -> Path:
    """Where the state of a week is kept."""
    return settings.state_path / "weekly" / f"{key}.json"


def load_state(settings: Settings, moment: Moment) -> WeekState:
    """The state that was last written, or the beginning. A file that cannot be read is none."""
    fresh = WeekState(key=moment.key, week=moment.week)
    try:
        raw = json.loads(state_path(settings, moment.key).read_text())
        outcomes = {name: _outcome(written) for name, written in raw.pop("outcomes").items()}
        return WeekState(**raw, outcomes=outcomes)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # MLflow is asked what was done before anything is done again.
        return fresh


def save_state(settings: Settings, state: WeekState) -> None:
    """Replace the state in one step."""
    path = state_path(settings, state.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(state), indent=1))


def _outcome(written: dict[str, Any]) -> Outcome:
    fields = written | {"status": Status(written["status"]), "reasons": tuple(written["reasons"])}
    return Outcome(**fields)
