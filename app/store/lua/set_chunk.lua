-- Writes one chunk of a version that is being made, or removes what an attempt that ended has left in its place
-- (empty chunk). A version that is published never changes.
-- KEYS: meta, chunk.  ARGV: token, version, chunk.
local meta = redis.call('HMGET', KEYS[1], 'name', 'fence', 'set_version')
if not meta[1] then return 'gone' end
if tonumber(meta[2] or ARGV[1]) ~= tonumber(ARGV[1]) then return 'stale' end
if tonumber(meta[3] or '0') >= tonumber(ARGV[2]) then return 'stale' end
if ARGV[3] == '' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], ARGV[3]) end
return 'written'
