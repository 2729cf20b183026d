"""Deliveries with some of their parts exchanged, renamed or gone."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import parse_qs, urlencode

import orjson

ODD = (
    *(None, True, False, 0, -1, 10**30, 2**63, 1e308, -0.5, "", " ", "abc", "\ud800", "\x00"),
    *("9" * 5000, "1e999", "NaN", [], {}, [[]], [None], {"": None}, {"a": {"b": []}}, "é" * 9000),
    *("jane@gmail.com", "2026-11-24T04:00:00", "0001-01-01T00:00:00+14:00", float("inf")),
    float("nan"),
)


def hostile(provider: str, body: bytes, rng: random.Random) -> bytes:
    """A delivery like `body`, wrong in one to three places."""
    is_form = provider == "mandrill"
    mutated = json.loads(_unwrapped(body) if is_form else body)
    for _ in range(rng.randint(1, 3)):
        mutated = _mutated(mutated, rng)
    if provider == "ses" and isinstance(mutated, dict) and rng.random() < 0.7:
        mutated["Message"] = _message_mutated(mutated.get("Message"), rng)
    made = dumped(mutated)
    return _wrapped(made) if is_form else made


def dumped(content: Any) -> bytes:
    """As JSON, with what JSON forbids."""
    return json.dumps(content).encode()


def _unwrapped(body: bytes) -> bytes:
    return parse_qs(body.decode(), keep_blank_values=True)["mandrill_events"][0].encode()


def _wrapped(body: bytes) -> bytes:
    return urlencode({"mandrill_events": body.decode()}).encode()


def _message_mutated(message: Any, rng: random.Random) -> Any:
    try:
        return dumped(_mutated(orjson.loads(message), rng)).decode()
    except (orjson.JSONDecodeError, TypeError):
        return message


def _mutated(value: Any, rng: random.Random) -> Any:
    """The value with one part of it exchanged, renamed or gone."""
    if rng.random() < 0.08 or not isinstance(value, dict | list) or not value:
        return rng.choice(ODD)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return [*value[:place], _mutated(value[place], rng), *value[place + 1 :]]
    key = rng.choice(sorted(value))
    chance = rng.random()
    if chance < 0.1:
        return {k: v for k, v in value.items() if k != key}
    if chance < 0.2:
        return {(k + "_v2" if k == key else k): v for k, v in value.items()}
    return {**value, key: _mutated(value[key], rng)}
