"""What Redis and Valkey run themselves, so that a write is whole or not there.

Lua, as text. Knows neither keys nor connections.
"""

APPEND = """
-- KEYS: answer, events, lease.  ARGV: seq, owner, worker, end, lease ms, keep ms, event...
local seq, first = tonumber(ARGV[1]), 7
local stored = redis.call('HMGET', KEYS[1], 'end', 'last', 'worker')
if stored[1] and stored[1] ~= '' then return 'ended' end
if seq == 1 then
  if stored[3] and stored[3] ~= ARGV[3] then return 'ended' end  -- another process began it
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'worker', ARGV[3], 'end', '')
elseif tonumber(stored[2]) ~= seq - 1 or redis.call('EXISTS', KEYS[2]) == 0 then
  return 'gone'
end
for i = first, #ARGV do
  redis.call('XADD', KEYS[2], '0-' .. (seq + i - first), 'e', ARGV[i])
end
redis.call('HSET', KEYS[1], 'last', seq + #ARGV - first)
if ARGV[4] ~= '' then
  redis.call('XADD', KEYS[2], '1-0', 'end', ARGV[4])  -- no event can follow this id
  redis.call('HSET', KEYS[1], 'end', ARGV[4])
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[5])
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return ''
"""

READ = """
-- KEYS: answer, events.  ARGV: after
local stored = redis.call('HMGET', KEYS[1], 'owner', 'worker', 'end')
if stored[3] == 'deleted' then return {'', '', 'deleted', {}} end
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then return false end  -- either may be evicted
local last = '0-18446744073709551615'
return {stored[1], stored[2], stored[3], redis.call('XRANGE', KEYS[2], '(0-' .. ARGV[1], last)}
"""

BEAT = """
-- KEYS: answer, events, lease, followed.  ARGV: worker, lease ms, keep ms, last.
-- -1 when the answer has an end or lost events, 1 when it is followed elsewhere
local stored = redis.call('HMGET', KEYS[1], 'end', 'last')
local is_whole = redis.call('EXISTS', KEYS[2]) == 1
if stored[1] == '' and is_whole and tonumber(stored[2]) >= tonumber(ARGV[4]) then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  return redis.call('EXISTS', KEYS[4])
end
return -1
"""

FOLLOW = """
-- KEYS: answer, lease, followed.  ARGV: lease ms.  1 for an orphan
redis.call('SET', KEYS[3], '', 'PX', ARGV[1])
local stored = redis.call('HMGET', KEYS[1], 'owner', 'end')
return (not stored[1] or (stored[2] == '' and redis.call('EXISTS', KEYS[2]) == 0)) and 1 or 0
"""

STOP = """
-- KEYS: answer.  ARGV: key, prefix of the stop streams, keep ms
local stored = redis.call('HMGET', KEYS[1], 'worker', 'end')
if stored[1] and stored[2] == '' then
  local stream = ARGV[2] .. stored[1]
  redis.call('XADD', stream, 'MAXLEN', '~', '1000', '*', 'key', ARGV[1])
  redis.call('PEXPIRE', stream, ARGV[3])
end
"""

DELETE = """
-- KEYS: answer, events, lease, followed.  ARGV: keep ms.  What stays refuses later writes.
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HDEL', KEYS[1], 'owner', 'worker', 'last')
redis.call('HSET', KEYS[1], 'end', 'deleted')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
