-- Saves a lineage, unless another worker has taken the dataset's fence.
-- KEYS: meta, lineage.  ARGV: token, lineage (JSON).
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') > tonumber(ARGV[1]) then return 'stale' end
redis.call('SET', KEYS[2], ARGV[2])
return 'saved'
