-- Makes a version whose chunks are all written the current one, if its maker still owns the dataset. To be told
-- twice changes nothing.
-- KEYS: meta, versions.  ARGV: token, version, description, lineage.
local meta = redis.call('HMGET', KEYS[1], 'name', 'fence', 'set_version')
if not meta[1] then return 'gone' end
if tonumber(meta[2] or ARGV[1]) ~= tonumber(ARGV[1]) then return 'stale' end
if meta[3] == ARGV[2] and redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then return 'published' end
if tonumber(meta[3] or '0') >= tonumber(ARGV[2]) then return 'stale' end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'set_version', ARGV[2], 'lineage', ARGV[4])
return 'published'
