"""Requests per second of POST /v1/score beside the baselines, in turns within one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from infra.bench.send_time.baseline import prepare
from infra.bench.send_time.load import Answers, closed, request
from infra.bench.send_time.world import (
    Server,
    World,
    on_other_core,
    ours,
    process,
    scoring_world,
)

ROUNDS: Final = 3
SECONDS: Final = 4.0
_WARM_S: Final = 1.5
_MODULES: Final = {
    "naive": "infra.bench.send_time.naive_server",
    "tuned": "infra.bench.send_time.tuned_server",
    "echo": "infra.bench.send_time.echo_server",
}


class Round(NamedTuple):
    """What came back in one round, and the CPU it cost the server."""

    answers: Answers
    cpu_s: float


def score_single_16(workdir: Path) -> dict[str, Any]:
    """One customer a request over 16 connections, against FastAPI + Feast + MLflow pyfunc."""
    return _ratio(_measure(workdir, "naive", connections=16, customers=1))


def score_single_64(workdir: Path) -> dict[str, Any]:
    """One customer a request over 64 connections, against FastAPI + Feast + MLflow pyfunc."""
    return _ratio(_measure(workdir, "naive", connections=64, customers=1))


def score_single_tuned(workdir: Path) -> dict[str, Any]:
    """One customer a request over 16 connections, against a careful user of Feast."""
    return _ratio(_measure(workdir, "tuned", connections=16, customers=1))


def score_batch_100(workdir: Path) -> dict[str, Any]:
    """100 customers a request over 4 connections, against FastAPI + Feast + MLflow pyfunc."""
    return _ratio(_measure(workdir, "naive", connections=4, customers=100))


def score_batch_tuned(workdir: Path) -> dict[str, Any]:
    """100 customers a request over 4 connections, against a careful user of Feast."""
    return _ratio(_measure(workdir, "tuned", connections=4, customers=100))


def score_echo_16(workdir: Path) -> dict[str, Any]:
    """One customer a request over 16 connections, against a bare ASGI application's echo."""
    return _ratio(_measure(workdir, "echo", connections=16, customers=1))


def _measure(
    workdir: Path, baseline: str, *, connections: int, customers: int
) -> Mapping[str, Any]:
    with ExitStack() as stack:
        world = stack.enter_context(scoring_world(workdir))
        if baseline != "echo":
            prepare(world)
        stack.enter_context(on_other_core())
        bodies = world.bodies(customers)
        servers = {
            "ours": (stack.enter_context(ours(world)), world.headers),
            baseline: (stack.enter_context(_started(world, baseline)), ()),
        }
        found: dict[str, list[Round]] = {name: [] for name in servers}
        for number in range(ROUNDS + 1):
            for name, (server, headers) in servers.items():
                seconds = SECONDS if number else _WARM_S
                url = server.url + "/v1/score"
                requests = [request(url, body, headers) for body in bodies]
                before = server.cpu_s()
                answers = closed(url, requests, connections=connections, seconds=seconds)
                found[name].append(Round(answers, server.cpu_s() - before))
    return {name: _summary(rounds[1:], customers) for name, rounds in found.items()}


def _started(world: World, baseline: str) -> AbstractContextManager[Server]:
    ready = "/v1/score" if baseline == "echo" else "/readyz"
    return process(world, ["-m", _MODULES[baseline]], ready)


def _summary(rounds: Sequence[Round], customers: int) -> dict[str, float]:
    """Medians over the rounds."""
    answers = [one.answers for one in rounds]
    return {
        "per_s": median(a.per_s for a in answers) * customers,
        "p50_ms": median(a.ms(50) for a in answers),
        "p99_ms": median(a.ms(99) for a in answers),
        "cpu_us": median(r.cpu_s / len(r.answers.status) / customers * 1e6 for r in rounds),
        "failed": float(sum(len(a.status) - a.count(200) + a.lost for a in answers)),
    }


def _ratio(found: Mapping[str, Any]) -> dict[str, Any]:
    mine, other = found.values()
    return {
        "ours": mine["per_s"],
        "baseline": other["per_s"],
        "ratio": mine["per_s"] / other["per_s"],
        "unit": "customers/s",
        "p50_ms": round(mine["p50_ms"], 2),
        "p99_ms": round(mine["p99_ms"], 2),
        "baseline_p50_ms": round(other["p50_ms"], 2),
        "baseline_p99_ms": round(other["p99_ms"], 2),
        "cpu_us": round(mine["cpu_us"], 1),
        "baseline_cpu_us": round(other["cpu_us"], 1),
        "cpu_ratio": round(other["cpu_us"] / mine["cpu_us"], 2),
        "p99_ratio": round(other["p99_ms"] / mine["p99_ms"], 1),
        "failed": int(mine["failed"] + other["failed"]),
    }
