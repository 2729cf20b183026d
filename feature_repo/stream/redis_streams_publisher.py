"""The way into the queue on Redis Streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from feature_repo.stream.port import MarkMoved
from feature_repo.stream.queue_gate import Gate
from feature_repo.stream.redis_streams_link import Link, answers, order

CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Of one script call: Redis serves nobody else meanwhile, about 5 ms."""

MOST_MARKS: Final = 10_000


class RedisPublisher:
    """Appends to the stream; see `port.Publisher`."""

    def __init__(self, link: Link, name: str, gate: Gate) -> None:
        self._link = link
        self._name = name
        self._gate = gate
        self._marks: deque[tuple[str, str]] = deque(maxlen=MOST_MARKS)

    def publish(
        self,
        bodies: Sequence[bytes],
        *,
        mark: str | None = None,
        after: str | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        """Append the bodies; see `port.Publisher.publish`."""
        if not bodies and mark is None:
            return
        with answers():
            if bodies:
                self._gate.admit(sum(map(len, bodies)))
            compare = "0" if mark is None else "1"
            last = ""
            for chunk, is_last in _chunks(bodies):
                new = mark if is_last and mark is not None else ""
                done, text = self._link.publish(self._name, compare, after or "", new, "", *chunk)
                if not done:
                    raise _moved(self._name, after, text)
                last = text
        if mark is not None and last:
            self._marks.append((last, mark))

    def check(self, *, after: str | None) -> None:
        """Compare the mark; see `port.Publisher.check`."""
        with answers():
            done, held = self._link.publish(self._name, "1", after or "", "", "")
        if not done:
            raise _moved(self._name, after, held)

    def remark(self, mark: str | None) -> None:
        """Set the mark; see `port.Publisher.remark`."""
        self._marks.clear()
        with answers():
            if mark is None:
                self._link.client.hdel(self._link.state, self._name)
            else:
                self._link.publish(self._name, "0", "", mark, "")

    def settled(self) -> str | None:
        """Newest mark that every group is past; see `port.Publisher.settled`."""
        if not self._marks:
            return None
        with answers():
            floor = order(self._link.unfinished_from())
        found = None
        while self._marks and order(self._marks[0][0]) < floor:
            found = self._marks.popleft()
        if found is None:
            return None
        # Stays at the front: it is the answer until a newer one is.
        self._marks.appendleft(found)
        return found[1]

    def close(self) -> None:
        """Nothing is held: connections belong to the queue."""


def _chunks(bodies: Sequence[bytes]) -> Iterator[tuple[list[bytes], bool]]:
    """The bodies in pieces, each with whether it is the last one."""
    chunk: list[bytes] = []
    size = 0
    for body in bodies:
        if chunk and size + len(body) > CHUNK_BYTES:
            yield chunk, False
            chunk, size = [], 0
        chunk.append(body)
        size += len(body)
    yield chunk, True


def _moved(name: str, after: str | None, held: str) -> MarkMoved:
    message = (
        f"The queue holds mark {held or None!r} of publisher {name!r}, not {after!r}: it lost "
        "messages, or a publish got through unconfirmed. Go on from the mark it holds."
    )
    return MarkMoved(message, held or None)
