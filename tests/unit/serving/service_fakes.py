"""A scoring service over fakes whose scores say whose they are, and a store that can be held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from feature_repo.errors import StoreUnavailable
from serving.answers import Answer
from serving.asks import Ask, AskedCustomer
from serving.attribution import Explanation
from serving.encoder import Columns, Encoder
from serving.last_scores import LastScores
from serving.matrix import MatrixReader
from serving.metrics import Metrics
from serving.prediction_writer import PredictionWriter
from serving.registry import Version
from serving.scoring import Rules
from serving.served import NUMBER_ROWS, TEXT_ROWS, Route, Serving
from serving.service import ScoringService
from serving.shadow import Shadow
from serving.store import MemoryStore, Stored
from serving.tiers import TierPolicy
from serving.watch import ModelWatch, TargetState
from tests.unit.serving.conftest import NOW, TARGET, Clock

Floats = npt.NDArray[np.float64]

CUSTOMERS = 2000
POLICY = TierPolicy(TARGET, "1", "run-1", ("low", "high"), (0.5,), "ann", NOW)


@dataclass(frozen=True)
class EchoModel:
    """Scores `start` + opens_30d / 10,000, so that a customer's score says who they are."""

    start: float = 0.0
    base_rate: float = 0.9
    #: Raised by every call; None: nothing is.
    problem: Exception | None = None
    feature_names: tuple[str, ...] = ("opens_30d", "country", "hours_since_last_open")
    categorical: tuple[str, ...] = ("country",)
    feature_service: str = "send_score_v1"

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.feature_names, {"country": ("DE", "FR")})

    def score_matrix(self, matrix: Floats) -> Floats:
        if self.problem is not None:
            raise self.problem
        return self.start + np.nan_to_num(matrix[:, 0]) / 10_000

    def explain(self, matrix: Floats) -> Explanation:
        """Opens add their part, less a quarter that the country takes away again."""
        part = np.nan_to_num(matrix[:, 0]) / 10_000
        points = np.column_stack([1.25 * part, -0.25 * part, np.zeros(len(matrix))])
        return Explanation(points, self.start, "linear")

    def predict(self, columns: Columns) -> Floats:
        return self.score_matrix(self.encoder.matrix(columns))


@dataclass
class HeldStore:
    """A store of customers c-0, c-1 ... with as many opens; reads wait while it is held."""

    held: bool = False
    reads: list[tuple[int, bool]] = field(default_factory=list)
    down: str | None = None
    broken: Exception | None = None
    _inner: MemoryStore = field(
        default_factory=lambda: MemoryStore(
            customers={
                f"c-{i}": {"opens_30d": float(i), "last_event_at": NOW.timestamp() - i}
                for i in range(CUSTOMERS)
            },
            known_at={f"c-{i}": NOW.timestamp() - 60 for i in range(CUSTOMERS)},
            through=NOW,
        )
    )
    _waiting: list[asyncio.Event] = field(default_factory=list)

    @property
    def known(self) -> MemoryStore:
        return self._inner

    async def read(self, customer_ids: Sequence[str], *, bulk: bool = False) -> Stored:
        self.reads.append((len(customer_ids), bulk))
        if self.held:
            event = asyncio.Event()
            self._waiting.append(event)
            await event.wait()
        else:
            await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        if self.down is not None:
            raise StoreUnavailable(self.down)
        return await self._inner.read(customer_ids)

    @property
    def under_way(self) -> int:
        return len(self._waiting)

    def let_go(self, place: int = 0) -> None:
        """Answer one of the reads that wait."""
        self._waiting.pop(place).set()

    async def ping(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.sleep(0)


@dataclass
class _Watch:
    """What the service asks of a ModelWatch."""

    routes: dict[str, Route | None]
    unavailable: str | None = None

    @property
    def states(self) -> dict[str, TargetState]:
        return {target: TargetState() for target in self.routes}

    def route(self, target: str) -> Route | None:
        return self.routes[target]


def serving(
    number: str = "1", target: str = TARGET, model: EchoModel | None = None, **more: object
) -> Serving:
    used = model or EchoModel()
    reader = MatrixReader(used.encoder, NUMBER_ROWS, TEXT_ROWS)
    policy = cast(TierPolicy | None, more.get("policy"))
    return Serving(Version(target, number, f"run-{number}", ""), used, NOW, reader, policy)


@dataclass
class Bench:
    """One service and everything around it; nothing runs but what a test calls."""

    folder: Path
    routes: dict[str, Route | None] = field(
        default_factory=lambda: {
            TARGET: Route(serving(policy=POLICY)),
            "click_7d": Route(serving(target="click_7d", model=EchoModel(0.5))),
        }
    )
    store: HeldStore = field(default_factory=HeldStore)
    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.0
    busy: bool = False
    with_shadow: bool = False
    queue_rows: int = 100_000
    watch: _Watch = field(init=False)
    metrics: Metrics = field(init=False, default_factory=Metrics)
    predictions: PredictionWriter = field(init=False)
    shadow: Shadow | None = field(init=False, default=None)
    service: ScoringService = field(init=False)

    def __post_init__(self) -> None:
        self.watch = _Watch(self.routes)
        self.predictions = PredictionWriter(
            self.folder / "predictions",
            self.metrics,
            flush_s=3600,
            flush_rows=10**9,
            queue_rows=self.queue_rows,
        )
        is_busy: Callable[[], bool] = lambda: self.busy  # noqa: E731
        if self.with_shadow:
            self.shadow = Shadow(self.metrics.promotion.shadow, is_busy=is_busy)
        self.service = ScoringService(
            watch=cast(ModelWatch, self.watch),
            store=self.store,
            predictions=self.predictions,
            metrics=self.metrics,
            rules=Rules(stale_after_s=3600.0, clock_skew_s=5.0),
            clock=self.clock,
            last_scores=LastScores(10_000),
            shadow=self.shadow,
            is_busy=is_busy,
            monotonic=lambda: self.seconds,
        )

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def ask_of(*customers: int | str, target: str = TARGET, **more: object) -> Ask:
    """A request for c-1, c-2 ..., or for customers by their names."""
    asked = [AskedCustomer(c if isinstance(c, str) else f"c-{c}") for c in customers]
    return Ask(target=target, customers=asked, **more)  # type: ignore[arg-type]


def scores_of(answer: Answer) -> list[float]:
    return [round(row.score, 9) for row in answer.scores]


async def turns(count: int = 10) -> None:
    """Let the event loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)
