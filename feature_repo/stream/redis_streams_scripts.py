"""What must happen in one piece inside Redis. Plain Lua of Redis 6.2."""

from __future__ import annotations

from typing import Final

PUBLISH: Final = """
-- Append messages and, in one piece with them, the publisher's mark.
-- KEYS: stream, state. ARGV: publisher, '1' to compare the mark, mark expected, mark to set ('' to
-- leave it), group ('' for all), bodies. Returns {1, last id} or {0, mark held}.
local stream, state = KEYS[1], KEYS[2]
if ARGV[2] == '1' then
  local held = redis.call('HGET', state, ARGV[1]) or ''
  if held ~= ARGV[3] then return {0, held} end
end
local count = tonumber(redis.call('HGET', state, '#messages') or 0)
local bytes = tonumber(redis.call('HGET', state, '#bytes') or 0)
local last = ''
for i = 6, #ARGV do
  count = count + 1
  bytes = bytes + #ARGV[i]
  -- Running totals: the difference of two entries counts what is between them, in any version.
  local n = string.format('%.0f:%.0f', count, bytes)
  if ARGV[5] == '' then
    last = redis.call('XADD', stream, '*', 'n', n, 'b', ARGV[i])
  else
    last = redis.call('XADD', stream, '*', 'n', n, 'b', ARGV[i], 'g', ARGV[5])
  end
end
if #ARGV > 5 then
  redis.call('HSET', state, '#messages', string.format('%.0f', count),
    '#bytes', string.format('%.0f', bytes))
end
if ARGV[4] ~= '' then redis.call('HSET', state, ARGV[1], ARGV[4]) end
return {1, last}
"""

FORGET_CONSUMER: Final = """
-- Remove a consumer, unless it has messages: with it they would be lost to the group.
-- KEYS: stream. ARGV: group, consumer. Returns whether it was removed.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name, pending
  for i = 1, #consumer, 2 do
    if consumer[i] == 'name' then name = consumer[i + 1] end
    if consumer[i] == 'pending' then pending = consumer[i + 1] end
  end
  if name == ARGV[2] and pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
"""
