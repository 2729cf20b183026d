"""What a connector has in hand: of each customer the newest message, and what was acted on."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from serving.routing.connectors.port import Taken
from serving.routing.message import Routed
from serving.routing.messages import epoch_of

REMEMBERED: Final = 100_000
"""Customers of whom it is remembered which message was acted on."""

Key = tuple[str, str]
"""Customer and target; or the message's own id, when every message matters."""


@dataclass
class Held:
    """A message in hand, not acknowledged."""

    taken: Taken
    message: Routed
    #: When it was taken, by the monotonic clock.
    since: float
    #: Not to be sent before, by the monotonic clock.
    due: float = -float("inf")
    tries: int = 0
    #: Of the first try that failed, by the monotonic clock.
    failed_at: float | None = None
    #: The tool took it and has not said what became of it.
    is_pending: bool = False
    #: Comes after it, when the tool has said.
    successor: Held | None = None

    @property
    def expires_at(self) -> float:
        """Epoch seconds."""
        return epoch_of(self.message.expires_at)


@dataclass
class Hand:
    """All messages in hand, and what was acted on before."""

    newest_only: bool
    held: dict[Key, Held] = field(default_factory=dict)
    _acted: OrderedDict[Key, int] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.held) + sum(one.successor is not None for one in self.held.values())

    def ids(self) -> list[str]:
        """What is not to be taken for abandoned."""
        both = [one for held in self.held.values() for one in (held, held.successor)]
        return [one.taken.id for one in both if one is not None]

    def key(self, message: Routed) -> Key:
        """Under which the message is kept."""
        if self.newest_only:
            return message.customer_id, message.target
        return message.id, ""

    def add(self, new: Held) -> tuple[str, Taken | None]:
        """Keep the newer of two; returns what became of it, and what is finished by that."""
        key = self.key(new.message)
        acted = self._acted.get(key)
        if acted is not None and new.message.seq <= acted:
            return ("repeated" if new.message.seq == acted else "older"), new.taken
        current = self.held.get(key)
        if current is None:
            self.held[key] = new
            return "kept", None
        last = current.successor or current
        if new.taken.id in {current.taken.id, last.taken.id}:
            return "repeated", None  # handed out once more; it is in hand
        if new.message.seq <= last.message.seq:
            return ("repeated" if new.message.seq == last.message.seq else "older"), new.taken
        if current.is_pending:
            replaced, current.successor = current.successor, new
            return "superseded" if replaced else "kept", replaced.taken if replaced else None
        # A tool that asked for patience with this customer gets it.
        new.due, new.tries, new.failed_at = current.due, current.tries, current.failed_at
        self.held[key] = new
        return "superseded", current.taken

    def finish(self, one: Held, *, acted: bool) -> None:
        """It is out of hand; its successor is next."""
        key = self.key(one.message)
        if acted:
            self._acted[key] = one.message.seq
            self._acted.move_to_end(key)
            while len(self._acted) > REMEMBERED:
                self._acted.popitem(last=False)
        if one.successor is None:
            del self.held[key]
        else:
            self.held[key] = one.successor
