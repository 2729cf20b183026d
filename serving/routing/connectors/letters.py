"""Dead letters of connectors: they are with those of the streams, by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final

from feature_repo.settings import Settings
from feature_repo.stream.port import DeadLetter, Queue
from feature_repo.stream.queue import open_queue
from feature_repo.stream.score_streams import stream_named
from serving.routing.connectors.settings import ConnectorSettings
from serving.routing.connectors.streams import group_of

_MOST: Final = 1_000_000
_CHUNK: Final = 1_000


def dead_letters(
    settings: Settings, connectors: Sequence[ConnectorSettings], limit: int
) -> list[dict[str, str]]:
    """Rows about letters, oldest first.

    Raises:
        StoreUnavailable: the queue does not answer.
    """
    with ExitStack() as closing:
        rows = [
            {
                "id": letter.id,
                "connector": connector,
                "stream": stream,
                "buried_at": letter.buried_at.isoformat(timespec="seconds"),
                "reason": letter.reason,
            }
            for _, stream, connector, letter in _letters(settings, connectors, closing)
        ]
    return sorted(rows, key=lambda row: row["buried_at"])[:limit]


def replay(
    settings: Settings, connectors: Sequence[ConnectorSettings], ids: Sequence[str] | None
) -> int:
    """Hand letters (None: all) to their connectors once more; the number found.

    Raises:
        StoreUnavailable: the queue does not answer.
    """
    replayed = 0
    with ExitStack() as closing:
        wanted: dict[str, tuple[Queue, list[str]]] = {}
        for queue, stream, _, letter in _letters(settings, connectors, closing):
            if ids is None or letter.id in ids:
                wanted.setdefault(stream, (queue, []))[1].append(letter.id)
        for queue, found in wanted.values():
            for start in range(0, len(found), _CHUNK):
                replayed += queue.revive(found[start : start + _CHUNK])
    return replayed


def _letters(
    settings: Settings, connectors: Sequence[ConnectorSettings], closing: ExitStack
) -> Iterator[tuple[Queue, str, str, DeadLetter]]:
    groups = {group_of(one.name): one.name for one in connectors}
    for stream in dict.fromkeys(name for one in connectors for name in one.streams):
        queue = open_queue(settings, stream=stream_named(stream))
        closing.callback(queue.close)
        for letter in queue.dead(_MOST):
            if letter.group in groups:
                yield queue, stream, groups[letter.group], letter
