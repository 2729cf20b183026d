"""Parts of a round: one that cannot go on does not stop the other."""

from __future__ import annotations

import itertools

import pytest

from feature_repo.errors import StoreUnavailable
from serving.routing.turns import LONGEST_S, Part, Turns


class World:
    """Two parts, either of which may be broken, and a clock."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.calls: list[str] = []
        self.now = 0.0
        self.stopped: dict[str, bool] = {}
        parts = [Part(name, lambda name=name: self.work(name)) for name in ("first", "second")]  # type: ignore[misc]  # bound early
        self.turns = Turns(parts, lambda: self.now, self.stopped.__setitem__)

    def work(self, name: str) -> int:
        self.calls.append(name)
        if name in self.broken:
            raise StoreUnavailable(name)
        return 1


def test_a_part_that_fails_waits_longer_each_time_and_the_other_goes_on() -> None:
    world = World()
    world.broken = {"first"}
    tried: list[float] = []
    for _ in range(4_000):
        before = world.calls.count("first")
        assert world.turns.take() == 1
        if world.calls.count("first") > before:
            tried.append(world.now)
        world.now += 0.01

    gaps = [later - sooner for sooner, later in itertools.pairwise(tried)]
    assert world.calls.count("second") == 4_000
    assert gaps[0] == pytest.approx(0.1, abs=0.02)
    assert max(gaps) == pytest.approx(LONGEST_S, abs=0.02)
    assert gaps[-1] == pytest.approx(LONGEST_S, abs=0.02)
    assert world.stopped == {"first": True, "second": False}


def test_a_part_that_gets_on_again_has_its_turn_in_each_round() -> None:
    world = World()
    world.broken = {"second"}
    world.turns.take()
    world.broken = set()
    world.now += 0.2

    assert world.turns.take() == 2
    assert world.turns.take() == 2
    assert world.stopped == {"first": False, "second": False}


def test_when_no_part_gets_on_the_caller_is_told_and_all_are_tried_again() -> None:
    world = World()
    world.broken = {"first", "second"}
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="second"):
            world.turns.take()

    assert world.calls == ["first", "second"] * 3
