"""Scores a share of the traffic with the challenger too, off the request path.

What the champion used is kept by reference and scored again in a thread of its own, many requests
at a time. Nobody waits for it: when too much waits or the server is busy, batches are dropped and
counted. What it scored goes to whoever offered, for the prediction log (role `shadow`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import mmh3
import numpy as np
import numpy.typing as npt
import structlog

from serving.promotion_metrics import ShadowMetrics
from serving.served import UNUSABLE, Floats, Route, Serving, Texts

MOST_WAITING: Final = 256
"""Batches kept; each holds a micro-batch's matrix, 50 kB for 64 customers."""

EVERY_S: Final = 0.05
"""Between two looks at what waits. Waking the thread for each batch would cost the requests."""

_MOST_ROWS: Final = 64
_BREATH_S: Final = 0.001
_SPAN: Final = float(1 << 32)

Rows = npt.NDArray[np.intp]

Record = Callable[[Serving, Rows, Floats, Floats], None]
"""Called in the shadow's thread with the challenger, the places within the offered batch of the
customers it scored, its matrix (customers, features) and its scores, both in that order."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Offered:
    challenger: Serving
    rows: Rows
    numbers: Floats
    texts: Sequence[Texts]
    record: Record


class Shadow:
    """A bounded queue and a thread."""

    def __init__(
        self, metrics: ShadowMetrics, *, is_busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._metrics = metrics
        self._is_busy = is_busy
        self._waiting: deque[_Offered] = deque()
        self._stopping = threading.Event()
        self._failed: Serving | None = None
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to score."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Score what waits and end the thread; stop it before the prediction log."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._drop_all("stopped")

    def offer(
        self,
        route: Route,
        customer_ids: Sequence[str],
        numbers: Floats,
        texts: Sequence[Texts],
        eligible: npt.NDArray[np.bool_],
        record: Record,
    ) -> int:
        """Keep the route's share of a batch to be scored by its challenger; never waits.

        `numbers` is (NUMBER_ROWS, customers) and `texts` one array per TEXT_ROWS, as the champion
        used them; neither may change afterwards. `eligible` are those the champion scored: they
        are known, and not in the canary. Returns how many customers were taken.
        """
        challenger = route.challenger
        if challenger is None or route.shadow <= 0.0:
            return 0
        limit, salt, place = route.shadow * _SPAN, f"{route.shadow_salt}:", mmh3.hash
        rows = [
            row
            for row, (customer, is_eligible) in enumerate(
                zip(customer_ids, eligible.tolist(), strict=True)
            )
            if is_eligible and place(salt + customer, signed=False) < limit
        ]
        if not rows:
            return 0
        reason = self._no_room()
        if reason is not None:
            self._metrics.dropped(reason, len(rows))
            return 0
        self._waiting.append(_Offered(challenger, np.array(rows), numbers, texts, record))
        return len(rows)

    def _no_room(self) -> str | None:
        if self._stopping.is_set():
            return "stopped"
        if len(self._waiting) >= MOST_WAITING:
            return "full"
        return "busy" if self._is_busy() else None

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self._score_all()
        self._score_all()

    def _score_all(self) -> None:
        while self._waiting:
            if self._is_busy():
                self._drop_all("busy")
                return
            self._score(self._next())
            self._stopping.wait(_BREATH_S)

    def _next(self) -> list[_Offered]:
        """What one challenger is to score at once."""
        taken = [self._waiting.popleft()]
        rows = len(taken[0].rows)
        while self._waiting:
            after = self._waiting[0]
            rows += len(after.rows)
            if after.challenger is not taken[0].challenger or rows > _MOST_ROWS:
                break
            taken.append(self._waiting.popleft())
        return taken

    def _score(self, taken: Sequence[_Offered]) -> None:
        challenger = taken[0].challenger
        count = sum(len(one.rows) for one in taken)
        numbers = np.concatenate([one.numbers[:, one.rows] for one in taken], axis=1)
        columns = zip(*([text[one.rows] for text in one.texts] for one in taken), strict=True)
        try:
            texts = [np.concatenate(parts) for parts in columns]
            matrix = challenger.reader.matrix(numbers, texts)
            scores = challenger.model.score_matrix(matrix)
            start = 0
            for one in taken:
                part = slice(start, start := start + len(one.rows))
                one.record(challenger, one.rows, matrix[part], scores[part])
        except UNUSABLE as exc:
            self._metrics.dropped("failed", count)
            if self._failed is not challenger:
                version = challenger.version
                log.error(
                    "shadow_failed",
                    target=version.target,
                    version=version.number,
                    reason=f"{type(exc).__name__}: {exc}",
                )
            self._failed = challenger
            return
        self._metrics.scored(challenger.version, count)

    def _drop_all(self, reason: str) -> None:
        lost = 0
        while self._waiting:
            lost += len(self._waiting.popleft().rows)
        if lost:
            self._metrics.dropped(reason, lost)
