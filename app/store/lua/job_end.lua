-- Ends a job, or gives it back to the queue (state queued), if this worker still holds it. A job that was to be
-- cancelled meanwhile does not go back: nobody may ever claim it to find out. To be told twice changes nothing.
-- KEYS: record, leases, busy, queue, tally.  ARGV: id, token, now (RFC 3339), then the fields to set (state first).
local held = redis.call('HMGET', KEYS[1], 'state', 'token', 'uid', 'created_us', 'cancel', 'kind')
if held[2] ~= ARGV[2] then return 'lost' end
if held[1] == ARGV[5] or (ARGV[5] == 'queued' and held[1] == 'cancelled') then return 'ok' end
if held[1] ~= 'running' then return 'lost' end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[3], held[3]) == ARGV[1] then redis.call('HDEL', KEYS[3], held[3]) end
if ARGV[5] == 'queued' then
  if held[5] == '1' then
    redis.call('HSET', KEYS[1], 'state', 'cancelled', 'finished_at', ARGV[3])
    redis.call('HINCRBY', KEYS[5], 'ended ' .. held[6] .. ' cancelled', 1)
  else
    redis.call('ZADD', KEYS[4], held[4], ARGV[1])
  end
else
  redis.call('HINCRBY', KEYS[5], 'ended ' .. held[6] .. ' ' .. ARGV[5], 1)
end
return 'ok'
