"""How the schedule looks on the terminal, and as rows for --json."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.scheduler.jobs import Schedule
from infra.scheduler.ledger import Ledger, Run, State


def job_rows(schedule: Schedule, ledger: Ledger, now: datetime) -> list[dict[str, Any]]:
    """One row per job: its words, its times, its newest run."""
    rows = []
    for job in schedule.jobs.values():
        newest = next(iter(ledger.runs(job.name, limit=1)), None)
        success = ledger.last_success(job.name)
        rows.append(
            {
                "job": job.name,
                "command": " ".join(("foresend", *job.argv)),
                "cron": job.cron,
                "next": job.next_after(now).isoformat(),
                "last_started": None if newest is None else newest.started.isoformat(),
                "last_state": None if newest is None else newest.state.value,
                "last_success": None if success is None else success.isoformat(),
            }
        )
    return rows


def run_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row per run."""
    return [
        {
            "job": run.job,
            "state": run.state.value,
            "exit_code": run.exit_code,
            "by": run.by.value,
            "due": run.due.isoformat(),
            "started": run.started.isoformat(),
            "ended": None if run.ended is None else run.ended.isoformat(),
            "seconds": run.seconds,
            "log": str(run.log),
        }
        for run in runs
    ]


def print_jobs(rows: Sequence[dict[str, Any]]) -> None:
    """Print the jobs as a table."""
    if not rows:
        Console().print("foresend.yaml declares no jobs; docs/schedule.md shows how.")
        return
    table = Table("job", "command", "cron", "next", "last run", "state")
    for row in rows:
        table.add_row(
            row["job"],
            row["command"],
            row["cron"],
            _short(row["next"]),
            _short(row["last_started"]),
            _coloured(row["last_state"]),
        )
    Console().print(table)


def print_runs(rows: Sequence[dict[str, Any]]) -> None:
    """Print the runs as a table, the log of the newest one below."""
    if not rows:
        Console().print("Nothing ran yet.")
        return
    table = Table("job", "state", "code", "by", "due", "started", "took")
    for row in rows:
        table.add_row(
            row["job"],
            _coloured(row["state"]),
            "" if row["exit_code"] is None else str(row["exit_code"]),
            row["by"],
            _short(row["due"]),
            _short(row["started"]),
            _took(row["seconds"]),
        )
    console = Console()
    console.print(table)
    console.print(f"Newest log: {rows[0]['log']}", highlight=False, soft_wrap=True)


def _short(time: str | None) -> str:
    return "" if time is None else f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S}"


def _took(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))


def _coloured(state: str | None) -> str:
    colours = {State.DONE.value: "green", State.FAILED.value: "red", State.RUNNING.value: "cyan"}
    return "" if state is None else f"[{colours.get(state, 'yellow')}]{state}[/]"
