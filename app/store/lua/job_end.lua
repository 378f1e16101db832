-- Ends a job, or gives it back to the queue (state queued), if this worker still holds it.
-- KEYS: record, leases, busy, queue.  ARGV: id, token, then the fields to set (state first).
local held = redis.call('HMGET', KEYS[1], 'state', 'token', 'uid', 'created_us')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 'lost' end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[3], held[3]) == ARGV[1] then redis.call('HDEL', KEYS[3], held[3]) end
if ARGV[4] == 'queued' then redis.call('ZADD', KEYS[4], held[4], ARGV[1]) end
return 'ok'
