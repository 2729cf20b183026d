"""What is read of a request's headers, and what every answer says in its own."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Final

from serving.errors import BadHeader

REQUEST_ID: Final = "X-Request-Id"
DEADLINE: Final = "X-Deadline-Ms"
LONGEST_DEADLINE_MS: Final = 60_000

SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
"""Of every answer: nothing is guessed about it, and nothing of it is kept on the way."""

_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9_.:-]{1,64}")

Head = dict[bytes, bytes]
"""Headers by name in lower case; the first where there are several, as Starlette has it."""

# Ids are to be different, not to be unguessable: the kernel is not asked for each.
_new = random.Random()


def head_of(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Headers of an ASGI scope by name.

    >>> head_of([(b"accept", b"a"), (b"accept", b"b")])
    {b'accept': b'a'}
    """
    return dict(list(headers)[::-1])


def request_id(head: Head) -> str:
    """The id the caller gave, when it is a sane one, or a new one."""
    given = head.get(b"x-request-id")
    if given is not None and _GIVEN_ID.fullmatch(given):
        return given.decode()
    return f"{_new.getrandbits(128):032x}"


def secret(head: Head) -> str | None:
    """The API key that was presented, in either header; a bearer's goes first.

    >>> secret({b"authorization": b"Bearer fsk_a", b"x-api-key": b"fsk_b"})
    'fsk_a'
    """
    authorization = head.get(b"authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(b" ")
        credentials = credentials.strip()
        if credentials and scheme.lower() == b"bearer":
            return credentials.decode("latin-1")
    key = head.get(b"x-api-key")
    return None if key is None else key.decode("latin-1")


def content_type(head: Head) -> str | None:
    """As the caller wrote it."""
    value = head.get(b"content-type")
    return None if value is None else value.decode("latin-1")


def announced_bytes(head: Head) -> int:
    """The length of the body that is to come; 0 when none is announced.

    >>> announced_bytes({b"content-length": b"12"}), announced_bytes({})
    (12, 0)
    """
    value = head.get(b"content-length", b"")
    # More digits than any body has bytes are not worth a conversion.
    return int(value[:20]) if value.isdigit() else 0


def deadline_s(head: Head) -> float | None:
    """Seconds after which the caller has no use for an answer; None: there is no such moment.

    Raises:
        BadHeader: it is not a number of milliseconds that can be used.
    """
    value = head.get(b"x-deadline-ms")
    if value is None:
        return None
    ms = int(value) if value.isdigit() and len(value) <= 8 else 0
    if not 1 <= ms <= LONGEST_DEADLINE_MS:
        shown = value[:32].decode("latin-1")
        message = (
            f"{DEADLINE} has value {shown!r}; give whole milliseconds from 1 to "
            f"{LONGEST_DEADLINE_MS}, or leave it out."
        )
        raise BadHeader(message)
    return ms / 1000.0
