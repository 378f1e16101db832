-- Enters what came of a deed that was begun, once: sent again, it finds nothing begun.
-- KEYS: stream, open.  ARGV: id, entry.
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then redis.call('XADD', KEYS[1], '*', 'e', ARGV[2]) end
return 'ok'
