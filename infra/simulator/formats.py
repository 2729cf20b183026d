"""Changes that a service makes to its payloads on some day, without telling anybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from infra.simulator.options import FormatChange
from infra.simulator.payloads.encoder import Payload, iso


def changed(payload: Payload, changes: Sequence[FormatChange]) -> Payload:
    """The payload as the service sends it after these changes.

    A path goes through objects by names with dots between; where a text holds JSON, through that
    too. A path that is not there is left alone.

    >>> change = FormatChange(service="x", day=0, action="rename", path="a.b", value="c")
    >>> changed({"a": {"b": 1}}, [change])
    {'a': {'c': 1}}
    """
    for change in changes:
        payload = _at(payload, change.path.split("."), change)
    return payload


def _at(value: Payload, path: Sequence[str], change: FormatChange) -> Payload:
    name, rest = path[0], path[1:]
    if not rest:
        return _last(value, name, change)
    inner = value.get(name)
    if isinstance(inner, dict):
        return value | {name: _at(inner, rest, change)}
    if isinstance(inner, str) and inner.startswith("{"):
        text = orjson.dumps(_at(orjson.loads(inner), rest, change)).decode()
        return value | {name: text}
    return value


def _last(value: Payload, name: str, change: FormatChange) -> Payload:
    if change.action == "add":
        return value | {name: change.value}
    if name not in value:
        return value
    if change.action == "retype":
        return value | {name: _retyped(value[name], change.value or "text")}
    renamed = {str(change.value) if key == name else key: held for key, held in value.items()}
    return renamed if change.action == "rename" else {k: v for k, v in value.items() if k != name}


def _retyped(value: Any, kind: str) -> Any:
    if kind == "text":
        return str(value)
    at = datetime.fromtimestamp(float(value), UTC) if isinstance(value, int | float) else None
    if kind == "iso" and at is not None:
        return iso(at)
    if kind == "epoch_ms" and at is not None:
        return int(at.timestamp() * 1000)
    if kind == "number" and isinstance(value, str):
        return float(value) if value.replace(".", "", 1).isdecimal() else value
    return value
