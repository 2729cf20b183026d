"""`stack.json`: which processes run for a home folder, and where they answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from feature_repo.addresses import STACK_FILE
from feature_repo.errors import NotReady
from feature_repo.settings import Settings


@dataclass(frozen=True, slots=True)
class Running:
    """One process; `created` tells it from a later process with the same pid."""

    pid: int
    created: float
    url: str = ""
    state: str = "starting"  #: starting, ready, restarting
    restarts: int = 0

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return process(self) is not None


def process(running: Running) -> psutil.Process | None:
    """The live process, or None when it is gone or its pid now belongs to another one."""
    try:
        found = psutil.Process(running.pid)
        if abs(found.create_time() - running.created) > 1.0:
            return None
        return None if found.status() == psutil.STATUS_ZOMBIE else found
    except psutil.NoSuchProcess:
        return None


def this_process() -> Running:
    """The calling process."""
    return observe(os.getpid())


def observe(pid: int, *, url: str = "", state: str = "starting", restarts: int = 0) -> Running:
    """A process that runs now."""
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        created = 0.0
    return Running(pid, created, url, state, restarts)


@dataclass(frozen=True, slots=True)
class Stack:
    """The whole group."""

    supervisor: Running
    services: dict[str, Running]


def stack_file(settings: Settings) -> Path:
    """Where the state of this installation's stack is kept."""
    return settings.state_path / STACK_FILE


def write_stack(settings: Settings, stack: Stack) -> None:
    """Replace the state in one step: a reader sees the old or the new, never half."""
    path = stack_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(stack), indent=1))
    fresh.replace(path)


def read_stack(settings: Settings) -> Stack | None:
    """The state last written, or None when no stack was left running."""
    try:
        raw = json.loads(stack_file(settings).read_text())
    except FileNotFoundError:
        return None
    services = {name: Running(**fields) for name, fields in raw["services"].items()}
    return Stack(Running(**raw["supervisor"]), services)


@contextmanager
def only_stack(settings: Settings) -> Iterator[None]:
    """Hold the right to run the stack of this home folder.

    Raises:
        NotReady: another process holds it.
    """
    settings.state_path.mkdir(parents=True, exist_ok=True)
    try:
        # The system lets go of the lock when the holder dies, whatever killed it.
        with FileLock(settings.state_path / "stack.lock", timeout=0):
            yield
    except Timeout as exc:
        message = (
            f"A stack already runs for {settings.home}. See it with `foresend status`; stop it "
            "with Ctrl-C where it runs, or set FORESEND_HOME to another folder."
        )
        raise NotReady(message) from exc


def end_orphans(settings: Settings) -> list[str]:
    """End what a killed supervisor left running; the names of what was ended."""
    stack = read_stack(settings)
    if stack is None:
        return []
    orphans = {
        name: child
        for name, running in stack.services.items()
        if (child := process(running)) is not None
    }
    for child in orphans.values():
        child.terminate()
    _, stubborn = psutil.wait_procs(list(orphans.values()), timeout=10)
    for child in stubborn:
        child.kill()
    stack_file(settings).unlink(missing_ok=True)
    return list(orphans)
