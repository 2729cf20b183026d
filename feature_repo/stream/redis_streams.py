"""The queue on Redis Streams: one stream for all groups, one for dead letters, and a hash.

Redis confirms what it has in memory and writes its file once a second (`appendfsync everysec`), so
a crash of the machine costs the last second: see marks in `port`. Entries stay until every group
has acknowledged them. Works with Redis 6.2 and 7; needs no module. All keys must be on one node.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

import structlog

from feature_repo.stream.port import EVENTS, INGEST, Backlog, DeadLetter, Stream
from feature_repo.stream.queue_gate import Gate
from feature_repo.stream.redis_streams_consumer import RedisConsumer
from feature_repo.stream.redis_streams_link import (
    Entry,
    Link,
    answers,
    entries,
    order,
    published_at,
)
from feature_repo.stream.redis_streams_publisher import RedisPublisher
from feature_repo.stream.settings import QueueSettings

ENTRY_BYTES: Final = 200
"""What Redis needs for an entry beside its body: measured, rounded up."""

TRIM_CHUNK: Final = 10_000

KEPT_SHARE: Final = 0.9
"""Of the messages of a full stream that drops its oldest."""

log = structlog.get_logger()


class RedisQueue:
    """See `port.Queue`."""

    def __init__(
        self, url: str, project: str, settings: QueueSettings, stream: Stream = EVENTS
    ) -> None:
        self._link = Link(url, project, settings, stream)
        self._cut = 0

    def publisher(self, name: str = INGEST) -> RedisPublisher:
        """A way in."""
        return RedisPublisher(self._link, name, Gate(self._fullness_for_more))

    def consumer(self, group: str, name: str) -> RedisConsumer:
        """A member of a group."""
        return RedisConsumer(self._link, group, name)

    def backlog(self, group: str) -> Backlog:
        """How far a group is behind: what it was not given yet, and what is pending."""
        with answers():
            delivered = self._link.groups().get(group, "0-0")
            summary: Any = self._link.in_group(
                group, lambda: self._link.client.xpending(self._link.events, group)
            )
            waiting = self._edge(f"({delivered}")
            newest = self._newest()
            seconds, micros = self._time()
        ahead = 0
        if waiting is not None and newest is not None:
            ahead = newest.totals[0] - waiting.totals[0] + 1
        oldest = [waiting.id] if waiting is not None else []
        if summary["pending"]:
            oldest.append(summary["min"].decode())
        now_ms = seconds * 1000 + micros / 1000
        age_ms = max((now_ms - order(entry_id)[0] for entry_id in oldest), default=0.0)
        pending = int(summary["pending"])
        return Backlog(
            messages=ahead + pending, oldest_age_s=max(0.0, age_ms / 1000), pending=pending
        )

    def fullness(self) -> float:
        """The larger of: bytes of the stream to their limit, Redis' memory to our share of it."""
        with answers():
            memory: Any = self._link.client.info("memory")
            held = self._held()
        most = memory["maxmemory"] or memory.get("total_system_memory", 0)
        share = memory["used_memory"] / (most * self._link.settings.memory_share) if most else 0.0
        return max(held, share)

    def cut(self) -> int:
        """Messages dropped since it was last asked; see `port.Queue.cut`."""
        dropped, self._cut = self._cut, 0
        return dropped

    def trim(self) -> int:
        """Drop what every group has acknowledged, and what the stream does not keep any longer."""
        client, events = self._link.client, self._link.events
        dropped = 0
        with answers():
            floor = self._link.unfinished_from()
            # In pieces of whole nodes first, as Redis serves nobody else meanwhile.
            while count := _count(client.xtrim(events, minid=floor, limit=TRIM_CHUNK)):
                dropped += count
            return dropped + _count(client.xtrim(events, minid=floor, approximate=False))

    def bury(self, body: bytes, *, group: str, reason: str) -> None:
        """Append to the stream of dead letters."""
        with answers():
            self._link.client.xadd(self._link.dead, {"g": group, "r": reason, "b": body})

    def dead(self, limit: int = 100) -> list[DeadLetter]:
        """Dead letters, oldest first."""
        with answers():
            found = entries(self._link.client.xrange(self._link.dead, count=limit))
        return [_letter(entry) for entry in found]

    def revive(self, ids: Sequence[str]) -> int:
        """Publish the letters to their group alone, then forget them."""
        revived = 0
        with answers():
            for letter_id in _letter_ids(ids):
                for entry in entries(
                    self._link.client.xrange(self._link.dead, letter_id, letter_id)
                ):
                    letter = _letter(entry)
                    self._link.publish("", "0", "", "", letter.group, letter.body)
                    revived += _count(self._link.client.xdel(self._link.dead, letter_id))
        return revived

    def discard(self, ids: Sequence[str]) -> int:
        """Delete the letters."""
        known = _letter_ids(ids)
        if not known:
            return 0
        with answers():
            return _count(self._link.client.xdel(self._link.dead, *known))

    def ping(self) -> None:
        """Ask for an answer."""
        with answers():
            self._link.client.ping()

    def close(self) -> None:
        """Close all connections, those of publishers and consumers too."""
        self._link.client.close()

    def _fullness_for_more(self) -> float:
        """As `fullness`, once a stream that keeps messages for a time has made room."""
        if self._link.stream.keep_s is not None:
            client, events = self._link.client, self._link.events
            with answers():
                while self._held() >= 1.0:
                    kept = _count(client.xlen(events)) * KEPT_SHARE
                    dropped = _count(client.xtrim(events, maxlen=int(kept), approximate=False))
                    self._cut += dropped
                    log.warning("stream_cut", stream=self._link.stream.name, messages=dropped)
        return self.fullness()

    def _held(self) -> float:
        """Bytes of the stream to their limit."""
        first, last = self._edge("-"), self._newest()
        if first is None or last is None:
            return 0.0
        count = last.totals[0] - first.totals[0] + 1
        held = last.totals[1] - first.totals[1] + len(first.fields[b"b"]) + count * ENTRY_BYTES
        return held / self._link.settings.stream_bytes

    def _edge(self, start: str) -> Entry | None:
        found = entries(self._link.client.xrange(self._link.events, min=start, count=1))
        return found[0] if found else None

    def _newest(self) -> Entry | None:
        found = entries(self._link.client.xrevrange(self._link.events, count=1))
        return found[0] if found else None

    def _time(self) -> tuple[int, int]:
        return cast("tuple[int, int]", self._link.client.time())


def _count(reply: Any) -> int:
    return int(reply)


def _letter(entry: Entry) -> DeadLetter:
    return DeadLetter(
        id=entry.id,
        group=entry.fields[b"g"].decode(),
        body=entry.fields[b"b"],
        reason=entry.fields[b"r"].decode(),
        buried_at=published_at(entry.id),
    )


def _letter_ids(ids: Sequence[str]) -> list[str]:
    """Those that can be one of a dead letter; any other names none."""
    return [one for one in ids if re.fullmatch(r"\d{1,20}-\d{1,20}", one)]
