"""The shadow: a share of the traffic is scored again, and nobody waits for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from serving.attribution import Explanation
from serving.encoder import Columns, Encoder
from serving.matrix import MatrixReader
from serving.promotion_metrics import ShadowMetrics
from serving.registry import Version
from serving.served import NUMBER_ROWS, TEXT_ROWS, FixedModel, Floats, Model, Route, Serving, Texts
from serving.shadow import MOST_WAITING, Rows, Shadow
from serving.shares import in_share
from tests.unit.serving.conftest import NOW, TARGET


@dataclass(frozen=True)
class Echo(FixedModel):
    """Scores a customer by one stored number, so that rows cannot be mixed up unseen."""

    feature_names: tuple[str, ...] = ("opens_30d", "country")
    breaks: bool = False
    waits_for: threading.Event | None = None

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.feature_names, {"country": ("DE", "FR")})

    def score_matrix(self, matrix: Floats) -> Floats:
        if self.waits_for is not None:
            assert self.waits_for.wait(30)
        if self.breaks:
            message = "it broke"
            raise ValueError(message)
        scores: Floats = matrix[:, 0] / 1000.0
        return scores

    def explain(self, matrix: Floats) -> Explanation:
        return Explanation(np.zeros_like(matrix), 0.0, "linear")

    def predict(self, columns: Columns) -> Floats:
        return self.score_matrix(self.encoder.matrix(columns))


def serving(number: str, model: Model) -> Serving:
    version = Version(TARGET, number, None, "")
    return Serving(version, model, NOW, MatrixReader(model.encoder, NUMBER_ROWS, TEXT_ROWS))


def route(model: Model, share: float = 1.0) -> Route:
    return Route(serving("1", FixedModel()), serving("2", model), shadow=share)


def batch(start: int, customers: int) -> tuple[list[str], Floats, list[Texts]]:
    """Customers start, start + 1, ... whose `opens_30d` is their own number."""
    numbers = np.full((len(NUMBER_ROWS), customers), np.nan)
    numbers[NUMBER_ROWS.index("opens_30d")] = np.arange(start, start + customers)
    texts = [np.full(customers, "FR", dtype=object) for _ in TEXT_ROWS]
    return [f"c-{start + row}" for row in range(customers)], numbers, texts


@dataclass
class Stage:
    """A shadow and what it gave back: score by customer."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    scored: dict[str, float] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)
    busy: bool = False

    def __post_init__(self) -> None:
        self.shadow = Shadow(ShadowMetrics(self.registry), is_busy=lambda: self.busy)

    def offer(self, to: Route, start: int = 0, customers: int = 1, known: bool = True) -> int:
        ids, numbers, texts = batch(start, customers)

        def record(by: Serving, rows: Rows, matrix: Floats, scores: Floats) -> None:
            assert matrix[:, 0].tolist() == [start + row for row in rows.tolist()]
            self.versions.add(by.version.number)
            self.scored |= {
                ids[row]: score for row, score in zip(rows, scores.tolist(), strict=True)
            }

        return self.shadow.offer(to, ids, numbers, texts, np.full(customers, known), record)

    def dropped(self, reason: str) -> float:
        name, labels = "foresend_shadow_dropped_rows_total", {"reason": reason}
        return self.registry.get_sample_value(name, labels) or 0.0

    def counted(self) -> float:
        found = self.registry.get_sample_value("foresend_shadow_rows_total", {"target": TARGET})
        return found or 0.0


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_every_customer_of_many_batches_gets_its_own_score(stage: Stage) -> None:
    to = route(Echo())
    taken = [stage.offer(to, start, count) for start, count in ((0, 1), (1, 3), (4, 64), (68, 30))]
    stage.shadow.start()
    stage.shadow.stop()

    assert taken == [1, 3, 64, 30]
    assert stage.scored == {f"c-{n}": n / 1000.0 for n in range(98)}
    assert stage.versions == {"2"}
    assert stage.counted() == 98.0


def test_only_the_share_chosen_by_hash_is_scored(stage: Stage) -> None:
    to = route(Echo(), share=0.3)
    for start in range(0, 2000, 50):
        stage.offer(to, start, 50)
    stage.shadow.start()
    stage.shadow.stop()

    chosen = {f"c-{n}" for n in range(2000) if in_share(f"c-{n}", to.shadow_salt, 0.3)}
    assert set(stage.scored) == chosen
    assert 500 < len(chosen) < 700


@pytest.mark.parametrize(
    "to",
    [
        Route(serving("1", FixedModel())),
        route(Echo(), share=0.0),
    ],
    ids=["no challenger", "no share"],
)
def test_without_challenger_or_share_nothing_is_kept(stage: Stage, to: Route) -> None:
    assert stage.offer(to, customers=64) == 0


def test_customers_the_champion_did_not_score_are_left_out(stage: Stage) -> None:
    assert stage.offer(route(Echo()), customers=5, known=False) == 0


def test_a_full_queue_drops_and_counts(stage: Stage) -> None:
    to = route(Echo())
    taken = [stage.offer(to, n) for n in range(MOST_WAITING + 3)]

    assert sum(taken) == MOST_WAITING
    assert stage.dropped("full") == 3.0


def test_a_busy_server_drops_and_counts_what_comes_and_what_waits(stage: Stage) -> None:
    to = route(Echo())
    stage.offer(to, 0, 2)
    stage.busy = True
    stage.offer(to, 2, 3)
    stage.shadow.start()
    stage.shadow.stop()

    assert stage.scored == {}
    assert stage.dropped("busy") == 5.0


def test_a_challenger_that_breaks_is_counted_and_the_next_one_scored(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = route(Echo(breaks=True))
    for n in range(3):
        stage.offer(broken, n)
    stage.offer(route(Echo()), 7)
    stage.shadow.start()
    stage.shadow.stop()

    assert stage.scored == {"c-7": 0.007}
    assert stage.dropped("failed") == 3.0
    assert capsys.readouterr().out.count("shadow_failed") == 1


def test_offering_never_waits_for_a_challenger_that_hangs(stage: Stage) -> None:
    go = threading.Event()
    to = route(Echo(waits_for=go))
    stage.shadow.start()

    offered = MOST_WAITING * 2
    taken = sum(stage.offer(to, n) for n in range(offered))
    go.set()
    stage.shadow.stop()

    assert MOST_WAITING <= taken <= MOST_WAITING + 64
    assert stage.dropped("full") == offered - taken
    assert len(stage.scored) == stage.counted() == taken


def test_after_the_stop_nothing_is_taken(stage: Stage) -> None:
    stage.shadow.start()
    stage.shadow.stop()

    assert stage.offer(route(Echo())) == 0
    assert stage.dropped("stopped") == 1.0


def test_a_shadow_that_was_never_started_stops_and_counts(stage: Stage) -> None:
    stage.offer(route(Echo()), 0, 4)

    stage.shadow.stop()

    assert stage.dropped("stopped") == 4.0


def test_the_matrix_the_champion_used_is_kept_by_reference(stage: Stage) -> None:
    ids, numbers, texts = batch(0, 64)
    seen: list[Floats] = []

    def record(by: Serving, rows: Rows, matrix: Floats, scores: Floats) -> None:
        seen.append(matrix)

    # What is offered is not copied: a change before it is scored would be seen.
    stage.shadow.offer(route(Echo()), ids, numbers, texts, np.ones(64, bool), record)
    numbers[NUMBER_ROWS.index("opens_30d")] = 500.0
    stage.shadow.start()
    stage.shadow.stop()

    assert np.all(seen[0][:, 0] == 500.0)
