"""Requests in flight share reads, and nobody gets another's answer."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.answers import Answer
from serving.asks import Ask, AskedCustomer
from serving.batcher import MOST_CUSTOMERS, UNDER_WAY
from serving.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NoModel,
    Overloaded,
    Problem,
    UnknownTarget,
)
from serving.served import Route
from serving.service import MOST_WAITING
from serving.shares import in_share
from tests.unit.serving.conftest import NOW, TARGET
from tests.unit.serving.service_fakes import (
    CUSTOMERS,
    POLICY,
    Bench,
    EchoModel,
    ask_of,
    scores_of,
    serving,
    turns,
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def all_of(bench: Bench, *asks: Ask) -> list[Answer | BaseException]:
    return await asyncio.gather(*map(bench.service.score, asks), return_exceptions=True)


def answered(result: Answer | BaseException) -> Answer:
    assert isinstance(result, Answer), result
    return result


def test_requests_of_one_turn_are_one_read_and_each_gets_its_own(bench: Bench) -> None:
    results = asyncio.run(all_of(bench, *(ask_of(i) for i in range(40))))

    assert [scores_of(answered(r)) for r in results] == [[i / 10_000] for i in range(40)]
    assert bench.store.reads == [(40, False)]


def test_a_batch_has_at_most_64_customers_and_splits_no_request(bench: Bench) -> None:
    asks = [ask_of(*range(start, start + 30)) for start in (0, 100, 200)]

    results = asyncio.run(all_of(bench, *asks))

    assert bench.store.reads == [(60, False), (30, False)]
    assert scores_of(answered(results[2])) == [i / 10_000 for i in range(200, 230)]


def test_targets_share_a_read_and_not_a_model(bench: Bench) -> None:
    results = asyncio.run(
        all_of(bench, ask_of(1), ask_of(2, target="click_7d"), ask_of(3, "nobody"))
    )

    one, two, three = map(answered, results)
    assert bench.store.reads == [(4, False)]
    assert scores_of(one) == [0.0001]
    assert scores_of(two) == [0.5002]
    assert scores_of(three) == [0.0003, 0.9]
    assert (one.target, two.target) == (TARGET, "click_7d")
    assert (one.tier_policy is None, two.tier_policy is None) == (False, True)
    assert [row.tier for row in three.scores] == ["low", "high"]


def test_what_arrives_while_a_batch_is_under_way_is_gathered_into_one(bench: Bench) -> None:
    async def run() -> None:
        # Whatever was answered before.
        await all_of(bench, *(ask_of(i) for i in range(100)))
        bench.store.reads.clear()
        bench.store.held = True
        tasks = []
        for customer in range(20):
            tasks.append(asyncio.create_task(bench.service.score(ask_of(customer))))
            await turns(3)
        assert bench.store.under_way == UNDER_WAY
        bench.store.let_go()
        await turns()
        assert bench.store.reads == [*[(1, False)] * UNDER_WAY, (20 - UNDER_WAY, False)]
        while bench.store.under_way:
            bench.store.let_go()
        results = await asyncio.gather(*tasks)
        assert [scores_of(r) for r in results] == [[i / 10_000] for i in range(20)]

    asyncio.run(run())


def test_a_full_batch_waits_for_no_other(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        tasks = [asyncio.create_task(bench.service.score(ask_of(1)))]
        await turns(3)
        tasks.append(asyncio.create_task(bench.service.score(ask_of(2))))
        await turns(3)
        tasks.append(asyncio.create_task(bench.service.score(ask_of(*range(MOST_CUSTOMERS)))))
        await turns(3)
        assert bench.store.reads == [(1, False), (1, False), (64, False)]
        while bench.store.under_way:
            bench.store.let_go()
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_a_read_that_hangs_holds_others_back_a_moment_only(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        stuck = []
        for customer in range(UNDER_WAY):
            stuck.append(asyncio.create_task(bench.service.score(ask_of(customer))))
            await turns(3)
        bench.store.held = False
        assert scores_of(await bench.service.score(ask_of(3))) == [0.0003]
        assert bench.store.under_way == UNDER_WAY
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        while bench.store.under_way:
            bench.store.let_go()
        await turns()

    asyncio.run(run())


# What one caller does: customers, loop turns before asking, whether it goes away again.
CALLS = st.lists(
    st.tuples(
        st.lists(st.integers(0, CUSTOMERS - 1), min_size=1, max_size=90),
        st.integers(0, 4),
        st.booleans(),
        st.sampled_from([TARGET, "click_7d"]),
    ),
    min_size=1,
    max_size=20,
)


@given(calls=CALLS, order=st.randoms(use_true_random=False))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_answers_are_never_mixed_up(calls: list, order, tmp_path: Path) -> None:  # type: ignore[no-untyped-def, type-arg]
    bench = Bench(tmp_path)
    bench.store.held = True

    async def call(customers: list[int], wait: int, target: str) -> None:
        await turns(wait)
        answer = await bench.service.score(ask_of(*customers, target=target, request_id=str(wait)))
        start = 0.5 if target == "click_7d" else 0.0
        assert scores_of(answer) == [round(start + i / 10_000, 9) for i in customers]
        assert [row.customer_id for row in answer.scores] == [f"c-{i}" for i in customers]
        assert (answer.target, answer.request_id) == (target, str(wait))

    async def run() -> None:
        tasks = [
            asyncio.create_task(call(customers, wait, target))
            for customers, wait, _, target in calls
        ]
        await turns(3)
        for task, (*_, goes_away, _) in zip(tasks, calls, strict=True):
            if goes_away:
                task.cancel()
        while not all(task.done() for task in tasks):
            await turns(1)
            while bench.store.under_way:
                bench.store.let_go(order.randrange(bench.store.under_way))
            await asyncio.sleep(0.0005)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError)

    asyncio.run(run())


def test_a_failure_fails_every_request_of_its_batch_and_no_other(bench: Bench) -> None:
    async def run() -> None:
        bench.store.broken = RuntimeError("broken")
        results = await all_of(bench, ask_of(1), ask_of(2))
        assert [str(result) for result in results] == ["broken", "broken"]
        bench.store.broken = None
        assert scores_of(await bench.service.score(ask_of(3))) == [0.0003]

    asyncio.run(run())


def test_a_model_that_breaks_fails_its_own_target_only(bench: Bench) -> None:
    bench.routes["click_7d"] = Route(
        serving(target="click_7d", model=EchoModel(problem=ValueError("bad tree")))
    )

    results = asyncio.run(all_of(bench, ask_of(1), ask_of(2, target="click_7d"), ask_of(3)))

    assert isinstance(results[1], ValueError)
    assert scores_of(answered(results[0])) + scores_of(answered(results[2])) == [0.0001, 0.0003]


@pytest.mark.parametrize("newest", [math.inf, -math.inf, 1e300, 1e13, -1e12, 0.0])
def test_a_time_that_cannot_be_is_none_and_spoils_no_batch(bench: Bench, newest: float) -> None:
    bench.store.known.customers["c-1"] = {"opens_30d": 1.0, "last_event_at": newest}

    one, two = map(answered, asyncio.run(all_of(bench, ask_of(1), ask_of(2))))

    assert scores_of(one) + scores_of(two) == [0.0001, 0.0002]
    assert (one.scores[0].as_of, one.scores[0].age_s) == (None, None)
    assert two.scores[0].as_of == "2026-11-24T11:59:58Z"
    assert bench.store.reads == [(2, False)]


@dataclass(frozen=True)
class Delicate(EchoModel):
    """Fails at any customer of so many opens."""

    opens: float = 13.0

    def score_matrix(self, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if (matrix[:, 0] == self.opens).any():
            raise FloatingPointError
        return super().score_matrix(matrix)


def test_a_customer_that_a_model_fails_at_fails_its_own_request_only(bench: Bench) -> None:
    bench.routes[TARGET] = Route(serving(model=Delicate()))

    results = asyncio.run(all_of(bench, ask_of(1, 2), ask_of(12, 13), ask_of(3)))

    assert isinstance(results[1], FloatingPointError)
    assert scores_of(answered(results[0])) == [0.0001, 0.0002]
    assert scores_of(answered(results[2])) == [0.0003]
    # The others were answered, counted and logged once.
    assert bench.store.reads == [(5, False)]
    assert bench.value("foresend_prediction_log_queue_rows") == 3.0
    assert bench.value("foresend_scored_rows_total", target=TARGET) == 3.0


def test_a_canary_is_logged_once_though_the_champion_fails_at_another(bench: Bench) -> None:
    challenger = serving("2", model=EchoModel(0.5))
    salt = Route(serving(), challenger).canary_salt
    bad = next(i for i in range(20) if not in_share(f"c-{i}", salt, 0.5))
    champion = serving(model=Delicate(opens=float(bad)))
    bench.routes[TARGET] = Route(champion, challenger, canary=0.5)

    results = asyncio.run(all_of(bench, *map(ask_of, range(20))))

    given = [result for result in results if isinstance(result, Answer)]
    canary = sum(row.canary for answer in given for row in answer.scores)
    assert len(given) == 19
    assert 0 < canary < 19
    assert bench.value("foresend_canary_rows_total", target=TARGET) == canary
    assert bench.value("foresend_prediction_log_queue_rows") == 19.0


def test_a_batch_that_is_cancelled_cancels_who_waits_for_it(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        waiting = asyncio.create_task(bench.service.score(ask_of(1)))
        await turns(3)
        (batch,) = bench.service._batcher._under_way
        batch.cancel()
        assert isinstance(
            (await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError
        )

    asyncio.run(run())


def test_a_late_request_is_dropped_before_any_work(bench: Bench) -> None:
    bench.seconds = 10.0

    results = asyncio.run(
        all_of(bench, ask_of(1, deadline=10.0), ask_of(2, deadline=10.1), ask_of(3))
    )

    assert isinstance(results[0], DeadlineExceeded)
    assert bench.store.reads == [(2, False)]
    assert scores_of(answered(results[1])) == [0.0002]
    assert bench.value("foresend_deadline_exceeded_requests_total") == 1.0


def test_a_request_whose_deadline_passes_during_the_read_is_not_logged(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        late = asyncio.create_task(bench.service.score(ask_of(1, 2, deadline=5.0)))
        kept = asyncio.create_task(bench.service.score(ask_of(3)))
        await turns(3)
        bench.seconds = 6.0
        bench.store.let_go()
        with pytest.raises(DeadlineExceeded):
            await late
        assert scores_of(await kept) == [0.0003]
        assert bench.value("foresend_prediction_log_queue_rows") == 1.0
        assert bench.value("foresend_scored_rows_total", target=TARGET) == 1.0

    asyncio.run(run())


def test_a_caller_who_has_gone_is_not_logged(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        gone = asyncio.create_task(bench.service.score(ask_of(1)))
        kept = asyncio.create_task(bench.service.score(ask_of(2)))
        await turns(3)
        gone.cancel()
        await turns(1)
        bench.store.let_go()
        assert scores_of(await kept) == [0.0002]
        assert bench.value("foresend_prediction_log_queue_rows") == 1.0

    asyncio.run(run())


UNUSABLE = [
    ask_of(),
    ask_of(*range(1001)),
    ask_of(1, reasons=21),
    ask_of(1, reasons=-1),
    ask_of(1, send_at=float("nan")),
    ask_of(1, send_at=1e30),
    ask_of(""),
    ask_of("x" * 257),
    # Half of a pair: it cannot be written as UTF-8, and would fail the read of all others.
    ask_of("\ud800"),
    Ask(target=TARGET, customers=[AskedCustomer("c-1", campaign_id="\udfff")]),
    Ask(target=TARGET, customers=[AskedCustomer("c-1", utc_offset_minutes=10**400)]),
]


@pytest.mark.parametrize("bad", UNUSABLE, ids=range(len(UNUSABLE)))
def test_a_request_that_would_spoil_a_batch_is_refused(bench: Bench, bad: Ask) -> None:
    results = asyncio.run(all_of(bench, bad, ask_of(1)))

    assert isinstance(results[0], InvalidRequest)
    assert scores_of(answered(results[1])) == [0.0001]


@pytest.mark.parametrize(
    ("target", "problem"), [("purchase_3d", UnknownTarget), ("open_1d", NoModel)]
)
def test_a_target_without_a_model_is_told(
    bench: Bench, target: str, problem: type[Problem]
) -> None:
    bench.routes["open_1d"] = None

    with pytest.raises(problem, match=target):
        asyncio.run(bench.service.score(ask_of(1, target=target)))


def test_more_customers_than_can_wait_are_refused_and_room_is_given_back(bench: Bench) -> None:
    async def run() -> None:
        bench.store.held = True
        room = MOST_WAITING // 64
        waiting = [
            asyncio.create_task(bench.service.score(ask_of(*range(64)))) for _ in range(room)
        ]
        await turns(3)
        with pytest.raises(Overloaded):
            await bench.service.score(ask_of(1))
        bench.store.held = False
        while bench.store.under_way:
            bench.store.let_go()
        await asyncio.gather(*waiting)
        assert scores_of(await bench.service.score(ask_of(1))) == [0.0001]

    asyncio.run(run())


def test_without_a_moment_it_is_now_and_with_one_it_is_that(bench: Bench) -> None:
    at = NOW.timestamp() + 3600

    results = asyncio.run(all_of(bench, ask_of(7), ask_of(7, send_at=at)))

    now, later = map(answered, results)
    assert (now.send_at, later.send_at) == ("2026-11-24T12:00:00Z", "2026-11-24T13:00:00Z")
    assert (now.scores[0].age_s, later.scores[0].age_s) == (7.0, 3607.0)
    assert now.scores[0].as_of == later.scores[0].as_of == "2026-11-24T11:59:53Z"
    assert now.tier_policy is not None
    assert now.tier_policy.model_version == POLICY.model_version


def test_an_offset_of_the_request_replaces_the_stored_one_of_that_customer(bench: Bench) -> None:
    model = EchoModel(feature_names=("utc_offset_minutes", "country"))
    bench.routes[TARGET] = Route(serving(model=model))
    bench.store.known.customers["c-1"] = {"utc_offset_minutes": 120.0}
    asked = [AskedCustomer("c-1"), AskedCustomer("c-1", utc_offset_minutes=60)]

    answer = asyncio.run(bench.service.score(Ask(target=TARGET, customers=asked)))

    assert scores_of(answer) == [0.012, 0.006]
