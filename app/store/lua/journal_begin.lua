-- Notes which samples are about to be written.
-- KEYS: meta, journal.  ARGV: the ids as JSON.
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.error_reply('GONE dataset') end
redis.call('SET', KEYS[2], ARGV[1])
return 'ok'
