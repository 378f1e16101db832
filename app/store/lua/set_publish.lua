-- Stores a set version and makes it the current one, if its maker still owns the dataset: a stale maker must not
-- touch the columns of a version that another one has published under the same number. A version that is made
-- again after a crash counts its void members anew.
-- KEYS: meta, versions, column, then one members key a set.
-- ARGV: token, version, description, lineage, column, then the members of each set.
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') > tonumber(ARGV[1]) then return 'stale' end
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 2]) end
for set = 1, #KEYS - 3 do redis.call('HDEL', KEYS[2], ARGV[2] .. ':void:' .. set) end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'set_version', ARGV[2], 'lineage', ARGV[4])
return 'published'
