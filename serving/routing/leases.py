"""Who is to be scored anew: customers whose features changed, each in the hands of one router.

Changes are coalesced: a customer waits once, since the first change. What changes while a customer
is in hand waits again. A router that dies loses its lease, and what it had comes again, first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import redis

from feature_repo import online
from feature_repo.stream import score_streams

LEASE_S: Final = 10.0
SWITCH_S: Final = 24 * 3600
"""Changes are noted for so long after the last router was heard of."""

_TAKE: Final = """
-- KEYS: leased, since, changed, loaded. ARGV: now, end of the lease, most customers.
-- Returns customers and since when each has been waiting.
local taken, most = {}, tonumber(ARGV[3])
local function take(customer, since)
  redis.call('ZADD', KEYS[1], ARGV[2], customer)
  redis.call('HSET', KEYS[2], customer, since)
  taken[#taken + 1] = customer
  taken[#taken + 1] = since
end
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, most)
for _, customer in ipairs(ended) do
  take(customer, redis.call('HGET', KEYS[2], customer) or ARGV[1])
end
local inhand = redis.call('ZCARD', KEYS[1])
for i = 3, 4 do
  local left = most - #taken / 2
  if left > 0 then
    -- Who is in another's hands waits for the end of that, and stands in nobody's way.
    local rows = redis.call('ZRANGE', KEYS[i], 0, left + math.min(inhand, most) - 1, 'WITHSCORES')
    for j = 1, #rows, 2 do
      if left > 0 and not redis.call('ZSCORE', KEYS[1], rows[j]) then
        redis.call('ZREM', KEYS[i], rows[j])
        take(rows[j], rows[j + 1])
        left = left - 1
      end
    end
  end
end
return taken
"""

_GIVE_UP: Final = """
-- KEYS: leased, since. ARGV: end of the lease, customers. Whoever another has in hand stays there.
for i = 2, #ARGV do
  local held = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if held and tonumber(held) == tonumber(ARGV[1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """Customers in hand."""

    #: When it ends, epoch seconds as written in Redis; it tells the lease from others.
    until: str
    #: Epoch seconds since when each customer has been waiting.
    since: dict[str, float]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Customers that nobody has scored yet."""

    customers: int
    oldest_age_s: float


class Leases:
    """The changed customers of one installation. One per thread."""

    def __init__(self, client: redis.Redis, project: str, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self._switch = score_streams.switch_key(project)
        self._changed = score_streams.changed_key(project)
        self._keys = [
            score_streams.leased_key(project),
            score_streams.since_key(project),
            self._changed,
            score_streams.loaded_key(project),
        ]
        self._take = client.register_script(_TAKE)
        self._give_up = client.register_script(_GIVE_UP)

    def switch_on(self) -> None:
        """Have changes noted; to be said again now and then."""
        with online.answers():
            self._client.set(self._switch, b"1", ex=SWITCH_S)

    def take(self, most: int) -> Lease:
        """Up to `most` customers: whom a dead router had, who changed, who was loaded."""
        now = self._clock().timestamp()
        until = repr(now + LEASE_S)
        with online.answers():
            flat = cast("list[bytes]", self._take(keys=self._keys, args=[repr(now), until, most]))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return Lease(until, {customer.decode(): float(since) for customer, since in pairs})

    def is_ours(self, lease: Lease) -> bool:
        """Whether the lease has not ended."""
        return self._clock().timestamp() < float(lease.until)

    def give_up(self, lease: Lease, customers: Sequence[str]) -> None:
        """These are done."""
        if customers:
            with online.answers():
                self._give_up(keys=self._keys[:2], args=[lease.until, *customers])

    def waiting(self) -> Waiting:
        """How many wait, and for how long the first of those that changed has."""
        with online.answers():
            counts = [cast("int", self._client.zcard(key)) for key in self._keys[2:]]
            first = cast(
                "list[tuple[bytes, float]]",
                self._client.zrange(self._changed, 0, 0, withscores=True),
            )
        age = self._clock().timestamp() - first[0][1] if first else 0.0
        return Waiting(sum(counts), max(0.0, age))
