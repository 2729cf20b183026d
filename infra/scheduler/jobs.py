"""The section `schedule` of foresend.yaml: which commands run when."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]  # it has no types

from feature_repo.config import Config
from feature_repo.errors import ConfigError
from feature_repo.targets import suggestion

CheckArgv = Callable[[Sequence[str]], str | None]
"""What is wrong with the words of a `foresend` command; None when it can be run."""

_SECTION: Final = ("timezone", "jobs")
_FIELDS: Final = ("cron", "run", "ok")
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,40}")
_EXAMPLE: Final = '{cron: "0 3 * * MON", run: weekly}'
_MOMENT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Job:
    """A command of ours and the times it is due."""

    name: str
    #: Words after `foresend`.
    argv: tuple[str, ...]
    cron: str
    trigger: CronTrigger
    #: Exit codes that mean the work was done.
    ok_codes: frozenset[int]

    def next_after(self, moment: datetime) -> datetime:
        """The first time the job is due after `moment`, in UTC."""
        found = self.trigger.get_next_fire_time(None, moment.astimezone(UTC) + _MOMENT)
        # `jobs_from` refuses what never comes; then there is always a next one.
        assert isinstance(found, datetime)
        return found.astimezone(UTC)

    def due_between(self, after: datetime, until: datetime) -> datetime | None:
        """The newest time with after < time <= until, in UTC: many that passed are one."""
        due = self.next_after(after)
        if due > until:
            return None
        # Halving: hours or years may have passed.
        low, high = due, until
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            later = self.next_after(middle)
            low, high = (later, high) if later <= until else (low, middle)
        return low

    def period(self, moment: datetime) -> timedelta:
        """Time between the next two times it is due."""
        first = self.next_after(moment)
        return self.next_after(first) - first


@dataclass(frozen=True, slots=True)
class Schedule:
    """All jobs by name, in the order they are declared."""

    timezone: str
    jobs: Mapping[str, Job]

    def job(self, name: str) -> Job:
        """The job of that name.

        Raises:
            ConfigError: there is none; the message lists those there are.
        """
        if name in self.jobs:
            return self.jobs[name]
        known = ", ".join(self.jobs) or "none"
        message = f"No job is called {name!r}{suggestion(name, self.jobs)}; there are: {known}."
        raise ConfigError(message)


def schedule_of(config: Config, check: CheckArgv) -> Schedule:
    """The jobs that a file declares; a file without the section has none.

    Raises:
        ConfigError: the section cannot be used; the message names the file and the key.
    """
    declared = config.sections.get("schedule")
    if declared is None:
        return Schedule("UTC", {})
    try:
        return _schedule(declared, check)
    except _BadSchedule as exc:
        message = f"{config.path}: schedule{exc}."
        raise ConfigError(message) from exc


class _BadSchedule(ValueError):
    """What is wrong, from the key on."""


def _schedule(declared: Any, check: CheckArgv) -> Schedule:
    _only_known("", declared, _SECTION)
    timezone = declared.get("timezone", "UTC")
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, TypeError, ValueError) as exc:
        message = f".timezone has value {timezone!r}; use a name such as UTC or Europe/Vienna"
        raise _BadSchedule(message) from exc
    jobs = declared.get("jobs", {})
    if not isinstance(jobs, Mapping):
        message = f".jobs has value {jobs!r}; write jobs by name, for example weekly: {_EXAMPLE}"
        raise _BadSchedule(message)
    made = {str(name): _job(name, value, zone, check) for name, value in jobs.items()}
    return Schedule(timezone, made)


def _job(name: object, declared: Any, zone: ZoneInfo, check: CheckArgv) -> Job:
    where = f".jobs.{name}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = f"{where}: the name cannot be used; small letters, digits, - and _, at most 41"
        raise _BadSchedule(message)
    _only_known(where, declared, _FIELDS)
    for key in ("cron", "run"):
        if key not in declared:
            message = f"{where}: {key} is missing; write for example {_EXAMPLE}"
            raise _BadSchedule(message)
    argv = _argv(f"{where}.run", declared["run"])
    problem = check(argv)
    if problem is not None:
        message = f"{where}.run: `foresend {' '.join(argv)}` cannot be run: {problem}"
        raise _BadSchedule(message)
    cron = declared["cron"]
    return Job(
        name=name,
        argv=argv,
        cron=str(cron),
        trigger=_trigger(f"{where}.cron", cron, zone),
        ok_codes=frozenset(_codes(f"{where}.ok", declared.get("ok", [0]))),
    )


def _argv(where: str, value: Any) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    if isinstance(words, list) and words and all(isinstance(w, str | int) for w in words):
        return tuple(str(word) for word in words)
    message = f"{where} has value {value!r}; write a command or a list of its words"
    raise _BadSchedule(message)


def _trigger(where: str, cron: Any, zone: ZoneInfo) -> CronTrigger:
    fields = cron.split() if isinstance(cron, str) else []
    if len(fields) != 5:
        message = (
            f'{where} has value {cron!r}; write five fields, for example "0 3 * * MON": '
            "minute, hour, day of month, month, day of week"
        )
        raise _BadSchedule(message)
    if any(character.isdigit() for character in fields[4].partition("/")[0]):
        # APScheduler counts from Monday, cron from Sunday: a number would run on the wrong day.
        message = f"{where} has day of week {fields[4]!r}; write names: MON, TUE-FRI, SAT,SUN"
        raise _BadSchedule(message)
    try:
        trigger = CronTrigger.from_crontab(cron.lower(), timezone=zone)
    except ValueError as exc:
        message = f"{where} has value {cron!r}: {exc}"
        raise _BadSchedule(message) from exc
    if trigger.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        message = f"{where} has value {cron!r}, a time that never comes"
        raise _BadSchedule(message)
    return trigger


def _codes(where: str, value: Any) -> Iterator[int]:
    codes = value if isinstance(value, list) else [value]
    for code in codes:
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 255:
            message = f"{where} has value {value!r}; list the exit codes that mean done: [0, 3]"
            raise _BadSchedule(message)
        yield code


def _only_known(where: str, declared: Any, known: Sequence[str]) -> None:
    if not isinstance(declared, Mapping):
        message = f"{where} has value {declared!r}; write its keys: {', '.join(known)}"
        raise _BadSchedule(message)
    for key in declared:
        if key not in known:
            fields = ", ".join(known)
            message = f"{where}.{key} is not known{suggestion(key, known)}; there are {fields}"
            raise _BadSchedule(message)
