from __future__ import annotations

import pytest

from feature_repo.errors import QueueFull
from feature_repo.stream.queue_gate import LOOK_EVERY_BYTES, LOOK_EVERY_S, Gate


class Sight:
    """Fullness as a test sets it, and how often it was asked for; and a clock."""

    def __init__(self) -> None:
        self.fullness = 0.0
        self.asked = 0
        self.now = 0.0
        self.gate = Gate(self._look, monotonic=lambda: self.now)

    def _look(self) -> float:
        self.asked += 1
        return self.fullness

    def later(self, fullness: float) -> None:
        self.fullness = fullness
        self.now += LOOK_EVERY_S


def test_the_gate_closes_at_full_and_opens_only_with_room() -> None:
    sight = Sight()
    sight.gate.admit(1)

    sight.later(1.0)
    with pytest.raises(QueueFull, match="100%"):
        sight.gate.admit(1)
    sight.later(0.95)
    with pytest.raises(QueueFull):
        sight.gate.admit(1)
    sight.later(0.89)

    sight.gate.admit(1)


def test_the_queue_is_not_asked_for_each_message_but_after_many_bytes() -> None:
    sight = Sight()

    for _ in range(10):
        sight.gate.admit(1)
    assert sight.asked == 1
    sight.gate.admit(LOOK_EVERY_BYTES)
    sight.gate.admit(1)

    assert sight.asked == 2
