"""Lets a request in by its API key, and no more often than its key may ask."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from feature_repo.api_keys import ApiKey, KeyFile, Scope, digest
from feature_repo.errors import ConfigError
from serving.admission.bucket import TokenBucket
from serving.errors import BadKey, KeysUnreadable, MissingScope, RateLimited

RECHECK_S: Final = 0.5
"""Between two looks at the key file: a revocation acts within this, and the loop does not wait for
a file system at every request."""

_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Holder:
    """A key that is valid now; one bucket for all its secrets."""

    key: ApiKey
    bucket: TokenBucket | None


class Doorkeeper:
    """Checks keys in constant time from what was read of the key file last.

    Without a key file everybody may enter (`--insecure-local`). A rate is divided among the
    workers, each of which keeps its own bucket. It belongs to one event loop.
    """

    def __init__(
        self,
        keys: KeyFile | None,
        *,
        workers: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = keys
        self._workers = workers
        self._monotonic = monotonic
        self._looked_at = -math.inf
        self._damaged = False
        self._by_hash: dict[str, _Holder] = {}
        #: Only secrets that were let in are kept, so it stays as small as the key file.
        self._by_secret: dict[str, _Holder] = {}
        self._buckets: dict[str, TokenBucket] = {}

    def admit(self, secret: str | None, scope: Scope) -> str:
        """The name of the key's holder.

        Raises:
            BadKey: no key, or none that is valid now.
            MissingScope: the key may not do this.
            KeysUnreadable: the key file is damaged.
            RateLimited: the key asks too often; `Retry-After` says when it may again.
        """
        if self._file is None:
            return "local"
        if not secret:
            message = (
                "No API key was sent. Send `Authorization: Bearer fsk_...`; the command "
                "`foresend keys add NAME` makes a key."
            )
            raise BadKey(message, headers=_CHALLENGE)
        now = self._monotonic()
        if now - self._looked_at >= RECHECK_S:
            self._look(self._file, now)
        holder = self._by_secret.get(secret) or self._find(self._file, secret, now)
        if scope not in holder.key.scopes:
            held = ", ".join(holder.key.scopes) or "none"
            message = f"This needs the scope '{scope}'; the key {holder.key.name!r} has: {held}."
            raise MissingScope(message)
        if holder.bucket is not None and (wait_s := holder.bucket.take(now)) > 0.0:
            raise self._too_often(holder.key, wait_s)
        return holder.key.name

    def _find(self, file: KeyFile, secret: str, now: float) -> _Holder:
        sha256 = digest(secret)
        if sha256 not in self._by_hash and not self._damaged and file.is_changed():
            # A key that was made a moment ago works at once.
            self._look(file, now)
        if self._damaged:
            message = "The key file of this server is damaged; its operator can see why in the log."
            raise KeysUnreadable(message, headers={"Retry-After": "30"})
        holder = self._by_hash.get(sha256)
        if holder is None:
            message = "This API key is not known here, has expired or was revoked."
            raise BadKey(message, headers=_CHALLENGE)
        self._by_secret[secret] = holder
        return holder

    def _look(self, file: KeyFile, now: float) -> None:
        self._looked_at = now
        try:
            valid = file.valid()
        except ConfigError as exc:
            if not self._damaged:
                log.error("key_file_unreadable", problem=str(exc))
            self._damaged, valid = True, {}
        else:
            self._damaged = False
        self._by_secret.clear()
        self._by_hash = {sha256: self._holder(key, now) for sha256, key in valid.items()}
        names = {holder.key.name for holder in self._by_hash.values()}
        self._buckets = {name: b for name, b in self._buckets.items() if name in names}

    def _holder(self, key: ApiKey, now: float) -> _Holder:
        if key.rate is None:
            self._buckets.pop(key.name, None)
            return _Holder(key, None)
        rate = key.rate / self._workers
        burst = max(1.0, (key.burst or math.ceil(key.rate)) / self._workers)
        bucket = self._buckets.get(key.name)
        if bucket is None or (bucket.rate, bucket.burst) != (rate, burst):
            bucket = self._buckets[key.name] = TokenBucket(rate, burst, now=now)
        return _Holder(key, bucket)

    def _too_often(self, key: ApiKey, wait_s: float) -> RateLimited:
        assert key.rate is not None
        share = f", {key.rate / self._workers:g} at each of the {self._workers} workers"
        message = (
            f"The key {key.name!r} may ask {key.rate:g} times a second"
            f"{share if self._workers > 1 else ''}. Ask again in {math.ceil(wait_s * 1000)} ms."
        )
        return RateLimited(message, headers={"Retry-After": str(math.ceil(wait_s))})
