"""What this Redis was told from the beginning: the note `foresend:<project>:stream_epoch`.

A customer without a state of the stream begins either from nothing or from a loaded row. Which of
them is right, and whether it must be checked against the log, depends on how this Redis came to
hold what it holds. The note lives in Redis itself, so a Redis that lost its data has none, and
whoever folds notices with the next batch. A state begins only while the note is the one that was
read: writers compare it in the same step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, cast

import msgspec
import redis

from feature_repo import online
from feature_repo.history.log import EventLog
from feature_repo.online_codec import STREAM_FIELD, Layout
from feature_repo.settings import Settings
from feature_repo.stream.online_parts import parts
from feature_repo.stream.recompute_commits import foreign_ranges

_CHUNK: Final = 5_000

_SWAP: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class Mode(StrEnum):
    """Where customers begin that have no state of the stream yet."""

    #: All events came, and will come, through the stream: from nothing, and that is exact.
    CLEAN = "clean"
    #: Some came otherwise and were loaded: from the loaded row, to be checked against the log.
    LOADED = "loaded"
    #: Some came otherwise and were not loaded: nothing is shown before the log was read.
    UNLOADED = "unloaded"


class Epoch(msgspec.Struct, frozen=True):
    """The note."""

    mode: Mode
    #: When this Redis was first used for the stream, or loaded.
    since: datetime
    #: Greatest log_pos then; log rows after it may be news to the online store.
    position: int
    #: Whether any customer may have a state of the stream.
    streaming: bool = False
    #: Whether a load is under way, or broke off.
    loading: bool = False

    @property
    def shows_unchecked(self) -> bool:
        """Whether what a customer begins from is worth being shown."""
        return not self.loading and self.mode is not Mode.UNLOADED


def epoch_key(project: str) -> str:
    """Key of the note."""
    return f"foresend:{project}:stream_epoch"


def owed_key(project: str) -> str:
    """Key of the sorted set of customers that are owed an exact state, by epoch seconds since."""
    return f"foresend:{project}:owed"


def corrected_key(project: str) -> str:
    """Key of the set of event_ids whose corrections the log holds and the features may not."""
    return f"foresend:{project}:corrected"


def owe(client: redis.Redis, project: str, customers: Iterable[str], since: datetime) -> None:
    """Have the exact state of these customers read from the log."""
    for chunk in parts(customers, _CHUNK):
        client.zadd(owed_key(project), dict.fromkeys(chunk, since.timestamp()), nx=True)


class Owed(NamedTuple):
    """Who waits for an exact state."""

    customers: int
    #: Epoch seconds since when the first of them has been waiting, None when there is none.
    since: float | None


def owed(client: redis.Redis, project: str) -> Owed:
    """How many customers are owed, and since when the first one is."""
    first = cast(
        "list[tuple[bytes, float]]", client.zrange(owed_key(project), 0, 0, withscores=True)
    )
    return Owed(cast("int", client.zcard(owed_key(project))), first[0][1] if first else None)


def states(
    client: redis.Redis, layout: Layout, customers: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Those of the customers that have a state of the stream, with its bytes."""
    for chunk in parts(customers, _CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for key in layout.keys(chunk):
                pipe.hget(key, STREAM_FIELD)  # type: ignore[arg-type] # bytes are sent as they are
            held = pipe.execute()
        yield from ((c, data) for c, data in zip(chunk, held, strict=True) if data is not None)


def with_state(client: redis.Redis, layout: Layout, customers: Sequence[str]) -> set[str]:
    """Those of the customers that have a state of the stream."""
    having: set[str] = set()
    for chunk in parts(customers, _CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for key in layout.keys(chunk):
                pipe.hexists(key, STREAM_FIELD)  # type: ignore[arg-type] # bytes as they are
            having.update(c for c, has in zip(chunk, pipe.execute(), strict=True) if has)
    return having


def streaming(client: redis.Redis, project: str) -> bool:
    """Whether any customer may have a state of the stream."""
    raw = cast("bytes | None", client.get(epoch_key(project)))
    return raw is not None and read(raw).streaming


def read(raw: bytes) -> Epoch:
    """The note in the bytes of the key."""
    return _decoder.decode(raw)


def begin_streaming(settings: Settings, client: redis.Redis, now: datetime) -> None:
    """Make the note if there is none, and let it say that the stream is in use."""
    _change(settings, client, now, streaming=True)


def begin_loading(settings: Settings, client: redis.Redis, now: datetime) -> None:
    """From now on nobody begins from a loaded row, as it may be half written."""
    _change(settings, client, now, loading=True)


def end_loading(settings: Settings, client: redis.Redis, now: datetime) -> None:
    """Everything is loaded."""
    _change(settings, client, now, loading=False, mode=Mode.LOADED)


def end_cleanness(settings: Settings, client: redis.Redis, now: datetime) -> None:
    """Someone else than the stream wrote to the log: who begins from now on must be checked."""
    raw = cast("bytes | None", client.get(epoch_key(settings.project)))
    if raw is not None and read(raw).mode is Mode.CLEAN:
        _change(settings, client, now, mode=Mode.LOADED)


def _change(settings: Settings, client: redis.Redis, now: datetime, **changes: object) -> None:
    key = epoch_key(settings.project)
    while True:
        raw = cast("bytes | None", client.get(key))
        held = _first(settings, client, now) if raw is None else read(raw)
        new = _encoder.encode(msgspec.structs.replace(held, **changes))
        if raw == new or client.eval(_SWAP, 1, key, raw or b"", new):
            return


def _first(settings: Settings, client: redis.Redis, now: datetime) -> Epoch:
    """The note of a Redis that has none."""
    last = EventLog(settings.log_path).snapshot().last_position
    if online.read_loaded(client, settings.project) is not None:
        return Epoch(Mode.LOADED, now, last)
    # The queue hands a new group everything from its beginning: an archive that ran ahead of us
    # at the very first start has written nothing that will not come to us as well.
    first_ever = not _begun(settings)
    mark_begun(settings)
    if last < 0 or (first_ever and not foreign_ranges(settings.log_path, after=-1)):
        return Epoch(Mode.CLEAN, now, -1)
    return Epoch(Mode.UNLOADED, now, last)


def _begun(settings: Settings) -> bool:
    return (settings.state_path / _MARK).exists()


def mark_begun(settings: Settings) -> None:
    """Remember on disk that an online store was begun: a Redis without a note has lost it."""
    settings.state_path.mkdir(parents=True, exist_ok=True)
    (settings.state_path / _MARK).touch()


_MARK: Final = "online-begun"
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Epoch)
