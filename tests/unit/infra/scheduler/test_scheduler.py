from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag

import psutil
import pytest

from feature_repo.config import Config
from feature_repo.settings import Settings
from feature_repo.sole import only_one
from feature_repo.stream.worker_health import WorkerHealth
from infra.scheduler.jobs import Schedule, schedule_of
from infra.scheduler.ledger import KEPT_RUNS, By, Ledger, Process, State
from infra.scheduler.metrics import SchedulerMetrics
from infra.scheduler.runner import JobBusy, Runner
from infra.scheduler.scheduler import MOST_INTERRUPTIONS, Scheduler, due_jobs, seconds_to_next

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ME = Process(pid=psutil.Process().pid, created=psutil.Process().create_time())
GONE = Process(pid=ME.pid, created=1.0)

# Stands in for `python -m infra.cli`: does what its one word says.
_CHILD = """
import sys, time
word = sys.argv[1]
print("hello from", word, flush=True)
if word == "sleep":
    time.sleep(60)
sys.exit({"fail": 7, "gate": 3}.get(word, 0))
"""


@dataclass
class Clock:
    now: datetime = MONDAY

    def __call__(self) -> datetime:
        return self.now


def a_schedule(**jobs: tuple[str, str]) -> Schedule:
    section = {
        "jobs": {
            name: {"cron": cron, "run": word, "ok": [0, 3]} for name, (cron, word) in jobs.items()
        }
    }
    config = Config(path=Path("my.yaml"), targets={}, sections={"schedule": section})
    return schedule_of(config, lambda words: None)


@dataclass
class Bench:
    """A scheduler with a clock that is set by hand and jobs that do nothing."""

    settings: Settings
    schedule: Schedule
    clock: Clock = field(default_factory=Clock)
    stop: Flag = field(default_factory=Flag)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.settings)
        self.metrics = SchedulerMetrics(self.schedule, self.ledger, self.clock)
        self.runner = Runner(
            settings=self.settings,
            ledger=self.ledger,
            clock=self.clock,
            command=(sys.executable, "-c", _CHILD),
            stop_s=5.0,
        )
        self.scheduler = Scheduler(
            settings=self.settings,
            schedule=self.schedule,
            ledger=self.ledger,
            runner=self.runner,
            clock=self.clock,
            stop=self.stop,
            health=WorkerHealth(),
            metrics=self.metrics,
        )

    def due(self) -> list[tuple[str, datetime]]:
        return [(d.job.name, d.at) for d in due_jobs(self.schedule, self.ledger, self.clock())]

    def states(self, job: str | None = None) -> list[str]:
        return [run.state.value for run in self.ledger.runs(job)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(Settings(home=tmp_path), a_schedule(hourly=("0 * * * *", "work")))
    assert made.due() == []
    return made


def test_a_job_seen_for_the_first_time_is_not_due_for_the_past(bench: Bench) -> None:
    bench.clock.now += timedelta(minutes=59)

    assert bench.due() == []


def test_many_missed_times_are_caught_up_once(bench: Bench) -> None:
    bench.clock.now += 5 * DAY + timedelta(minutes=1)

    assert bench.due() == [("hourly", MONDAY + 5 * DAY)]
    assert bench.scheduler.turn()
    assert not bench.scheduler.turn()
    assert bench.states() == ["done"]


def test_the_last_run_is_remembered_by_the_next_process(bench: Bench) -> None:
    bench.clock.now += HOUR
    bench.scheduler.turn()

    later = Bench(bench.settings, bench.schedule, bench.clock)

    assert later.due() == []
    later.clock.now += HOUR
    assert later.due() == [("hourly", MONDAY + 2 * HOUR)]


def test_jobs_run_in_the_order_they_were_due(tmp_path: Path) -> None:
    jobs = a_schedule(late=("30 * * * *", "work"), early=("10 * * * *", "work"))
    bench = Bench(Settings(home=tmp_path), jobs)
    bench.due()
    bench.clock.now += HOUR

    bench.scheduler.turn()

    assert [run.job for run in bench.ledger.runs()] == ["late", "early"]  # newest first


@pytest.mark.parametrize(
    ("word", "state", "code"), [("work", "done", 0), ("gate", "done", 3), ("fail", "failed", 7)]
)
def test_a_run_is_noted_with_its_code_its_log_and_its_time(
    tmp_path: Path, word: str, state: str, code: int
) -> None:
    bench = Bench(Settings(home=tmp_path), a_schedule(hourly=("0 * * * *", word)))
    bench.due()
    bench.clock.now += HOUR

    bench.scheduler.turn()

    (run,) = bench.ledger.runs()
    assert (run.state.value, run.exit_code, run.by) == (state, code, By.CLOCK)
    assert (run.due, run.started, run.seconds) == (MONDAY + HOUR, MONDAY + HOUR, 0.0)
    assert run.log.read_text() == f"hello from {word}\n"
    # A failure is not tried again before its next time.
    assert bench.due() == []


def test_a_run_by_hand_takes_the_place_of_what_was_due(bench: Bench) -> None:
    bench.clock.now += HOUR + timedelta(minutes=5)
    echo = io.StringIO()

    bench.runner.run(
        bench.schedule.job("hourly"), by=By.HAND, due=bench.clock(), stop=Flag(), echo=echo
    )

    assert echo.getvalue() == "hello from work\n"
    assert bench.due() == []


def test_a_job_that_runs_elsewhere_is_left_for_later(bench: Bench) -> None:
    bench.clock.now += HOUR
    with only_one(bench.settings, "job-hourly"):
        assert not bench.scheduler.turn()
        with pytest.raises(JobBusy, match="hourly runs already"):
            bench.runner.run(
                bench.schedule.job("hourly"), by=By.HAND, due=bench.clock(), stop=Flag()
            )

    assert bench.scheduler.turn()
    assert bench.states() == ["done"]


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.02)


def test_a_stop_ends_the_job_and_it_is_due_again(tmp_path: Path) -> None:
    bench = Bench(Settings(home=tmp_path), a_schedule(hourly=("0 * * * *", "sleep")))
    bench.due()
    bench.clock.now += HOUR
    loop = threading.Thread(target=bench.scheduler.run)
    loop.start()
    until(lambda: any(run.child for run in bench.ledger.runs()))

    bench.stop.set()
    loop.join(timeout=20)

    (run,) = bench.ledger.runs()
    assert run.state is State.INTERRUPTED
    assert run.child is not None
    assert not psutil.pid_exists(run.child.pid)
    assert bench.due() == [("hourly", MONDAY + HOUR)]


def test_what_a_killed_scheduler_left_is_ended_and_noted(bench: Bench) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(sleeper, start_new_session=True) as orphan:
        child = Process(pid=orphan.pid, created=psutil.Process(orphan.pid).create_time())
        log = bench.settings.home / "a.log"
        run = bench.ledger.begin("hourly", By.CLOCK, MONDAY, MONDAY, log, GONE)
        bench.ledger.started(run, child)
        alive = bench.ledger.begin("hourly", By.HAND, MONDAY, MONDAY, log, ME)

        (lost,) = bench.runner.recover()

        assert (lost.id, lost.state) == (run, State.INTERRUPTED)
        assert not psutil.pid_exists(orphan.pid)
    assert [r.id for r in bench.ledger.runs(state=State.RUNNING)] == [alive]


def test_a_run_that_is_interrupted_again_and_again_waits_for_its_next_time(bench: Bench) -> None:
    bench.clock.now += HOUR
    log = bench.settings.home / "a.log"
    for _ in range(MOST_INTERRUPTIONS):
        assert bench.due() == [("hourly", MONDAY + HOUR)]
        run = bench.ledger.begin("hourly", By.CLOCK, MONDAY + HOUR, bench.clock(), log, GONE)
        bench.ledger.end(run, State.INTERRUPTED, None, bench.clock())

    assert bench.due() == []
    bench.clock.now += HOUR
    assert bench.due() == [("hourly", MONDAY + 2 * HOUR)]


def test_a_second_scheduler_stands_by_and_takes_over(bench: Bench) -> None:
    bench.clock.now += HOUR
    with only_one(bench.settings, "scheduler"):
        loop = threading.Thread(target=bench.scheduler.run)
        loop.start()
        until(lambda: bench.scheduler.health.trouble is None)
        assert bench.ledger.runs() == []
        assert b"foresend_schedule_leader 0.0" in bench.metrics.exposition()
        bench.stop.set()
        loop.join(timeout=20)

    again = Bench(bench.settings, bench.schedule, bench.clock)
    loop = threading.Thread(target=again.scheduler.run)
    loop.start()
    until(lambda: again.states() == ["done"])
    again.stop.set()
    loop.join(timeout=20)


def test_history_is_bounded_and_logs_go_with_it(bench: Bench) -> None:
    logs = [bench.settings.home / f"{n}.log" for n in range(KEPT_RUNS + 3)]
    for log in logs:
        log.touch()
        run = bench.ledger.begin("hourly", By.CLOCK, MONDAY, MONDAY, log, ME)
        bench.ledger.end(run, State.DONE, 0, MONDAY)

    bench.ledger.trim("hourly")

    assert len(bench.ledger.runs(limit=10_000)) == KEPT_RUNS
    assert [log.exists() for log in logs] == [False] * 3 + [True] * KEPT_RUNS


def test_metrics_say_how_long_ago_a_job_did_well(bench: Bench) -> None:
    bench.clock.now += 2 * HOUR
    since = 'foresend_schedule_seconds_since_last_success{job="hourly"}'
    assert f"{since} 7200.0".encode() in bench.metrics.exposition()

    bench.scheduler.turn()
    bench.clock.now += timedelta(minutes=3)

    told = bench.metrics.exposition().decode()
    assert f"{since} 180.0" in told
    assert 'foresend_schedule_period_seconds{job="hourly"} 3600.0' in told
    assert 'foresend_schedule_runs_total{job="hourly",state="done"} 1.0' in told


def test_the_loop_sleeps_until_the_next_time_but_not_long(bench: Bench) -> None:
    assert seconds_to_next(bench.schedule, MONDAY + timedelta(minutes=59, seconds=57)) == 3.0
    assert seconds_to_next(bench.schedule, MONDAY) == 10.0
    assert seconds_to_next(replace(bench.schedule, jobs={}), MONDAY) == 10.0
