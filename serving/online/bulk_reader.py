"""Reading many customers in a thread, without an event loop: for jobs over whole audiences."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Final

import hiredis
import numpy as np

from feature_repo.errors import StoreUnavailable
from serving.online.address import Address, command, parse
from serving.online.columnar import FEW, Columnar
from serving.online.connection import PIECE, NoReply, check_hello, out_of_step
from serving.online.reading import Reading, through
from serving.online.stored import TEXTS, Stored

CHUNK: Final = 128
"""Customers asked for at once. Redis works on the next while one is decoded."""

LARGE_CHUNK: Final = 1_000
"""As CHUNK, when the replies are read side by side (`columnar.py`)."""

_RECEIVE: Final = 1 << 18

_NOT_YET: Final = object()
_NOTE: Final = re.compile(rb"\$(?:-1|(\d+))\r\n")


class BulkReader:
    """One blocking connection of its own, opened when first used. For one thread at a time.

    A context manager; it may also be kept, and opens a new connection when one has failed.
    """

    def __init__(
        self, url: str, project: str, *, timeout_s: float = 5.0, connect_timeout_s: float = 1.0
    ) -> None:
        """`timeout_s` is for the replies to one chunk. Raises ConfigError for a bad URL."""
        self._address = parse(url)
        self._reading = Reading(project)
        self._columnar = Columnar()
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._link: _Link | None = None

    def read(self, customer_ids: Sequence[str]) -> Stored:
        """What is held of the customers, however many.

        A connection that Redis has closed since the last read is opened again.

        Raises:
            StoreUnavailable: Redis did not answer, or not as a feature store.
        """
        was_open = self._link is not None
        try:
            try:
                return self._read(customer_ids)
            except (NoReply, OSError):
                self.close()
                if not was_open:
                    raise
                return self._read(customer_ids)
        except (NoReply, OSError) as exc:
            self.close()
            message = (
                f"Redis at {self._address.shown} does not answer ({exc}). Check FORESEND_REDIS_URL."
            )
            raise StoreUnavailable(message) from exc

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close()
        self._link = None

    def __enter__(self) -> BulkReader:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _read(self, customer_ids: Sequence[str]) -> Stored:
        if self._link is None:
            self._link = _Link(self._address, self._connect_timeout_s)
        link, reading, is_large = self._link, self._reading, len(customer_ids) >= FEW
        size = LARGE_CHUNK if is_large else CHUNK
        starts = range(0, max(len(customer_ids), 1), size)
        chunks = [customer_ids[start : start + size] for start in starts]
        parts = []
        link.send(reading.commands(chunks[0]), reading.replies(chunks[0]), self._timeout_s)
        for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
            if following is not None:
                link.send(reading.commands(following), reading.replies(following), self._timeout_s)
            parts.append(self._large(link, chunk) if is_large else self._small(link))
        return _joined(parts)

    def _small(self, link: _Link) -> Stored:
        return self._reading.stored(link.receive(self._timeout_s))

    def _large(self, link: _Link, customer_ids: Sequence[str]) -> Stored:
        raw, count = link.receive_raw(self._timeout_s)
        note = _NOTE.match(raw)
        if note is not None:
            begins = note.end() if note[1] is None else note.end() + int(note[1]) + 2
            stored = self._columnar.stored(raw[begins:], len(customer_ids))
            if stored is not None:
                held = None if note[1] is None else raw[note.end() : begins - 2]
                return replace(stored, through=through(held))
        return self._reading.stored(_replies(raw, count))


class _Link:
    """A blocking connection; replies come in the order of what was sent."""

    def __init__(self, address: Address, connect_timeout_s: float) -> None:
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._raw = bytearray()
        self._sent: list[tuple[int, bytes]] = []
        self._socket = _connected(address, connect_timeout_s)
        try:
            self.send(address.hello, address.hello_replies, connect_timeout_s)
            check_hello(self.receive(connect_timeout_s))
        except (NoReply, OSError):
            self.close()
            raise

    def send(self, commands: bytes, replies: int, timeout_s: float) -> None:
        """Send commands, which are followed by an ECHO of a word nobody else uses."""
        word = os.urandom(8).hex().encode()
        self._socket.settimeout(timeout_s)
        self._socket.sendall(commands + command(b"ECHO", word))
        self._sent.append((replies, word))

    def receive(self, timeout_s: float) -> list[object]:
        """The replies to the oldest of what was sent."""
        count, word = self._sent.pop(0)
        deadline = time.monotonic() + timeout_s
        replies: list[object] = []
        try:
            while len(replies) <= count:
                reply = self._reader.gets()
                if reply is _NOT_YET:
                    self._feed(deadline)
                else:
                    replies.append(reply)
        except hiredis.HiredisError as exc:
            raise NoReply(reason=f"it does not speak Redis' protocol: {exc}") from exc
        said = replies.pop()
        if said != word:
            raise NoReply(reason=out_of_step([*replies, said]))
        return replies

    def receive_raw(self, timeout_s: float) -> tuple[bytes, int]:
        """The bytes of the replies to the oldest of what was sent, and how many they should be."""
        count, word = self._sent.pop(0)
        end = b"$%d\r\n%b\r\n" % (len(word), word)
        deadline, seen = time.monotonic() + timeout_s, 0
        while (at := self._raw.find(end, max(0, seen - len(end)))) < 0:
            seen = len(self._raw)
            self._raw += self._received(deadline, _RECEIVE)
        replies = bytes(self._raw[:at])
        del self._raw[: at + len(end)]
        return replies, count

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _feed(self, deadline: float) -> None:
        self._reader.feed(self._received(deadline, PIECE))

    def _received(self, deadline: float, most: int) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise NoReply(reason="it does not answer in time")
        self._socket.settimeout(left)
        data = self._socket.recv(most)
        if not data:
            raise NoReply(reason="it closed the connection")
        return data


def _replies(raw: bytes, count: int) -> list[object]:
    """The replies in some bytes, one by one."""
    reader = hiredis.Reader(notEnoughData=_NOT_YET)
    replies: list[object] = []
    try:
        for start in range(0, len(raw), PIECE):
            reader.feed(raw[start : start + PIECE])
            while (reply := reader.gets()) is not _NOT_YET:
                replies.append(reply)
    except hiredis.HiredisError as exc:
        raise NoReply(reason=f"it does not speak Redis' protocol: {exc}") from exc
    if len(replies) != count:
        raise NoReply(reason=out_of_step(replies))
    return replies


def _connected(address: Address, timeout_s: float) -> socket.socket:
    if address.path is not None:
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        local.settimeout(timeout_s)
        try:
            local.connect(address.path)
        except OSError:
            local.close()
            raise
        return local
    plain = socket.create_connection((address.host, address.port), timeout=timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls is None:
        return plain
    try:
        return address.tls.wrap_socket(plain, server_hostname=address.host)
    except OSError:
        plain.close()
        raise


def _joined(parts: Sequence[Stored]) -> Stored:
    if len(parts) == 1:
        return parts[0]
    return Stored(
        numbers=np.concatenate([part.numbers for part in parts], axis=1),
        texts=tuple(
            np.concatenate([part.texts[place] for part in parts]) for place in range(len(TEXTS))
        ),
        known_at=np.concatenate([part.known_at for part in parts]),
        view_known_at=np.concatenate([part.view_known_at for part in parts], axis=1),
        found=np.concatenate([part.found for part in parts]),
        through=_earliest(part.through for part in parts),
    )


def _earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest; None if any is None: what was read in parts is as complete as the worst."""
    known = list(times)
    found = [when for when in known if when is not None]
    return min(found) if len(found) == len(known) else None
