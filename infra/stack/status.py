"""What runs now, as opposed to what the state file last said."""

from __future__ import annotations

import asyncio
from typing import TypedDict

from feature_repo.settings import Settings
from infra.stack.state import read_stack
from infra.stack.supervisor import is_ready


class ServiceStatus(TypedDict):
    """One row of `foresend status`."""

    name: str
    url: str
    pid: int
    state: str
    restarts: int
    answers: bool


def services_status(settings: Settings) -> list[ServiceStatus]:
    """Each service of the running stack, asked now; empty when no stack runs."""
    stack = read_stack(settings)
    if stack is None or not stack.supervisor.alive:
        return []
    rows: list[ServiceStatus] = []
    for name, running in stack.services.items():
        ready_url = {"mlflow": f"{running.url}/health", "api": f"{running.url}/healthz"}.get(name)
        answers = running.alive and asyncio.run(is_ready(running.url, ready_url))
        rows.append(
            ServiceStatus(
                name=name,
                url=running.url,
                pid=running.pid,
                state=running.state if running.alive else "down",
                restarts=running.restarts,
                answers=answers,
            )
        )
    return rows
