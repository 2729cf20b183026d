"""The challenger answers its share, scores another unseen, and can harm nobody."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from feature_repo.settings import Settings
from serving.prediction_log import read_predictions
from serving.served import Route
from serving.shares import in_share
from tests.unit.serving.conftest import NOW, TARGET
from tests.unit.serving.service_fakes import POLICY, Bench, EchoModel, ask_of, serving

CHALLENGER = serving("2", model=EchoModel(0.5, base_rate=0.8))


def bench_of(folder: Path, canary: float, shadow: float = 0.0, **more: object) -> Bench:
    bench = Bench(folder, with_shadow=shadow > 0.0, **more)  # type: ignore[arg-type]
    bench.routes[TARGET] = Route(serving(policy=POLICY), CHALLENGER, canary, shadow)
    return bench


def chosen(customer: int | str) -> bool:
    name = customer if isinstance(customer, str) else f"c-{customer}"
    return in_share(name, f"canary:{TARGET}", 0.3)


def rows_of(bench: Bench, *roles: str) -> list[dict[str, object]]:
    bench.predictions.start()
    bench.predictions.stop()
    settings = Settings(home=bench.folder)
    end = NOW + timedelta(days=1)
    more = {"roles": roles} if roles else {}
    return list(read_predictions(settings, TARGET, NOW, end, **more).to_pylist())  # type: ignore[arg-type]


def test_the_same_customers_are_answered_by_the_challenger_each_time(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 0.3)

    answer = asyncio.run(bench.service.score(ask_of(*range(50), "nobody")))

    for i, row in enumerate(answer.scores[:50]):
        assert row.canary == chosen(i)
        assert row.model_version == ("2" if chosen(i) else "1")
        assert round(row.score, 9) == round((0.5 if chosen(i) else 0.0) + i / 10_000, 9)
        # The champion's tiers are for all: an answer has one policy.
        assert row.tier == ("high" if chosen(i) else "low")
    assert answer.scores[50].score == (0.8 if chosen("nobody") else 0.9)
    assert answer.model.version == "1"
    count = sum(map(chosen, [*range(50), "nobody"]))
    assert 0 < count < 50
    assert bench.value("foresend_canary_rows_total", target=TARGET) == count


def test_the_log_tells_canary_from_champion(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 0.3)

    asyncio.run(bench.service.score(ask_of(*range(50))))

    rows = rows_of(bench)
    assert len(rows) == 50
    for row in rows:
        is_canary = chosen(str(row["customer_id"]))
        assert (row["role"], row["model_version"]) == (
            ("canary", "2") if is_canary else ("champion", "1")
        )
        assert row["opens_30d"] == float(str(row["customer_id"])[2:])


def test_everybody_in_the_canary_is_answered_by_the_challenger(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 1.0)

    answer = asyncio.run(bench.service.score(ask_of(*range(10))))

    assert {row.model_version for row in answer.scores} == {"2"}


def test_a_challenger_that_breaks_leaves_its_share_to_the_champion(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    broken = serving("2", model=EchoModel(problem=ValueError("bad tree")))
    bench.routes[TARGET] = Route(serving(policy=POLICY), broken, 0.3)

    answer = asyncio.run(bench.service.score(ask_of(*range(50))))

    assert {(row.model_version, row.canary) for row in answer.scores} == {("1", False)}
    assert len(rows_of(bench)) == 50


def test_a_last_score_says_whose_it_is(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 0.3)
    asyncio.run(bench.service.score(ask_of(*range(20))))
    bench.store.down = "gone"

    answer = asyncio.run(bench.service.score(ask_of(*range(20), 500)))

    assert [row.canary for row in answer.scores] == [*map(chosen, range(20)), False]
    assert [row.model_version for row in answer.scores[:20]] == [
        "2" if chosen(i) else "1" for i in range(20)
    ]
    assert answer.scores[20].score == 0.9
    logged = [row for row in rows_of(bench) if row["degraded"] == "store_unavailable"]
    assert len(logged) == 21
    assert all(row["model_version"] == ("2" if row["role"] == "canary" else "1") for row in logged)


def test_the_shadow_is_logged_and_not_answered(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 0.3, shadow=1.0)
    assert bench.shadow is not None

    answer = asyncio.run(bench.service.score(ask_of(*range(30), "nobody")))
    bench.shadow.start()
    bench.shadow.stop()

    shadowed = rows_of(bench, "shadow")
    # The champion's known customers, scored by the challenger.
    expected = [f"c-{i}" for i in range(30) if not chosen(i)]
    assert sorted(str(row["customer_id"]) for row in shadowed) == sorted(expected)
    assert {row["model_version"] for row in shadowed} == {"2"}
    assert {row["tier"] for row in shadowed} == {None}
    for row in shadowed:
        i = int(str(row["customer_id"])[2:])
        assert round(float(str(row["score"])), 9) == round(0.5 + i / 10_000, 9)
        assert row["request_id"] == ""
    answered = rows_of_again(bench)
    assert {row["role"] for row in answered} == {"champion", "canary"}
    assert len(answered) == len(answer.scores)


def rows_of_again(bench: Bench) -> list[dict[str, object]]:
    settings = Settings(home=bench.folder)
    return list(read_predictions(settings, TARGET, NOW, NOW + timedelta(days=1)).to_pylist())


def test_a_busy_server_leaves_the_shadow_out(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, 0.0, shadow=1.0, busy=True)
    assert bench.shadow is not None

    asyncio.run(bench.service.score(ask_of(*range(30))))

    assert bench.value("foresend_shadow_dropped_rows_total", reason="busy") == 30.0
