"""Feast's Redis store with writes that are atomic and let a correction of equal time win."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

import redis
from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from redis import asyncio as redis_asyncio

from feature_repo.online_codec import Layout, feature_field, time_field
from feature_repo.sweep import glob_prefix
from feature_repo.value_codec import timestamp

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]

_CHUNK: Final = 2_000

_WRITE_UNLESS_NEWER: Final = """
local function parts(raw)
  local numbers = {0, 0}
  local at = 1
  while at <= #raw do
    local tag, value, scale, byte = raw:byte(at), 0, 1, nil
    repeat
      at = at + 1
      byte = raw:byte(at)
      value = value + (byte % 128) * scale
      scale = scale * 128
    until byte < 128
    numbers[(tag - tag % 8) / 8] = value
    at = at + 1
  end
  return numbers[1], numbers[2]
end
local held = redis.call('HGET', KEYS[1], ARGV[2])
if held then
  local held_s, held_ns = parts(held)
  local new_s, new_ns = parts(ARGV[3])
  if new_s < held_s or (new_s == held_s and new_ns < held_ns) then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
"""
"""KEYS: the hash. ARGV: seconds to live or 0, then pairs of field and value, the time first."""


class BulkRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]  # Feast is untyped
    """As Feast's, but `connection_string` is a redis:// or rediss:// URL."""

    type: Literal["feature_repo.stores.online.BulkRedisOnlineStore"] = (
        "feature_repo.stores.online.BulkRedisOnlineStore"
    )


class BulkRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]  # Feast is untyped
    """Same bytes in Redis as Feast's own store; any Feast client reads them."""

    _client: redis.Redis | None = None
    _client_async: redis_asyncio.Redis | None = None

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write each row unless Redis holds a newer one; of equal time, the last written wins.

        Reading, comparing and writing are one atomic step, whatever else writes.
        """
        client = self._get_client(config.online_store)
        write = client.register_script(_WRITE_UNLESS_NEWER)
        view = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
        ttl = config.online_store.key_ttl_seconds or 0
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK]
            with client.pipeline(transaction=False) as pipe:
                for key, values, known_at, _ in chunk:
                    write([_key(config, key)], [ttl, *_pairs(view, known_at, values)], client=pipe)
                pipe.execute()
            if progress:
                progress(len(chunk))

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """As `online_write_batch`."""
        client = await self._get_client_async(config.online_store)
        write = client.register_script(_WRITE_UNLESS_NEWER)
        view = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
        ttl = config.online_store.key_ttl_seconds or 0
        async with client.pipeline(transaction=False) as pipe:
            for key, values, known_at, _ in data:
                arguments = [ttl, *_pairs(view, known_at, values)]
                await write([_key(config, key)], arguments, client=pipe)
            await pipe.execute()
        if progress:
            progress(len(data))

    def delete_entity_values(self, config: RepoConfig, join_keys: list[str]) -> None:
        """Delete the keys of this project alone, also where another's name ends like it."""
        client = self._get_client(config.online_store)
        if len(join_keys) != 1:
            super().delete_entity_values(config, join_keys)
            return
        layout = Layout(config.project, {}, entity=join_keys[0])
        pattern = glob_prefix(layout.key_prefix) + b"*"
        own = [key for key in client.scan_iter(pattern, count=1_000) if layout.customer_of(key)]
        for start in range(0, len(own), _CHUNK):
            client.unlink(*own[start : start + _CHUNK])

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> redis.Redis:
        if self._client is None:
            self._client = redis.Redis.from_url(online_store_config.connection_string)
        return self._client

    async def _get_client_async(
        self, online_store_config: RedisOnlineStoreConfig
    ) -> redis_asyncio.Redis:
        if self._client_async is None:
            url = online_store_config.connection_string
            self._client_async = redis_asyncio.Redis.from_url(url)
        return self._client_async


def _key(config: RepoConfig, key: EntityKey) -> bytes:
    version = config.entity_key_serialization_version
    data: bytes = serialize_entity_key(key, entity_key_serialization_version=version)
    return data + str(config.project).encode()


@lru_cache(maxsize=4_096)
def _field(view: str, feature: str) -> bytes:
    return feature_field(view, feature)


def _pairs(view: str, known_at: datetime, values: dict[str, Value]) -> list[bytes]:
    """Field and value, one after the other, the time of the row first."""
    aware = known_at if known_at.tzinfo else known_at.replace(tzinfo=UTC)
    pairs = [time_field(view), timestamp(aware)]
    for feature, value in values.items():
        pairs += (_field(view, feature), value.SerializeToString())
    return pairs
