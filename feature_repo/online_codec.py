"""The bytes of Feast's Redis layout, made and read for whole columns at once. Knows no client.

One hash per customer holds all views. Its key (serialisation version 3, little endian) is
`u32 1 | u32 2 | u32 len | join key | u32 2 | u32 len | customer id | project`. A feature's field
is murmur3_32 of `view:feature`, its value a ValueProto (double: 0x29 and 8 bytes; string: 0x12,
length, UTF-8; missing: nothing). Field `_ts:view` is a Timestamp proto: when the row was known.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import mmh3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo import contract, value_codec, wire

Reply = Sequence[bytes | None]
Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]
Mask = npt.NDArray[np.bool_]

HSET: Final = (b"HSET",)

STREAM_FIELD: Final = b"_stream"
"""Field of a customer's hash with the state that the stream folds into; no feature."""

_STRING_TYPE: Final = struct.pack("<I", 2)
# A field of 4 bytes and a double of 9, each as a bulk string; an empty one is 9 bytes shorter.
_PAIR: Final = b"$4\r\n....\r\n$9\r\n\x29........\r\n"
_EMPTY: Final = np.frombuffer(b"$0\r\n\r\n", dtype=np.uint8)
_VALUE_AT: Final = 10
_NUMBER_AT: Final = 15


@dataclass(frozen=True, slots=True)
class OnlineRows:
    """What Redis holds of some customers, in the order they were asked for."""

    #: By feature: Float64 with NaN, or for texts objects with None, where nothing is known.
    columns: Mapping[str, Floats | Texts]
    #: By view: knowledge time of the row in epoch seconds, NaN when there is none.
    known_at: Mapping[str, Floats]
    #: Whether any view has a row of the customer.
    found: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """Where the features of some views are. Make it once and keep it: it remembers its bytes."""

    project: str
    #: The columns to read, by view.
    views: Mapping[str, Sequence[str]]
    texts: frozenset[str] = frozenset(contract.TEXT_FEATURES)
    entity: str = contract.ENTITY
    #: How long a row may be served after its knowledge time; views that are not named: for ever.
    ttl: Mapping[str, timedelta] = field(default_factory=dict)

    @cached_property
    def numbers(self) -> tuple[tuple[str, str], ...]:
        """(view, feature) of the Float64 columns, in reading order."""
        return tuple(
            (v, f) for v, names in self.views.items() for f in names if f not in self.texts
        )

    @cached_property
    def words(self) -> tuple[tuple[str, str], ...]:
        """(view, feature) of the text columns, in reading order."""
        return tuple((v, f) for v, names in self.views.items() for f in names if f in self.texts)

    @cached_property
    def fields(self) -> tuple[bytes, ...]:
        """What one HMGET asks for: numbers, words, then the times of the views."""
        pairs = (*self.numbers, *self.words)
        return (*(feature_field(*pair) for pair in pairs), *map(time_field, self.views))

    @cached_property
    def key_prefix(self) -> bytes:
        """What every key of this entity starts with, whatever the project."""
        return struct.pack("<I", 1) + _STRING_TYPE + _sized(self.entity) + _STRING_TYPE

    def keys(self, customer_ids: Iterable[str]) -> list[bytes]:
        """The key of each customer."""
        prefix, project = self.key_prefix, self.project.encode()
        return [prefix + _sized(customer_id) + project for customer_id in customer_ids]

    def customer_of(self, key: bytes) -> str | None:
        """The customer of a key, or None when it belongs to something else.

        Keys of project `pre_prod` end like those of `prod`: the length decides.
        """
        start = len(self.key_prefix) + 4
        if not key.startswith(self.key_prefix) or len(key) < start:
            return None
        (length,) = struct.unpack_from("<I", key, start - 4)
        if key[start + length :] != self.project.encode():
            return None
        return key[start : start + length].decode()


def all_columns(project: str) -> Layout:
    """The layout of every stored column."""
    return Layout(project, contract.VIEWS)


def model_columns(project: str) -> Layout:
    """The layout of the columns that scoring needs."""
    return Layout(project, contract.ONLINE_COLUMNS)


def feature_field(view: str, feature: str) -> bytes:
    """Field of a feature in a customer's hash."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """Field of a view's knowledge time in a customer's hash."""
    return f"_ts:{view}".encode()


def encode(
    layout: Layout,
    view: str,
    table: pa.Table,
    *,
    command: Sequence[bytes] = HSET,
    sparse: bool = False,
) -> bytes:
    """RESP of one command per row: `command`, the key, then field and value of each column.

    The table has the entity, `event_timestamp` and any columns of the view. A null and a NaN are
    both missing: written as no bytes, as Feast does, or when `sparse` not written at all. Readers
    take both alike, but only the former replaces a value that is there.
    """
    if table.num_rows == 0:
        return b""
    names = [n for n in table.column_names if n in layout.views[view]]
    numbers, absent = _numbers(view, [n for n in names if n not in layout.texts], table, sparse)
    words = [_words(view, n, table, sparse) for n in names if n in layout.texts]
    written = np.full(table.num_rows, len(names))
    if sparse:
        written -= absent.sum(axis=1) + sum(missing for _, missing in words)
    name = b"".join(map(wire.bulk, command))
    keys = layout.keys(table.column(layout.entity).to_pylist())
    heads = [
        b"*%d\r\n%b%b" % (len(command) + 3 + 2 * pairs, name, wire.bulk(key))
        for key, pairs in zip(keys, written.tolist(), strict=True)
    ]
    return wire.join(
        [
            wire.ragged(heads),
            wire.constant(wire.bulk(time_field(view)), table.num_rows),
            *wire.bulks(value_codec.times(table.column(contract.EVENT_TIMESTAMP))),
            numbers,
            *(column for column, _ in words),
        ]
    )


def arrange(layout: Layout, hashes: Iterable[Sequence[bytes]]) -> list[Reply]:
    """Replies to HGETALL (field, value, field ...) as replies to an HMGET of `layout.fields`.

    Redis answers HGETALL of a small hash at a quarter of the cost: HMGET searches each field anew.
    """
    held = (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in hashes)
    return [[*map(values.get, layout.fields)] for values in held]


def decode(layout: Layout, replies: Sequence[Reply], at: datetime | None = None) -> OnlineRows:
    """What the replies to `layout.fields` say.

    A row whose ttl has run out at `at` counts as missing. `at` None: nothing has run out.
    """
    width = len(layout.numbers)
    flat = [value for reply in replies for value in reply[:width]]
    matrix = value_codec.numbers(flat, len(replies), width)
    first = width + len(layout.words)
    # All views in one go: a column of times costs the same for one row as for a hundred.
    stamps = [reply[first + i] for i in range(len(layout.views)) for reply in replies]
    times = value_codec.seconds(stamps).reshape(len(layout.views), len(replies))
    known_at = dict(zip(layout.views, times, strict=True))
    columns: dict[str, Floats | Texts] = {
        name: matrix[i] for i, (_, name) in enumerate(layout.numbers)
    }
    for i, (_, name) in enumerate(layout.words, start=width):
        columns[name] = np.array([value_codec.text(reply[i]) for reply in replies], dtype=object)
    if at is not None:
        for view, ttl in layout.ttl.items():
            _expire(layout, view, columns, known_at, (at - ttl).timestamp())
    known = [~np.isnan(times) for times in known_at.values()]
    return OnlineRows(columns, known_at, np.logical_or.reduce(known))


def _sized(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _numbers(
    view: str, names: Sequence[str], table: pa.Table, sparse: bool
) -> tuple[wire.Column, Mask]:
    """Field and double of every column, 25 bytes each, and which are missing (16 bytes, or 0)."""
    rows = table.num_rows
    values = np.empty((rows, len(names)), dtype="<f8")
    for i, name in enumerate(names):
        values[:, i] = pc.cast(table.column(name), pa.float64()).to_numpy(zero_copy_only=False)
    pairs = [_PAIR.replace(b"....", feature_field(view, name), 1) for name in names]
    template = np.frombuffer(b"".join(pairs), dtype=np.uint8).reshape(len(names), len(_PAIR))
    data = np.tile(template, (rows, 1, 1))
    data[:, :, _NUMBER_AT : _NUMBER_AT + 8] = values.view(np.uint8).reshape(rows, len(names), 8)
    mask = np.ones(data.shape, dtype=np.bool_)
    missing = np.isnan(values)
    data[missing, _VALUE_AT : _VALUE_AT + len(_EMPTY)] = _EMPTY
    mask[missing, 0 if sparse else _VALUE_AT + len(_EMPTY) :] = False
    return (data.reshape(rows, -1), mask.reshape(rows, -1)), missing


def _words(view: str, name: str, table: pa.Table, sparse: bool) -> tuple[wire.Column, Mask]:
    """Field and string of one text column, and where it is missing."""
    column = table.column(name).combine_chunks().dictionary_encode()
    head = wire.bulk(feature_field(view, name))
    words = [value_codec.string(text) for text in column.dictionary.to_pylist()]
    nothing = b"" if sparse else head + wire.bulk(b"")
    data, mask = wire.ragged([*(head + wire.bulk(word) for word in words), nothing])
    codes = pc.fill_null(column.indices, len(words)).to_numpy(zero_copy_only=False)
    return (data[codes], mask[codes]), codes == len(words)


def _expire(
    layout: Layout,
    view: str,
    columns: dict[str, Floats | Texts],
    known_at: dict[str, Floats],
    oldest: float,
) -> None:
    """Make the rows of a view that are known from before `oldest` missing."""
    expired = known_at[view] < oldest
    for name in layout.views[view]:
        column = columns[name]
        column[expired] = None if name in layout.texts else np.nan
    known_at[view] = np.where(expired, np.nan, known_at[view])
