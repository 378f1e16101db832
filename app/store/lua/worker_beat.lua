-- Says that a worker is there for a while, by the server's clock; forgets those that are long gone, and those whose
-- time lies in a future that a clock made, before it went back.
-- KEYS: workers.  ARGV: worker, for how many ms.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - 60000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now_ms + 60000, '+inf')
return 'ok'
