-- Renews a lease and leaves the progress; says what the worker should know.
-- KEYS: record, leases, draining.  ARGV: id, token, lease ms, progress ('' = leave it).
local held = redis.call('HMGET', KEYS[1], 'state', 'token', 'cancel', 'worker')
if held[1] ~= 'running' or held[2] ~= ARGV[2] then return 'lost' end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[3]), ARGV[1])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'progress', ARGV[4]) end
if held[3] == '1' then return 'cancel' end
if redis.call('SISMEMBER', KEYS[3], held[4]) == 1 then return 'drain' end
return 'ok'
