"""Erasure in Redis and in the queue."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import redis

from feature_repo import online
from feature_repo.event import Event
from feature_repo.history.erase_person import Person
from feature_repo.online_codec import all_columns
from feature_repo.settings import Settings
from feature_repo.stream import score_streams
from feature_repo.stream.envelope import BadEnvelope, pack, unpack
from feature_repo.stream.online_epoch import corrected_key, owed_key
from feature_repo.stream.port import GROUPS, Queue
from feature_repo.stream.redis_streams_link import Link, answers, entries

_PAGE: Final = 500
_MOST_LETTERS: Final = 1_000_000
_SETTLE_S: Final = 0.1


def erase_from_redis(
    settings: Settings, client: redis.Redis, person: Person, event_ids: Sequence[str]
) -> int:
    """Delete the customer's hash and what is noted about the customer; how much there was."""
    with online.answers():
        gone = _count(client.delete(*all_columns(settings.project).keys(sorted(person.ids))))
        gone += _count(client.zrem(owed_key(settings.project), *person.ids))
        gone += score_streams.forget(client, settings.project, sorted(person.ids))
        for start in range(0, len(event_ids), _PAGE):
            part = event_ids[start : start + _PAGE]
            gone += _count(client.srem(corrected_key(settings.project), *part))
    return gone


def erase_from_letters(queue: Queue, person: Person) -> int:
    """Take the person's events out of the dead letters; how many letters had any."""
    changed = 0
    for letter in queue.dead(_MOST_LETTERS):
        rest = without(letter.body, person)
        if rest is None:
            continue
        for body in rest:
            queue.bury(body, group=letter.group, reason=letter.reason)
        queue.discard([letter.id])
        changed += 1
    return changed


def erase_from_stream(link: Link, person: Person) -> int:
    """Take the person's events out of messages on their way; how many messages had any.

    The others of such a message are published again before it goes: seeing them twice changes
    nothing.
    """
    changed = 0
    with answers():
        for entry_id, fields in _messages(link):
            rest = without(fields[b"b"], person)
            if rest is None:
                continue
            group = fields.get(b"g", b"").decode()
            for body in rest:
                link.publish("", "0", "", "", group, body)
            link.client.xdel(link.events, entry_id)
            changed += 1
    return changed


def erase_from_scores(links: Iterable[Link], person: Person) -> int:
    """Take requests and scores of the person out of their streams; how many there were."""
    gone = 0
    with answers():
        for link in links:
            for key, entry_id in _scores_of(link, person):
                gone += _count(link.client.xdel(key, entry_id))
    return gone


def has_scores(links: Iterable[Link], person: Person) -> bool:
    """Whether a stream of requests or scores has one of the person."""
    with answers():
        return any(True for link in links for _ in _scores_of(link, person))


def _scores_of(link: Link, person: Person) -> Iterator[tuple[str, str]]:
    """Key and id of each entry about the person, dead letters too."""
    quoted = [f'"{one}"'.encode() for one in person.ids]
    for key in (link.events, link.dead):
        for entry_id, fields in _messages(link, key):
            body = fields.get(b"b", b"")
            if person.is_in_bytes(body) or any(one in body for one in quoted):
                yield key, entry_id


def drain(queue: Queue, wait_s: float) -> bool:
    """Wait until all groups have finished what is in the queue, and drop it; whether they did.

    Redis keeps the bytes of deleted messages until the messages beside them are gone too.
    """
    until = time.monotonic() + wait_s
    while any(queue.backlog(group).messages for group in GROUPS):
        if time.monotonic() >= until:
            return False
        time.sleep(_SETTLE_S)
    queue.trim()
    return True


def rewrite_files(client: redis.Redis, wait_s: float) -> bool:
    """Have Redis write its file anew from what it holds now; whether it did, or has none."""
    with online.answers():
        info = _persistence(client)
        appends, saves = (
            bool(info["aof_enabled"]),
            cast("dict[str, str]", client.config_get("save")),
        )
        if appends and not info["aof_rewrite_in_progress"]:
            client.bgrewriteaof()  # type: ignore[no-untyped-call] # redis-py says nothing
        if saves.get("save") and not info["rdb_bgsave_in_progress"]:
            client.bgsave()
        until = time.monotonic() + wait_s
        while _is_writing(_persistence(client)):
            if time.monotonic() >= until:
                return False
            time.sleep(_SETTLE_S)
    return True


def without(body: bytes, person: Person) -> list[bytes] | None:
    """The messages that stand for one without the person; None when it has nothing of him."""
    try:
        events = unpack(body)
    except BadEnvelope:
        return [] if person.is_in_bytes(body) else None
    kept = [event for event in events if event.customer_id not in person.ids]
    return None if len(kept) == len(events) else list(pack(kept))


def events_in(link: Link) -> Iterator[Event]:
    """Every event of the messages in the queue."""
    with answers():
        for _, fields in _messages(link):
            try:
                yield from unpack(fields[b"b"])
            except BadEnvelope:
                continue


def _messages(link: Link, key: str | None = None) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """What is in the stream now; messages that come meanwhile are not waited for."""
    key = key or link.events
    newest = entries(link.client.xrevrange(key, count=1))
    if not newest:
        return
    start = "-"
    while found := entries(link.client.xrange(key, start, newest[0].id, count=_PAGE)):
        yield from ((entry.id, entry.fields) for entry in found)
        start = f"({found[-1].id}"


def _persistence(client: redis.Redis) -> dict[str, Any]:
    return cast("dict[str, Any]", client.info("persistence"))


def _is_writing(info: dict[str, Any]) -> bool:
    names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
    return any(info.get(name) for name in names)


def _count(reply: object) -> int:
    return int(cast("int", reply))
