"""What the recompute role does each round: owed customers at once, machine labels once a minute."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Final

import redis

from feature_repo import online
from feature_repo.ingest.machines.rules import load_rules
from feature_repo.ingest.machines.sweep import sweep
from feature_repo.ingest.settings import load_ingest_settings
from feature_repo.settings import Settings
from feature_repo.stream.metrics import WorkerMetrics
from feature_repo.stream.online_epoch import owed
from feature_repo.stream.queue import open_queue
from feature_repo.stream.recompute import Recompute

SWEEP_EVERY: Final = timedelta(minutes=1)


class Rounds:
    """Calls `recompute` each round, and `sweep` before it when a minute has passed."""

    def __init__(
        self,
        recompute: Callable[[], object],
        sweep: Callable[[], object],
        clock: Callable[[], datetime],
    ) -> None:
        self._recompute = recompute
        self._sweep = sweep
        self._clock = clock
        self._swept_at: datetime | None = None

    def run_once(self) -> None:
        """One round.

        Raises:
            StoreUnavailable: a store does not answer; the next round tries again.
        """
        now = self._clock()
        if self._swept_at is None or now - self._swept_at >= SWEEP_EVERY:
            self._sweep()
            self._swept_at = now
        self._recompute()


def open_rounds(
    settings: Settings,
    client: redis.Redis,
    clock: Callable[[], datetime],
    closing: ExitStack,
    metrics: WorkerMetrics,
) -> Rounds:
    """The rounds of this installation; what they hold open is closed by `closing`.

    Raises:
        ConfigError: a setting or the rules of machine events cannot be used.
        StoreUnavailable: no queue is known, or it does not answer.
    """
    rules = load_rules(load_ingest_settings().machines_path)
    queue = open_queue(settings)
    closing.callback(queue.close)
    publisher = queue.publisher("machines")
    recompute = Recompute(settings, client, clock, queue)

    def pay() -> None:
        recompute.run_once()
        with online.answers():
            waiting = owed(client, settings.project)
        now = clock().timestamp()
        metrics.owed(waiting.customers, max(0.0, now - (waiting.since or now)))

    return Rounds(
        pay,
        lambda: sweep(settings, publisher, clock, rules),
        clock,
    )
