"""The supervisor with real child processes: small web servers that crash and hang on demand."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from feature_repo.settings import Settings
from infra.stack.ports import free_port
from infra.stack.service import Service
from infra.stack.state import Stack, read_stack, stack_file
from infra.stack.supervisor import Supervisor

pytestmark = pytest.mark.integration

_SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), sys.exit(0)))
print("hello from", sys.argv[2], flush=True)
handler = http.server.SimpleHTTPRequestHandler
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()
"""
_STUBBORN = _SERVER.replace("lambda *_: (print", "lambda *_: (None and print").replace(
    "sys.exit(0))", "None)"
)


def _service(name: str, *, code: str = _SERVER, stop_timeout_s: float = 10.0) -> Service:
    port = free_port(0)
    url = f"http://127.0.0.1:{port}"
    argv = (sys.executable, "-c", code, str(port), name)
    return Service(name=name, argv=argv, url=url, ready_url=url, stop_timeout_s=stop_timeout_s)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.05)


def _ready(settings: Settings, names: set[str]) -> bool:
    stack = read_stack(settings)
    return (
        stack is not None
        and {name for name, running in stack.services.items() if running.state == "ready"} >= names
    )


def _stack(settings: Settings) -> Stack:
    stack = read_stack(settings)
    assert stack is not None
    return stack


async def _run(
    settings: Settings, services: list[Service], during: Callable[[], object]
) -> tuple[int, str]:
    output = io.StringIO()
    console = Console(file=output, width=200)
    task = asyncio.create_task(Supervisor(settings, services, console).run())
    async with asyncio.timeout(60):
        await _until(lambda: _ready(settings, {service.name for service in services}))
        await _until(lambda: "Foresend is up" in output.getvalue())
        result = during()
        if asyncio.iscoroutine(result):
            await result
        os.kill(os.getpid(), signal.SIGTERM)
        return await task, output.getvalue()


def test_logs_carry_their_service_and_a_stop_ends_every_child(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    pids: list[int] = []

    def during() -> None:
        pids.extend(running.pid for running in _stack(settings).services.values())

    code, output = asyncio.run(_run(settings, [_service("one"), _service("two")], during))

    assert code == 0
    assert "one | hello from one" in output
    assert "two | hello from two" in output
    assert output.index("two | bye") < output.index("one | bye")  # reverse starting order
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not stack_file(settings).exists()


def test_a_crashed_child_is_started_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    async def during() -> None:
        os.kill(_stack(settings).services["one"].pid, signal.SIGKILL)
        await _until(lambda: _stack(settings).services["one"].restarts == 1)
        await _until(lambda: _ready(settings, {"one"}))

    code, output = asyncio.run(_run(settings, [_service("one")], during))

    assert code == 0
    assert "one ended with code -9; starts again" in output


def test_a_child_that_ignores_the_stop_is_killed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    stubborn = _service("stubborn", code=_STUBBORN, stop_timeout_s=0.5)

    code, output = asyncio.run(_run(settings, [stubborn], lambda: None))

    assert code == 0
    assert "stubborn did not stop in 0.5 s; killed" in output


def test_the_state_file_is_whole_json_whenever_it_is_read(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)

    def during() -> None:
        assert set(json.loads(stack_file(settings).read_text())) == {"supervisor", "services"}

    asyncio.run(_run(settings, [_service("one")], during))
