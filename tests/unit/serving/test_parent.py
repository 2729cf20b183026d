"""The parent of several workers, and its line to them, when something goes wrong once."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Coroutine

import pytest

from feature_repo.errors import ForesendError
from feature_repo.listening import Manners, listen
from serving.admission import parent as parent_module
from serving.admission.channel import Begin, Line, Loaded, Message, Series, encode
from serving.admission.child import Child, start_child
from serving.admission.parent import Parent


class FakeChild:
    """A worker that is ready at once and ends when the test says so."""

    def __init__(self, number: int, serial: int) -> None:
        self.number, self.serial, self.pid, self.code = number, serial, 1, -9
        self.is_loaded, self.is_ready, self.is_accepting = True, True, False
        self.has_ended = asyncio.Event()
        self.given: list[Series] = []
        self.ask: Callable[[FakeChild, int], None] | None = None

    def age_s(self) -> float:
        return 1.0

    def silent_s(self) -> float:
        return 0.0

    def accept(self) -> None:
        self.is_accepting = True

    def leave(self) -> None:
        self.has_ended.set()

    def kill(self) -> None:
        self.has_ended.set()

    def give(self, series: Series) -> None:
        self.given.append(series)

    async def own_series(self, _: float) -> str | None:
        if self.serial == 0:
            raise RuntimeError(self.serial)
        return "a 1"

    async def follow(self, asked: Callable[[FakeChild, int], None], _: object) -> None:
        self.ask = asked
        await self.has_ended.wait()


class World:
    """Children that the parent thinks it starts; `failing` are the starts that do not succeed."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.starts = 0
        self.children: list[FakeChild] = []

    async def start(self, _: Begin, number: int) -> FakeChild:
        self.starts += 1
        if self.starts in self.failing:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.children.append(made := FakeChild(number, len(self.children)))
        return made

    async def until(self, children: int) -> None:
        while sum(child.is_accepting for child in self.children) < children:
            await asyncio.sleep(0.001)


def run(
    case: Callable[[World, Parent], Coroutine[None, None, None]],
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parent_module, "start_child", world.start)
    monkeypatch.setattr(parent_module, "FIRST_BACKOFF_S", 0.01)

    async def within() -> None:
        with listen("127.0.0.1", 0) as listening:
            begin = Begin(
                settings="{}",
                listening=listening.fileno(),
                number=0,
                workers=2,
                insecure_local=True,
            )
            parent = Parent(begin, listening, Manners(shutdown_s=1.0))
            running = asyncio.create_task(parent.run())
            tested = asyncio.create_task(case(world, parent))
            await asyncio.wait({running, tested}, return_when=asyncio.FIRST_COMPLETED)
            if not tested.done():
                tested.cancel()
                await running
                pytest.fail("the parent ended by itself")
            await tested
            signal.raise_signal(signal.SIGTERM)
            await running

    asyncio.run(asyncio.wait_for(within(), 30))


def test_a_worker_that_cannot_be_started_once_is_started_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def case(world: World, _: Parent) -> None:
        await world.until(2)
        world.children[0].has_ended.set()
        await world.until(3)
        assert world.starts == 5

    run(case, World(3, 4), monkeypatch)


def test_a_worker_that_cannot_be_replaced_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(world: World, parent: Parent) -> None:
        await world.until(2)
        signal.raise_signal(signal.SIGHUP)
        while world.starts < 3:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert not any(child.has_ended.is_set() for child in world.children)
        failed = parent.registry.get_sample_value(
            "foresend_serving_worker_replacements_total", {"outcome": "failed"}
        )
        assert failed == 1
        signal.raise_signal(signal.SIGHUP)
        await world.until(4)

    run(case, World(3), monkeypatch)


def test_metrics_that_cannot_be_had_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(world: World, _: Parent) -> None:
        await world.until(2)
        asking = world.children[1]
        assert asking.ask is not None
        asking.ask(asking, 5)
        await asyncio.sleep(0.02)
        world.children[0].has_ended.set()
        await world.until(3)
        asking.ask(asking, 6)
        while not asking.given:
            await asyncio.sleep(0.001)
        assert asking.given[0].ask == 6

    run(case, World(), monkeypatch)


def test_when_no_worker_can_be_started_at_all_the_parent_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def case(_: World, __: Parent) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ForesendError, match="No worker could start"):
        run(case, World(1, 2), monkeypatch)


def test_a_line_that_cannot_be_read_is_passed_over() -> None:
    async def case() -> list[Message]:
        mine, theirs = socket.socketpair()
        line = await Line.over(mine)
        whole = encode(Series(1, "x" * 1_000))
        with theirs:
            theirs.sendall(encode(Loaded()) + b"\xff\n[]\n" + whole + whole[:300])
        heard = [message async for message in line.heard()]
        line.close()
        return heard

    assert asyncio.run(case()) == [Loaded(), Series(1, "x" * 1_000)]


def test_a_worker_that_is_gone_before_it_was_told_anything_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    begin = Begin(settings="x" * 3_000_000, listening=0, number=0, workers=1, insecure_local=True)

    async def case() -> Child:
        child = await start_child(begin, 0)
        await child.follow(lambda *_: None, lambda *_: None)
        return child

    child = asyncio.run(asyncio.wait_for(case(), 30))

    assert child.has_ended.is_set()
    assert child.code == 0
