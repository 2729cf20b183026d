"""Starts the services, shows their logs, restarts what crashes, stops all of them cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from typing import Final
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feature_repo.settings import Settings
from infra.stack.ports import accepts
from infra.stack.service import Service, child_environment
from infra.stack.state import (
    Running,
    Stack,
    observe,
    stack_file,
    this_process,
    write_stack,
)

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0
STEADY_AFTER_S: Final = 60.0
"""A service that ran this long has recovered: its next crash starts from the first back-off."""

_COLOURS: Final = ("red", "blue", "green", "magenta", "yellow", "cyan")
_LONGEST_LINE: Final = 1 << 20


class Supervisor:
    """One group of processes for one home folder."""

    def __init__(self, settings: Settings, services: list[Service], console: Console) -> None:
        self._settings = settings
        self._services = services
        self._console = console
        self._processes: dict[str, Process] = {}
        self._running: dict[str, Running] = {}
        self._stopping = asyncio.Event()
        self._me = this_process()

    async def run(self) -> int:
        """Run until SIGINT or SIGTERM; 0 after a clean stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        tasks = [asyncio.create_task(self._keep(service)) for service in self._services]
        tasks.append(asyncio.create_task(self._announce()))
        await self._stopping.wait()
        self._say("stopping")
        await self._stop_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stack_file(self._settings).unlink(missing_ok=True)
        self._say("stopped")
        return 0

    async def _keep(self, service: Service) -> None:
        """Start a service, and again whenever it ends, until the stack stops."""
        backoff = FIRST_BACKOFF_S
        restarts = 0
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            code = await self._run_once(service, restarts)
            if self._stopping.is_set():
                return
            if asyncio.get_running_loop().time() - started > STEADY_AFTER_S:
                backoff = FIRST_BACKOFF_S
            self._say(f"{service.name} ended with code {code}; starts again in {backoff:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_S)
            restarts += 1

    async def _run_once(self, service: Service, restarts: int) -> int:
        child = await asyncio.create_subprocess_exec(
            *service.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env=child_environment(service),
            cwd=service.cwd,
            # A group of its own: Ctrl-C reaches only us, and we stop the rest in order.
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        self._processes[service.name] = child
        self._note(service, child.pid, "starting", restarts)
        probe = asyncio.create_task(self._probe(service, child.pid, restarts))
        try:
            await self._show_log(service, child)
            return await child.wait()
        finally:
            probe.cancel()

    async def _probe(self, service: Service, pid: int, restarts: int) -> None:
        while not await is_ready(service.url, service.ready_url):
            await asyncio.sleep(0.2)
        self._note(service, pid, "ready", restarts)

    async def _show_log(self, service: Service, child: Process) -> None:
        assert child.stdout is not None
        colour = _COLOURS[self._services.index(service) % len(_COLOURS)]
        logs = self._settings.home.absolute() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{service.name}.log").open("ab") as log:
            async for line in child.stdout:
                log.write(line)
                log.flush()
                text = Text(f"{service.name:>9} | ", style=colour)
                text.append(line.decode(errors="replace").rstrip(), style="default")
                self._console.print(text, soft_wrap=True)

    async def _announce(self) -> None:
        """Show the links once everything is ready."""
        while not self._all_ready():
            await asyncio.sleep(0.1)
        table = Table("service", "address", title="Foresend is up", title_justify="left")
        for service in self._services:
            table.add_row(service.name, service.url)
        self._console.print(table)

    def _all_ready(self) -> bool:
        states = [running.state for running in self._running.values()]
        return len(states) == len(self._services) and set(states) == {"ready"}

    async def _stop_all(self) -> None:
        """In reverse starting order, so that nobody loses what it still needs to finish."""
        for service in reversed(self._services):
            child = self._processes.get(service.name)
            if child is None or child.returncode is not None:
                continue
            signal_group(child.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), service.stop_timeout_s)
            except TimeoutError:
                self._say(f"{service.name} did not stop in {service.stop_timeout_s:g} s; killed")
                signal_group(child.pid, signal.SIGKILL)
                await child.wait()

    def _note(self, service: Service, pid: int, state: str, restarts: int) -> None:
        self._running[service.name] = observe(pid, url=service.url, state=state, restarts=restarts)
        write_stack(self._settings, Stack(self._me, dict(self._running)))

    def _say(self, text: str) -> None:
        self._console.print(Text(f"{'stack':>9} | {text}", style="bold"))


async def is_ready(url: str, ready_url: str | None) -> bool:
    """Whether a service answers."""
    if ready_url is None:
        parts = urlsplit(url)
        return await asyncio.to_thread(accepts, parts.hostname or "", parts.port or 0)
    try:
        async with httpx.AsyncClient(timeout=2.0) as client:
            return (await client.get(ready_url)).status_code < 500
    except httpx.HTTPError:
        return False


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child and what it started; nothing happens when they are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
