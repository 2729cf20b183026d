"""The stack as a child process of the demo: started, waited for, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from feature_repo.errors import NotReady
from feature_repo.settings import Settings
from infra.stack.state import Stack, read_stack

START_TIMEOUT_S: Final = 180.0
STOP_TIMEOUT_S: Final = 60.0


@contextmanager
def running_stack(settings: Settings, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`foresend up` in the background, its output in logs/stack.log; stopped at the end.

    `env` is added to its environment.
    """
    logs = settings.home.absolute() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "stack.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "up"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            # Ctrl-C belongs to the demo, which stops the stack in its own time.
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until_ready(settings: Settings, child: subprocess.Popen[bytes]) -> Stack:
    """The stack once every service answers.

    Raises:
        NotReady: the stack ended, or did not become ready in time.
    """
    log = settings.home.absolute() / "logs" / "stack.log"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            message = f"The stack ended with code {child.returncode}; its output is in {log}."
            raise NotReady(message)
        stack = read_stack(settings)
        if stack is not None and _is_up(stack):
            return stack
        time.sleep(0.1)
    message = f"The stack was not ready after {START_TIMEOUT_S:g} s; its output is in {log}."
    raise NotReady(message)


def _is_up(stack: Stack) -> bool:
    """The API starts last: without it the list of services is not complete yet."""
    states = {running.state for running in stack.services.values()}
    return "api" in stack.services and states == {"ready"}
