-- Makes a set version the current one, if its maker still owns the dataset.
-- KEYS: meta, versions.  ARGV: token, version, description, lineage.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') > tonumber(ARGV[1]) then return 'stale' end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'set_version', ARGV[2], 'lineage', ARGV[4])
return 'published'
