-- Puts jobs whose lease ran out back in the queue; ends those that were to be cancelled or died too often.
-- KEYS: leases, queue, busy.  ARGV: record prefix, most crashes, now (RFC 3339), error of a job that died too often.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local reaped = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, 100)) do
  local record = ARGV[1] .. id
  local held = redis.call('HMGET', record, 'state', 'uid', 'created_us', 'cancel')
  redis.call('ZREM', KEYS[1], id)
  if held[1] == 'running' then
    if redis.call('HGET', KEYS[3], held[2]) == id then redis.call('HDEL', KEYS[3], held[2]) end
    local crashes = redis.call('HINCRBY', record, 'crashes', 1)
    if held[4] == '1' then
      redis.call('HSET', record, 'state', 'cancelled', 'finished_at', ARGV[3])
    elseif crashes >= tonumber(ARGV[2]) then
      redis.call('HSET', record, 'state', 'failed', 'finished_at', ARGV[3], 'error', ARGV[4])
    else
      redis.call('HSET', record, 'state', 'queued')
      redis.call('ZADD', KEYS[2], held[3], id)
    end
    reaped[#reaped + 1] = id
  end
end
return reaped
