"""The loop of a connector: take, leave out what is of no use, deliver, acknowledge last.

Whatever is in hand is not acknowledged, so a death at any point loses nothing. What is finished is
acknowledged together, the older of two messages never after the newer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from feature_repo.deliverability.patience import Pace
from serving.routing import messages
from serving.routing.connectors.held import Hand, Held
from serving.routing.connectors.metrics import ConnectorMetrics
from serving.routing.connectors.pacing import Circuit, wait_s
from serving.routing.connectors.port import Connector, Fate, Outcome, Source, Taken
from serving.routing.connectors.settings import ConnectorSettings

IDLE_S: Final = 0.5
"""How long a round waits for messages when there is nothing to do."""

KEEP_EVERY_S: Final = 10.0
LEAST_HELD: Final = 2_000
"""Messages in hand from which on none is taken; twice a batch, if that is more."""

ALONE_AFTER: Final = 4
"""Failed tries of a message after which it is sent in a call of its own."""

MOST_TRIES: Final = 12
"""Failed tries of a message before it is buried, if others got through meanwhile."""

MOST_DELIVERIES: Final = 20
"""Times that a message may be handed out by the queue, to processes that died."""

_GROWTH: Final = 20
"""After failures batches grow to their full size in so many steps."""

log = structlog.get_logger()


@dataclass
class Deliverer:
    """Delivers the messages of one source through one connector. Used by one thread."""

    settings: ConnectorSettings
    connector: Connector
    source: Source
    pace: Pace
    metrics: ConnectorMetrics
    _hand: Hand = field(init=False)
    _circuit: Circuit = field(init=False)
    _done: list[str] = field(default_factory=list)
    _dead: list[tuple[Taken, str]] = field(default_factory=list)
    #: Most messages of the next batch.
    _size: int = field(init=False)
    _reason: str = ""
    _succeeded_at: float = -float("inf")
    _kept_at: float = -float("inf")

    def __post_init__(self) -> None:
        self._hand = Hand(self.settings.newest_only)
        self._circuit = Circuit(self.pace.monotonic, self.pace.chance)
        self._size = self.connector.most
        self.metrics.known(self.settings.name)

    def run_once(self) -> None:
        """One round; waits a moment when there is nothing to do.

        Raises:
            StoreUnavailable: the queue does not answer; the next round goes on where this one was.
        """
        self.settle()
        self._take()
        self._drop_expired()
        batch = self._ready()
        if batch:
            self._deliver(batch)
        self.settle()
        is_open = self._circuit.is_open
        self.metrics.state(self.settings.name, held=len(self._hand), is_open=is_open)

    @property
    def in_hand(self) -> int:
        """Messages that are not acknowledged."""
        return len(self._hand)

    @property
    def trouble(self) -> str | None:
        """Why it does not get on, as one sentence; None when it does."""
        if not self._circuit.is_open:
            return None
        name, waiting = self.settings.name, len(self._hand)
        return f"Connector {name} does not get through: {self._reason} ({waiting} messages wait)."

    def settle(self) -> None:
        """Bury and acknowledge what is finished.

        Raises:
            StoreUnavailable: the queue does not answer.
        """
        while self._dead:
            taken, reason = self._dead[0]
            self.source.bury(taken, reason)
            self._done.append(taken.id)
            del self._dead[0]
        if self._done:
            self.source.ack(self._done)
            self._done.clear()

    def _take(self) -> None:
        now = self.pace.monotonic()
        if now - self._kept_at > KEEP_EVERY_S and self._hand.held:
            self.source.keep(self._hand.ids())
            self._kept_at = now
        room = max(LEAST_HELD, 2 * self.connector.most) - len(self._hand)
        pause = self._pause(now)
        if room <= 0:
            self.pace.sleep(pause)
            return
        for taken in self.source.take(room, pause):
            self._sort(taken)

    def _pause(self, now: float) -> float:
        """Seconds that there is nothing to do, up to `IDLE_S`."""
        if not self._hand.held:
            return IDLE_S
        waits = [max(one.due - now, 0.0) for one in self._hand.held.values()]
        ready = [one for one in self._hand.held.values() if one.due <= now]
        return min(IDLE_S, max(min(waits), self._circuit.wait_s(), self._linger(ready, now)))

    def _sort(self, taken: Taken) -> None:
        """Keep a message, or see that it is finished."""
        if taken.deliveries > MOST_DELIVERIES and taken.id not in self._hand.ids():
            times = taken.deliveries - 1
            self._bury(taken, f"handed out {times} times, and whoever had it died")
            return
        try:
            message = messages.unpack(taken.body)
            held = Held(taken, message, since=self.pace.monotonic())
            is_late = held.expires_at <= self.pace.clock().timestamp()
        except (msgspec.DecodeError, ValueError) as exc:
            self._bury(taken, f"no message of ours ({type(exc).__name__})")
            return
        if message.target not in self.settings.targets:
            self._drop(taken, "other_target")
        elif is_late:
            self._drop(taken, "expired")
        else:
            what, finished = self._hand.add(held)
            if finished is not None:
                self._drop(finished, what)

    def _drop_expired(self) -> None:
        now = self.pace.clock().timestamp()
        for held in [one for one in self._hand.held.values() if one.expires_at <= now]:
            if not held.is_pending:
                self._hand.finish(held, acted=False)
                self._drop(held.taken, "expired")

    def _ready(self) -> list[Held]:
        """What may be sent now: a batch, or one message: whatever failed in company goes alone,
        so that it drags nobody along."""
        if self._circuit.wait_s() > 0.0:
            return []
        now = self.pace.monotonic()
        ready = [one for one in self._hand.held.values() if one.due <= now]
        if self._circuit.is_open:
            # Not the one that it may have opened for, if there is another.
            return sorted(ready, key=lambda one: one.tries)[:1]
        if alone := [one for one in ready if one.tries >= ALONE_AFTER]:
            return alone[:1]
        return [] if self._linger(ready, now) > 0.0 else ready[: self._size]

    def _linger(self, ready: Sequence[Held], now: float) -> float:
        """Seconds that a batch is still waited for to become larger."""
        is_fresh = all(one.tries == 0 and not one.is_pending for one in ready)
        if not ready or not is_fresh or len(ready) >= self._size:
            return 0.0
        return min(one.since for one in ready) + self.settings.linger_s - now

    def _deliver(self, batch: Sequence[Held]) -> None:
        began = self.pace.monotonic()
        outcomes = self.connector.deliver([one.message for one in batch])
        now = self.pace.monotonic()
        self.metrics.round(self.settings.name, now - began)
        # Customers that are unknown say nothing about the tool, which was perhaps not called.
        failed = [one for one in outcomes if one.fate is not Fate.UNKNOWN and not one.got_through]
        if any(one.got_through for one in outcomes):
            self._some_got_through(now)
        elif failed:
            self._none_got_through(failed)
        for held, outcome in zip(batch, outcomes, strict=True):
            self._conclude(held, outcome, now)
        if again := sum(one.fate is Fate.RETRY for one in outcomes):
            self.metrics.retried(self.settings.name, again)

    def _none_got_through(self, failed: Sequence[Outcome]) -> None:
        # A tool may fail at a batch that is too large for it, or at one message in it.
        sent = sum(one.fate is Fate.RETRY for one in failed)
        if sent > 1:
            self._size = sent // 2
        was_open = self._circuit.is_open
        self._reason = failed[0].reason
        self._circuit.failed(max((one.after_s or 0.0 for one in failed), default=0.0))
        if self._circuit.is_open and not was_open:
            log.warning("connector_stopped", connector=self.settings.name, why=self._reason)

    def _some_got_through(self, now: float) -> None:
        self._succeeded_at = now
        most = self.connector.most
        self._size = min(most, self._size + max(1, most // _GROWTH))
        if self._circuit.is_open:
            log.info("connector_goes_on", connector=self.settings.name, held=len(self._hand))
            for one in self._hand.held.values():
                if not one.is_pending:
                    one.due, one.tries = now, min(one.tries, 1)
        self._circuit.succeeded()

    def _conclude(self, held: Held, outcome: Outcome, now: float) -> None:
        held.is_pending = outcome.fate is Fate.PENDING
        if held.is_pending:
            held.due = now + (outcome.after_s or IDLE_S)
        elif outcome.fate is Fate.RETRY:
            self._try_again(held, outcome, now)
        elif outcome.fate is Fate.DEAD:
            self._hand.finish(held, acted=False)
            self._bury(held.taken, outcome.reason)
        else:
            self._hand.finish(held, acted=True)
            if outcome.fate is Fate.DELIVERED:
                delay = (self.pace.clock() - held.taken.published_at).total_seconds()
                self.metrics.delivered(self.settings.name, max(0.0, delay))
                self._done.append(held.taken.id)
            else:
                self._drop(held.taken, "unknown")

    def _try_again(self, held: Held, outcome: Outcome, now: float) -> None:
        held.tries += 1
        held.failed_at = now if held.failed_at is None else held.failed_at
        # While the circuit is open, its waits are enough.
        wait = wait_s(held.tries, self.pace.chance, outcome.after_s)
        held.due = now if self._circuit.is_open else now + wait
        if held.tries >= MOST_TRIES and self._succeeded_at > held.failed_at:
            self._hand.finish(held, acted=False)
            self._bury(held.taken, f"{held.tries} tries failed while others got through: "
                                   f"{outcome.reason}")  # fmt: skip
        elif held.successor is not None:
            # The tool has neither: the newer one is what it needs.
            self._drop(held.taken, "superseded")
            held.successor.due, held.successor.tries = held.due, held.tries
            self._hand.finish(held, acted=False)

    def _drop(self, taken: Taken, fate: str) -> None:
        self._done.append(taken.id)
        self.metrics.fate(self.settings.name, fate)

    def _bury(self, taken: Taken, reason: str) -> None:
        self._dead.append((taken, reason))
        self.metrics.fate(self.settings.name, "dead")
        log.error("connector_buried", connector=self.settings.name, why=reason)
