-- Cancels a queued job at once; asks the worker of a running one to stop.
-- KEYS: record, queue, tally.  ARGV: id, now (RFC 3339).  Answers the state before.
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'queued' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HSET', KEYS[1], 'state', 'cancelled', 'finished_at', ARGV[2], 'cancel', '1')
  redis.call('HINCRBY', KEYS[3], 'ended ' .. redis.call('HGET', KEYS[1], 'kind') .. ' cancelled', 1)
elseif state == 'running' then
  redis.call('HSET', KEYS[1], 'cancel', '1')
end
return state
