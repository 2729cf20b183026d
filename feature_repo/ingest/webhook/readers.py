"""Field specs of a mapping, compiled once to functions over an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from feature_repo.ingest.webhook.casts import CASTS, Cast
from feature_repo.ingest.webhook.mapping import Spec, alternatives
from feature_repo.ingest.webhook.misfit import Misfit
from feature_repo.ingest.webhook.paths import Getter, getter
from feature_repo.ingest.webhook.times import local

Item = Mapping[str, Any]
Reader = Callable[[Item], Any]
"""Reads a field; None when it is not there.

Raises:
    Misfit: it is there and cannot be read.
"""

Step = tuple[Getter, Cast, str]
"""Where a value lies, how it is read, and its path for errors."""

DESCRIPTIVE: Final = frozenset(
    (
        *("user_agent", "ip", "reason", "smtp_code", "bounce_class", "country", "link_id"),
        *("sending_domain", "mailbox_provider", "provider_emitted_time", "utc_offset_minutes"),
    )
)
"""Fields that only describe: an odd value in one of them never costs the event."""


def reader(name: str, spec: Spec) -> Reader:
    """The reader of one field."""
    steps = tuple(_step(path, cast, zone) for path, cast, zone in alternatives(name, spec))
    is_strict = name not in DESCRIPTIVE
    return _only(*steps[0], is_strict) if len(steps) == 1 else _first_of(steps, is_strict)


def _step(path: Any, cast: str, zone: str) -> Step:
    if cast == "const":
        return _constant(path), _same, ""
    return getter(path), local(zone) if cast == "local" else CASTS[cast], path


def _constant(value: Any) -> Getter:
    return lambda _item: value


def _same(value: Any) -> Any:
    return value


def _only(get: Getter, cast: Cast, path: str, is_strict: bool) -> Reader:
    def read(item: Item) -> Any:
        value = get(item)
        if value is None:
            return None
        try:
            return cast(value)
        except Misfit as misfit:
            if not is_strict:
                return None
            misfit.path = path
            raise

    return read


def _first_of(steps: tuple[Step, ...], is_strict: bool) -> Reader:
    def read(item: Item) -> Any:
        for get, cast, path in steps:
            value = get(item)
            if value is None:
                continue
            try:
                found = cast(value)
            except Misfit as misfit:
                if not is_strict:
                    continue
                misfit.path = path
                raise
            if found is not None:
                return found
        return None

    return read
