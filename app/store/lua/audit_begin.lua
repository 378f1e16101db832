-- Writes down a deed that is about to be done; refuses where too many entries wait for a file.
-- KEYS: stream, open.  ARGV: id, entry, most that may wait.
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 'ok'
