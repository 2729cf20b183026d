"""Commands that ask for customers, and what the replies say: whole batches at once.

One HGETALL per customer: HMGET searches a small hash anew for every field, and would cost Redis
six times as much. The hash's other fields, the stream's state among them, are skipped over.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Final

import hiredis
import numpy as np

from feature_repo import contract, value_codec
from feature_repo.online import loaded_key
from feature_repo.online_codec import (
    STREAM_FIELD,
    Floats,
    feature_field,
    time_field,
)
from serving.online.address import command
from serving.online.connection import NoReply
from serving.online.lane import Check
from serving.online.stored import TEXTS, VIEWS, Stored, scoring_layout

_FEW: Final = 32
"""Up to so many times are read one by one, which is quicker than whole columns."""

_NOBODY: Final = ("",)
"""Customers to read for a check: no customer has an empty id."""

_U32: Final = struct.Struct("<I")
_ANOTHER_TYPE: Final = "WRONGTYPE"
# Few different ones in daily views and profiles: most were seen a moment ago.
_text = lru_cache(maxsize=4_096)(value_codec.text)
# Many customers share the midnights of the daily views.
_second = lru_cache(maxsize=4_096)(value_codec.second)


class Reading:
    """The questions to one project's hashes, and the answers."""

    def __init__(self, project: str) -> None:
        layout = scoring_layout(project)
        numbers = [feature_field(*pair) for pair in layout.numbers]
        others = [feature_field(*pair) for pair in layout.words] + [*map(time_field, layout.views)]
        self._width = len(numbers)
        self._numbers, self._others = itemgetter(*numbers), itemgetter(*others)
        # Holds every field there is, so that a copy need not grow as a hash is poured in.
        self._nothing = {
            **_every_field(),
            **dict.fromkeys(numbers, value_codec.MISSING_DOUBLE),
            **dict.fromkeys(others),
        }
        self._note = command(b"GET", loaded_key(project).encode())
        head = layout.key_prefix
        self._key = (len(head) + 4 + len(project.encode()), head, project.encode())

    def commands(self, customer_ids: Sequence[str]) -> bytes:
        """One GET of the note of the last load, then one HGETALL per customer.

        The note comes first: the hashes are then never older than it says.
        """
        fixed, head, project = self._key
        parts = [self._note]
        for customer_id in customer_ids:
            # A lone surrogate has no UTF-8, and no customer has it in the name: not found.
            name = customer_id.encode("utf-8", "surrogatepass")
            parts.append(
                b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b%b%b%b\r\n"
                % (fixed + len(name), head, _U32.pack(len(name)), name, project)
            )
        return b"".join(parts)

    @staticmethod
    def replies(customer_ids: Sequence[str]) -> int:
        """How many replies `commands` has."""
        return 1 + len(customer_ids)

    @property
    def check(self) -> Check:
        """A read of nobody: it fails whenever a read would, whoever is asked for."""
        return Check(self.commands(_NOBODY), self.replies(_NOBODY), self.stored)

    def stored(self, replies: Sequence[object]) -> Stored:
        """What the replies say.

        A key that holds something else than a hash is a customer that is not found.

        Raises:
            NoReply: an error, or a reply of another form.
        """
        note, *hashes = replies
        numbers: list[bytes] = []
        others: list[Sequence[bytes | None]] = []
        for flat in hashes:
            held = self._poured(flat)
            numbers += self._numbers(held)
            others.append(self._others(held))
        matrix = value_codec.numbers(numbers, len(hashes), self._width)
        columns = list(zip(*others, strict=True)) or [()] * (len(TEXTS) + len(VIEWS))
        texts = [*map(_text, chain.from_iterable(columns[: len(TEXTS)]))]
        times = _times([*chain.from_iterable(columns[len(TEXTS) :])]).reshape(
            len(VIEWS), len(hashes)
        )
        known_at = np.fmax.reduce(times)
        return Stored(
            numbers=matrix,
            texts=tuple(np.array(texts, dtype=object).reshape(len(TEXTS), len(hashes))),
            known_at=known_at,
            view_known_at=times,
            found=~np.isnan(known_at),
            through=through(note),
        )

    def _poured(self, flat: object) -> dict[bytes, bytes | None]:
        """A reply to HGETALL (field, value, field ...) over what is there when nothing is."""
        held = self._nothing.copy()
        if isinstance(flat, list):
            pairs = iter(flat)
            try:
                held.update(zip(pairs, pairs, strict=True))
            except (TypeError, ValueError) as exc:
                raise NoReply(reason="a hash has no even number of fields and values") from exc
        elif not (isinstance(flat, hiredis.ReplyError) and str(flat).startswith(_ANOTHER_TYPE)):
            told = flat if isinstance(flat, hiredis.ReplyError) else type(flat).__name__
            raise NoReply(reason=f"it says {told} for a hash")
        return held


def through(note: object) -> datetime | None:
    """How far the last load reached, None when the note is absent or not one of ours.

    Raises:
        NoReply: it is no reply to a GET.
    """
    if note is None or isinstance(note, bytes):
        return _through(note)
    raise NoReply(reason=f"it says {note!r} for the note of the last load")


@lru_cache(maxsize=8)
def _through(note: bytes | None) -> datetime | None:
    if note is None:
        return None
    try:
        reached = datetime.fromisoformat(json.loads(note)["through"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return reached if reached.tzinfo is not None else None


def _times(values: Sequence[bytes | None]) -> Floats:
    """Epoch seconds, NaN where there are none."""
    if len(values) > _FEW:
        return value_codec.seconds(values)
    return np.array([*map(_second, values)], dtype=np.float64)


def _every_field() -> dict[bytes, bytes | None]:
    pairs = [(view, name) for view, names in contract.VIEWS.items() for name in names]
    fields = (*(feature_field(*pair) for pair in pairs), *map(time_field, contract.VIEWS))
    return dict.fromkeys((*fields, STREAM_FIELD))
