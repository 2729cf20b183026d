from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.config import SHIPPED, Config, read_config
from feature_repo.errors import ConfigError
from infra.scheduler.jobs import Job, Schedule, schedule_of
from infra.scheduler.words import problem_of

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def declared(section: Any) -> Schedule:
    config = Config(path=Path("my.yaml"), targets={}, sections={"schedule": section})
    return schedule_of(config, problem_of)


def a_job(cron: str, timezone: str = "UTC") -> Job:
    jobs = {"compact": {"cron": cron, "run": "log compact"}}
    return declared({"timezone": timezone, "jobs": jobs}).job("compact")


def test_the_shipped_jobs_can_be_run() -> None:
    schedule = schedule_of(read_config(SHIPPED), problem_of)

    assert {"weekly", "drift", "compact"} <= set(schedule.jobs)
    assert schedule.job("weekly").ok_codes == {0, 3}


def test_a_file_without_the_section_has_no_jobs() -> None:
    assert schedule_of(Config(path=Path("my.yaml"), targets={}), problem_of).jobs == {}


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ("0 3 * * MON", MONDAY, MONDAY + 3 * HOUR),
        # The very moment is not after itself.
        ("0 3 * * MON", MONDAY + 3 * HOUR, MONDAY + 7 * DAY + 3 * HOUR),
        ("*/15 * * * *", MONDAY + timedelta(minutes=7), MONDAY + timedelta(minutes=15)),
        ("30 1 * * SUN", MONDAY, MONDAY + 6 * DAY + timedelta(hours=1, minutes=30)),
        ("0 0 29 2 *", MONDAY, datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_next_time_is_that_of_the_expression(cron: str, after: datetime, due: datetime) -> None:
    assert a_job(cron).next_after(after) == due


def test_times_are_those_of_the_declared_zone() -> None:
    winter, summer = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    job = a_job("0 3 * * *", "Europe/Vienna")

    assert job.next_after(winter) == winter + 2 * HOUR
    assert job.next_after(summer) == summer + HOUR


@pytest.mark.parametrize(
    ("passed", "newest"),
    [
        (timedelta(minutes=59), None),
        (HOUR, MONDAY + HOUR),
        (HOUR * 2.5, MONDAY + 2 * HOUR),
        (400 * DAY, MONDAY + 400 * DAY),
    ],
)
def test_of_many_missed_times_the_newest_is_due(passed: timedelta, newest: datetime | None) -> None:
    assert a_job("0 * * * *").due_between(MONDAY, MONDAY + passed) == newest


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"job": {}}, r"my.yaml: schedule.job is not known \(did you mean 'jobs'\?\)"),
        ({"timezone": "Viena"}, r"schedule.timezone has value 'Viena'; use a name such as UTC"),
        ({"timezone": 7}, r"schedule.timezone has value 7"),
        ({"jobs": ["weekly"]}, r"schedule.jobs has value \['weekly'\]"),
        ({"jobs": {"A b": {}}}, r"schedule.jobs.A b: the name cannot be used"),
        ({"jobs": {"a": {"run": "weekly"}}}, r"schedule.jobs.a: cron is missing"),
        (
            {"jobs": {"a": {"cron": "0 3 * * *", "run": "weekly", "when": 1}}},
            r"schedule.jobs.a.when is not known",
        ),
        ({"jobs": {"a": {"cron": "0 3 * *", "run": "weekly"}}}, r"write five fields"),
        ({"jobs": {"a": {"cron": "0 3 * * 1", "run": "weekly"}}}, r"day of week '1'; write names"),
        ({"jobs": {"a": {"cron": "0 25 * * *", "run": "weekly"}}}, r"schedule.jobs.a.cron"),
        ({"jobs": {"a": {"cron": "0 0 30 2 *", "run": "weekly"}}}, r"a time that never comes"),
        ({"jobs": {"a": {"cron": "0 3 * * *", "run": "weekli"}}}, r"No such command 'weekli'"),
        (
            {"jobs": {"a": {"cron": "0 3 * * *", "run": "report drift"}}},
            r"Missing option '--target'",
        ),
        ({"jobs": {"a": {"cron": "0 3 * * *", "run": "report"}}}, r"report needs one of drift"),
        ({"jobs": {"a": {"cron": "0 3 * * *", "run": "train --help"}}}, r"it only shows help"),
        (
            {"jobs": {"a": {"cron": "0 3 * * *", "run": "schedule run a"}}},
            r"does not end by itself",
        ),
        ({"jobs": {"a": {"cron": "0 3 * * *", "run": []}}}, r"schedule.jobs.a.run has value \[\]"),
        (
            {"jobs": {"a": {"cron": "0 3 * * *", "run": "weekly", "ok": [-1]}}},
            r"schedule.jobs.a.ok has value \[-1\]",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(section: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        declared(section)


def test_an_unknown_job_lists_those_there_are() -> None:
    schedule = declared({"jobs": {"weekly": {"cron": "0 3 * * MON", "run": "weekly"}}})

    with pytest.raises(
        ConfigError, match=r"'weakly' \(did you mean 'weekly'\?\); there are: weekly"
    ):
        schedule.job("weakly")
