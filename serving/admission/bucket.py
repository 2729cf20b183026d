"""A token bucket: how often somebody may ask."""

from __future__ import annotations


class TokenBucket:
    """`rate` tokens a second drop in, at most `burst` of them are kept; each request takes one.

    Times are of any clock that only goes forward, in seconds.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, *, now: float) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> float:
        """0.0 when a token was there and is taken, else the seconds until there is one.

        >>> bucket = TokenBucket(10.0, 2.0, now=0.0)
        >>> [round(bucket.take(now), 3) for now in (0.0, 0.0, 0.0, 0.05, 0.1)]
        [0.0, 0.0, 0.1, 0.05, 0.0]
        """
        tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        # A token that floating point left a billionth short is one.
        if tokens >= 1.0 - 1e-9:
            self._tokens = tokens - 1.0
            return 0.0
        self._tokens = tokens
        return (1.0 - tokens) / self.rate
