"""What payloads of one provider and word usually look like, and how a batch of them differs.

Counts alone are kept, never values. Rates are compared by Wilson's interval with few standard
errors to spare, because events come in bursts that are alike: the counts say less than their
number (`DESIGN_EFFECT`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

LEARNING: Final = 100
"""Events of a word that say what is usual, before anything can be unusual."""

USUAL: Final = 0.95
"""Share of events a path is in, for its absence to mean something."""

GONE_FOR: Final = 50
"""Events in a row without a usual path, for it to have vanished."""

BLOCK: Final = 500
"""Events after which rates are compared; or BLOCK_AGE, if there are SMALL_BLOCK of them."""

SMALL_BLOCK: Final = 40
BLOCK_AGE: Final = timedelta(days=1)
MEMORY: Final = 4 * BLOCK
"""Events that the usual rates are made of; older ones fade."""

JUMP: Final = 0.05
"""Smallest rise of a null rate that is told, however certain it is."""

WORST_KEPT: Final = 0.97
"""What is left after a block of how far the worst one was from the usual: half in 23 blocks."""

UNEVEN: Final = 1.5
"""How far beyond the worst block before a rise must go."""

MOST_PATHS: Final = 400
DESIGN_EFFECT: Final = 2.0
_STANDARD_ERRORS: Final = 3.5


class Kind(StrEnum):
    """What is unlike before."""

    NEW_WORD = "new_word"  #: the provider names something it never named
    NEW_PATH = "new_path"
    VANISHED_PATH = "vanished_path"
    RETYPED_PATH = "retyped_path"
    NULL_RATE_JUMP = "null_rate_jump"  #: absent or null far more often than before
    TOO_MANY_PATHS = "too_many_paths"  #: keys are data; further new paths are not told


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A difference from what is usual."""

    kind: Kind
    path: str
    detail: str
    #: Events that show it.
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Payloads of one word, counted by structure."""

    #: Each structure with the number of payloads that have it.
    structures: tuple[tuple[frozenset[tuple[str, str]], int], ...]
    first_at: datetime
    last_at: datetime

    @property
    def events(self) -> int:
        """Payloads in the batch."""
        return sum(count for _, count in self.structures)


class PathCounts(msgspec.Struct):
    """How often a path was there, in what types, and how often with something in it."""

    types: dict[str, int]
    usual_events: float = 0.0
    usual_present: float = 0.0
    usual_filled: float = 0.0
    present: int = 0
    filled: int = 0
    absent_run: int = 0
    vanished: bool = False
    #: Highest share of a block that lacked it, fading towards the usual one.
    worst_missing: float = 0.0

    def usual_share(self) -> float:
        """Share of the remembered events that had the path."""
        return self.usual_present / self.usual_events if self.usual_events else 0.0

    def remember(self, missing: float) -> None:
        """Keep the share of a block that lacked it, if it is the highest for a while."""
        usual = 1 - self.usual_filled / self.usual_events if self.usual_events else missing
        faded = usual + (self.worst_missing - usual) * WORST_KEPT
        self.worst_missing = max(missing, faded)


class Profile(msgspec.Struct):
    """The usual structure of one word, and the block of events that is being counted."""

    paths: dict[str, PathCounts] = {}
    events: int = 0
    usual_events: float = 0.0
    block_events: int = 0
    block_since: datetime | None = None
    full: bool = False

    def absorb(self, batch: Batch) -> list[Change]:
        """Count the batch; returns what is unlike before, the same thing each time it is seen."""
        seen, types = totals(batch)
        changes = [*self._new(seen, types), *self._returned(seen)]
        changes += self._vanished(seen, batch.events)
        self.events += batch.events
        self.block_events += batch.events
        self.block_since = self.block_since or batch.first_at
        if self._block_is_over(batch.last_at):
            changes += self._jumps()
            self._close_block()
        return changes

    def _new(
        self, seen: Mapping[str, tuple[int, int]], types: Mapping[tuple[str, str], int]
    ) -> Iterator[Change]:
        learned = self.events >= LEARNING
        for path, (present, _) in sorted(seen.items()):
            if path not in self.paths:
                if len(self.paths) >= MOST_PATHS:
                    if not self.full:
                        self.full = True
                        yield Change(kind=Kind.TOO_MANY_PATHS, path="", detail="", count=present)
                    continue
                self.paths[path] = PathCounts({}, usual_events=self.usual_events)
                if learned:
                    found = sorted(t for p, t in types if p == path)
                    detail = " or ".join(found)
                    yield Change(kind=Kind.NEW_PATH, path=path, detail=detail, count=present)
        for (path, type_), count in sorted(types.items()):
            if path in self.paths:
                yield from self._typed(path, type_, count, learned)

    def _typed(self, path: str, type_: str, count: int, learned: bool) -> Iterator[Change]:
        known = self.paths[path].types
        before = sorted(known.keys() - {"null"})
        if type_ not in known and type_ != "null" and before and learned:
            detail = f"{' or '.join(before)} -> {type_}"
            yield Change(kind=Kind.RETYPED_PATH, path=path, detail=detail, count=count)
        known[type_] = known.get(type_, 0) + count

    def _returned(self, seen: Mapping[str, tuple[int, int]]) -> Iterator[Change]:
        for path, (present, filled) in seen.items():
            counts = self.paths.get(path)
            if counts is None:
                continue
            counts.present += present
            counts.filled += filled
            counts.absent_run = 0
            if counts.vanished:
                counts.vanished = False
                yield Change(kind=Kind.VANISHED_PATH, path=path, detail="returned", count=0)

    def _vanished(self, seen: Mapping[str, tuple[int, int]], events: int) -> Iterator[Change]:
        gone: list[str] = []
        for path in sorted(self.paths.keys() - seen.keys()):
            counts = self.paths[path]
            counts.absent_run += events
            usual = counts.usual_events >= LEARNING and counts.usual_share() >= USUAL
            if counts.vanished or not usual or counts.absent_run < GONE_FOR:
                continue
            counts.vanished = True
            if not _inside(path, gone):
                gone.append(path)
                detail = f"was in {counts.usual_share():.0%} of events"
                run = counts.absent_run
                yield Change(kind=Kind.VANISHED_PATH, path=path, detail=detail, count=run)

    def _block_is_over(self, now: datetime) -> bool:
        if self.usual_events < LEARNING <= self.block_events:
            return True
        old = self.block_since is not None and now - self.block_since >= BLOCK_AGE
        return self.block_events >= BLOCK or (old and self.block_events >= SMALL_BLOCK)

    def _jumps(self) -> Iterator[Change]:
        jumped: list[str] = []
        for path in sorted(self.paths):
            counts = self.paths[path]
            if counts.usual_events < LEARNING or counts.filled == 0:
                continue
            missing = self.block_events - counts.filled
            before = (counts.usual_events - counts.usual_filled) / counts.usual_events
            now = missing / self.block_events
            highest = rate_bounds(before * counts.usual_events, counts.usual_events)[1]
            lowest = rate_bounds(missing, self.block_events)[0]
            # Bursts make blocks uneven: only what goes well beyond the worst one is news.
            uneven = max(0.0, counts.worst_missing - before)
            if lowest <= highest or now - before < JUMP + UNEVEN * uneven:
                continue
            if not _inside(path, jumped):
                jumped.append(path)
                detail = f"missing in {before:.0%} -> {now:.0%} of events"
                yield Change(kind=Kind.NULL_RATE_JUMP, path=path, detail=detail, count=missing)

    def _close_block(self) -> None:
        kept = min(1.0, max(0.0, MEMORY - self.block_events) / max(self.usual_events, 1.0))
        for counts in self.paths.values():
            # Absence is not usual before it was told: a slow trickle would hide it.
            waiting = counts.present == 0 and counts.usual_share() >= USUAL and not counts.vanished
            if not waiting:
                counts.remember(1 - counts.filled / self.block_events)
                counts.usual_events = counts.usual_events * kept + self.block_events
                counts.usual_present = counts.usual_present * kept + counts.present
                counts.usual_filled = counts.usual_filled * kept + counts.filled
            counts.present = counts.filled = 0
        self.usual_events = self.usual_events * kept + self.block_events
        self.block_events = 0
        self.block_since = None


def rate_bounds(hits: float, events: float) -> tuple[float, float]:
    """Wilson's interval of a rate, wide enough for events that come in bursts.

    >>> low, high = rate_bounds(0, 20)
    >>> low < 0.01, high > 0.5
    (True, True)
    """
    if events <= 0:
        return 0.0, 1.0
    n = events / DESIGN_EFFECT
    z2 = _STANDARD_ERRORS**2
    rate = hits / events
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _inside(path: str, others: list[str]) -> bool:
    """Whether what holds this path is among the others: what happens to it is told once."""
    return any(path.startswith((f"{other}.", f"{other}[")) for other in others)


def totals(
    batch: Batch,
) -> tuple[dict[str, tuple[int, int]], dict[tuple[str, str], int]]:
    """By path: payloads that have it, and that have something in it; by path and type: payloads."""
    seen: dict[str, tuple[int, int]] = {}
    types: dict[tuple[str, str], int] = {}
    for structure, count in batch.structures:
        filled: dict[str, bool] = {}
        for pair in structure:
            path, type_ = pair
            types[pair] = types.get(pair, 0) + count
            filled[path] = filled.get(path, False) or type_ != "null"
        for path, is_filled in filled.items():
            present, so_far = seen.get(path, (0, 0))
            seen[path] = (present + count, so_far + count * is_filled)
    return seen, types
