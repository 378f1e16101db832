-- Raises the dataset's fence to this token: from here on, writes of older tokens are refused.
-- KEYS: meta.  ARGV: token.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') > tonumber(ARGV[1]) then return 'stale' end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return 'taken'
