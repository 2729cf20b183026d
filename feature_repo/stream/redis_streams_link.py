"""A connection to the queue's keys in Redis, and what every part of the adapter asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.errors import QueueFull, StoreUnavailable
from feature_repo.stream.port import EVENTS, Stream
from feature_repo.stream.queue_gate import full_message
from feature_repo.stream.redis_streams_scripts import FORGET_CONSUMER, PUBLISH
from feature_repo.stream.settings import QueueSettings

FIRST_ID: Final = "0-0"

Result = TypeVar("Result")
"""What a call returns."""

Fields = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream."""

    id: str
    fields: Fields

    @property
    def totals(self) -> tuple[int, int]:
        """Messages and bytes ever published, this one included."""
        messages, _, size = self.fields[b"n"].partition(b":")
        return int(messages), int(size)


class Link:
    """Keys, scripts and groups over one client. Safe between threads."""

    def __init__(
        self, url: str, project: str, settings: QueueSettings, stream: Stream = EVENTS
    ) -> None:
        # No retries inside the client: a reply that is lost on the way is ours to notice, as
        # Redis may have handed out messages with it.
        self.client = redis.Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=5.0,
            socket_timeout=30.0,
        )
        self.settings = settings
        self.stream = stream
        self.events = f"foresend:{project}:{stream.name}"
        self.state = f"{self.events}:state"
        self.dead = f"{self.events}:dead"
        self._publish = self.client.register_script(PUBLISH)
        self._forget = self.client.register_script(FORGET_CONSUMER)

    def publish(self, *arguments: str | bytes) -> tuple[bool, str]:
        """Run the script of that name; whether it published, and the last id or the mark held."""
        done, text = cast(
            "tuple[int, bytes]", self._publish(keys=[self.events, self.state], args=[*arguments])
        )
        return bool(done), text.decode()

    def forget_consumer(self, group: str, name: str) -> bool:
        """Remove a consumer that has no messages."""
        return bool(self._forget(keys=[self.events], args=[group, name]))

    def make_group(self, group: str) -> None:
        """Let the group exist, from the first message that is there."""
        try:
            self.client.xgroup_create(self.events, group, id="0", mkstream=True)
        except redis.ResponseError as exc:
            if "BUSYGROUP" not in str(exc):
                raise

    def in_group(self, group: str, call: Callable[[], Result]) -> Result:
        """What the call returns; the group is made first if Redis does not have it (any more)."""
        try:
            return call()
        except redis.ResponseError as exc:
            if "NOGROUP" not in str(exc) and "no such key" not in str(exc):
                raise
        self.make_group(group)
        return call()

    def groups(self) -> dict[str, str]:
        """Last id handed out to each group, those of the stream being there."""
        found = self._groups()
        for group in set(self.stream.groups) - found.keys():
            self.make_group(group)
            found[group] = FIRST_ID
        return found

    def unfinished_from(self) -> str:
        """Smallest id that some group has not acknowledged, or may yet be given.

        What the stream does not keep any longer counts as acknowledged.
        """
        # Groups first: what is handed out in between is above what they said.
        floors = [
            self.lowest_pending(group) or after(last) for group, last in self.groups().items()
        ]
        floor = min(floors, key=order, default=FIRST_ID)
        if self.stream.keep_s is None:
            return floor
        seconds, _ = cast("tuple[int, int]", self.client.time())
        return max(floor, f"{int((seconds - self.stream.keep_s) * 1000)}-0", key=order)

    def lowest_pending(self, group: str) -> str | None:
        """Smallest id handed out and not acknowledged."""
        summary: Any = self.in_group(group, lambda: self.client.xpending(self.events, group))
        return summary["min"].decode() if summary["pending"] else None

    def _groups(self) -> dict[str, str]:
        try:
            rows: Any = self.client.xinfo_groups(self.events)
        except redis.ResponseError as exc:
            if "no such key" not in str(exc):
                raise
            return {}
        return {row["name"].decode(): row["last-delivered-id"].decode() for row in rows}


@contextmanager
def answers() -> Iterator[None]:
    """Tell what goes wrong inside as StoreUnavailable, or QueueFull when memory has run out."""
    try:
        yield
    except redis.RedisError as exc:
        if isinstance(exc, redis.exceptions.OutOfMemoryError) or "OOM" in str(exc):
            raise QueueFull(full_message("is in a Redis that has no memory left")) from exc
        message = (
            f"The queue's Redis does not answer ({exc}). Start it with `foresend up`, or set "
            "FORESEND_REDIS_URL to the one that runs."
        )
        raise StoreUnavailable(message) from exc


def order(entry_id: str) -> tuple[int, int]:
    """Sorts ids as Redis does.

    >>> order("9-1") < order("10-0")
    True
    """
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def after(entry_id: str) -> str:
    """The next possible id.

    >>> after("5-7")
    '5-8'
    """
    milliseconds, sequence = order(entry_id)
    return f"{milliseconds}-{sequence + 1}"


def published_at(entry_id: str) -> datetime:
    """When Redis gave out the id, by its clock."""
    return datetime.fromtimestamp(order(entry_id)[0] / 1000, UTC)


def entries(reply: Any) -> list[Entry]:
    """Entries of a reply; those that were deleted since have no fields."""
    return [
        Entry(entry_id.decode(), fields or {}) for entry_id, fields in reply if entry_id is not None
    ]
