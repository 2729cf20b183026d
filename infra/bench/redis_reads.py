"""What reading customers costs: HGETALL against HMGET, and the reader against redis-py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

import redis
from redis import asyncio as redis_asyncio

from feature_repo import online, wire
from feature_repo.online_codec import Layout, arrange, decode
from serving.settings import ServingSettings
from serving.store import RedisStore, scoring_layout

SIZES: Final = (1, 16, 64)
ROUNDS: Final = 3
_CUSTOMERS_A_ROUND: Final = 6_400


def read_costs(url: str, project: str, names: Sequence[str]) -> dict[str, Any]:
    """Microseconds per customer by the number of customers of a read; see the parts."""
    return {
        "commands": _command_costs(url, scoring_layout(project), names),
        "readers": asyncio.run(_reader_costs(url, project, names)),
    }


def _command_costs(url: str, layout: Layout, names: Sequence[str]) -> dict[str, Any]:
    """Of Redis' own CPU time and of all, for HGETALL and for HMGET of all that scoring reads."""
    fields = b"".join(map(wire.bulk, layout.fields))
    head = b"*%d\r\n" % (2 + len(layout.fields)) + wire.bulk(b"HMGET")
    asked = {
        "hgetall": lambda ids: online.read_command(layout, ids),
        "hmget": lambda ids: b"".join(head + wire.bulk(key) + fields for key in layout.keys(ids)),
    }
    costs: dict[str, Any] = {}
    with online.connect(url) as client:
        for name, command in asked.items():
            for size in SIZES:
                costs[f"{name}_{size}"] = _cost(client, command, size, names)
    return costs


def _cost(
    client: redis.Redis,
    command: Callable[[Sequence[str]], bytes],
    size: int,
    names: Sequence[str],
) -> dict[str, float]:
    batches = _batches(size, names)
    buffers = [command(batch) for batch in batches]
    before, started = _cpu_s(client), time.perf_counter()
    for buffer in buffers:
        online.exchange(client, [(buffer, size)])
    taken = time.perf_counter() - started
    used = _cpu_s(client) - before
    customers = size * len(buffers)
    return {"redis_us": round(used / customers * 1e6, 1), "us": round(taken / customers * 1e6, 1)}


async def _reader_costs(url: str, project: str, names: Sequence[str]) -> dict[str, Any]:
    """Read and decode, wall clock: scoring's reader, and redis-py's pipeline with the codec of
    all readers behind it. Quickest of rounds taken in turns."""
    store = RedisStore(url, project=project, settings=ServingSettings(redis_read_timeout_s=5.0))
    client = redis_asyncio.Redis.from_url(url)
    layout = scoring_layout(project)

    async def theirs(ids: Sequence[str]) -> None:
        pipeline = client.pipeline(transaction=False)
        for key in layout.keys(ids):
            pipeline.execute_command("HGETALL", key, NEVER_DECODE=True)
        replies = await pipeline.execute()
        pairs = [[part for pair in reply.items() for part in pair] for reply in replies]
        decode(layout, arrange(layout, pairs))

    try:
        return {
            f"{size}": {
                name: min([await _us(read, size, names) for _ in range(ROUNDS)])
                for name, read in (("ours", store.read), ("redis_py", theirs))
            }
            for size in SIZES
        }
    finally:
        await store.close()
        await client.aclose()


async def _us(
    read: Callable[[Sequence[str]], Awaitable[object]], size: int, names: Sequence[str]
) -> float:
    batches = _batches(size, names)
    started = time.perf_counter()
    for batch in batches:
        await read(batch)
    return round((time.perf_counter() - started) / len(batches) / size * 1e6, 1)


def _batches(size: int, names: Sequence[str]) -> list[Sequence[str]]:
    """So many customers that they are all, or enough; single reads cost the most each."""
    wanted = min(len(names), _CUSTOMERS_A_ROUND if size > 1 else _CUSTOMERS_A_ROUND // 4)
    return [names[start : start + size] for start in range(0, wanted - size + 1, size)]


def _cpu_s(client: redis.Redis) -> float:
    told = cast("Mapping[str, Any]", client.info("cpu"))
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
