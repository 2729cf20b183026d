"""Why a score is what it is: told when asked, adding up, and left out when there is no time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.answers import Answer, Reasons
from serving.served import Route
from tests.unit.serving.conftest import NOW, TARGET
from tests.unit.serving.service_fakes import Bench, EchoModel, ask_of, serving


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def total(reasons: Reasons) -> float:
    return reasons.base + sum(reason.points for reason in reasons.top) + reasons.other


def ask_together(bench: Bench, *wanted: int) -> list[Answer]:
    async def run() -> list[Answer]:
        asks = [ask_of(100 + i, "nobody", reasons=k) for i, k in enumerate(wanted)]
        return await asyncio.gather(*map(bench.service.score, asks))

    return asyncio.run(run())


def test_each_request_gets_as_many_reasons_as_it_asked_for(bench: Bench) -> None:
    answers = ask_together(bench, 0, 1, 2, 20)

    told = [answer.scores[0].reasons for answer in answers]
    assert told[0] is None
    # The third feature adds nothing, and is therefore no reason.
    assert [None if r is None else len(r.top) for r in told] == [None, 1, 2, 2]
    assert [answer.scores[1].reasons for answer in answers] == [None] * 4
    assert len(bench.store.reads) == 1


def test_reasons_add_up_to_the_score_the_strongest_first(bench: Bench) -> None:
    for answer in ask_together(bench, 1, 2):
        reasons = answer.scores[0].reasons
        assert reasons is not None
        assert total(reasons) == pytest.approx(answer.scores[0].score, abs=1e-9)
        assert [reason.feature for reason in reasons.top] == ["opens_30d", "country"][
            : len(reasons.top)
        ]
        assert reasons.method == "linear"


def test_a_reason_has_the_value_the_model_saw_and_its_age(bench: Bench) -> None:
    bench.store.known.customers["c-100"] = {"opens_30d": 100.0, "country": "FR"}

    (answer,) = ask_together(bench, 2)

    reasons = answer.scores[0].reasons
    assert reasons is not None
    assert [(r.feature, r.value, r.age_s) for r in reasons.top] == [
        ("opens_30d", 100.0, 60.0),
        ("country", "FR", 60.0),
    ]


def test_a_value_that_is_missing_is_none(bench: Bench) -> None:
    (answer,) = ask_together(bench, 2)

    reasons = answer.scores[0].reasons
    assert reasons is not None
    assert (reasons.top[1].feature, reasons.top[1].value) == ("country", None)


def test_a_planned_send_ages_the_reasons(bench: Bench) -> None:
    at = NOW.timestamp() + 600

    answer = asyncio.run(bench.service.score(ask_of(5, send_at=at, reasons=1)))

    reasons = answer.scores[0].reasons
    assert reasons is not None
    assert reasons.top[0].age_s == 660.0


def test_the_challenger_explains_its_own_scores(bench: Bench) -> None:
    challenger = serving("2", model=EchoModel(0.5))
    bench.routes[TARGET] = Route(serving(), challenger, canary=0.5)

    answer = asyncio.run(bench.service.score(ask_of(*range(1, 40), reasons=3)))

    bases = {(row.canary, row.reasons and row.reasons.base) for row in answer.scores}
    assert bases == {(False, 0.0), (True, 0.5)}
    assert all(
        row.reasons is not None and abs(total(row.reasons) - row.score) < 1e-9
        for row in answer.scores
    )


def test_a_large_request_gets_reasons_too(bench: Bench) -> None:
    answer = asyncio.run(bench.service.score(ask_of(*range(1, 101), reasons=1)))

    tops = [row.reasons.top[0].value for row in answer.scores if row.reasons is not None]
    assert tops == [float(i) for i in range(1, 101)]


def test_a_busy_server_leaves_reasons_out_and_counts_them(bench: Bench) -> None:
    bench.busy = True

    answers = ask_together(bench, 0, 3)

    assert [answer.scores[0].reasons for answer in answers] == [None, None]
    assert [answer.scores[0].score for answer in answers] == [0.01, 0.0101]
    assert bench.value("foresend_reasons_left_out_rows_total") == 2.0


def test_without_a_store_there_are_no_reasons(bench: Bench) -> None:
    bench.store.down = "gone"

    answer = asyncio.run(bench.service.score(ask_of(1, reasons=3)))

    assert answer.scores[0].reasons is None
    assert answer.scores[0].degraded is not None
