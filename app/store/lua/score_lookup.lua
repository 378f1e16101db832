-- Everything about the scores of some ids in one round trip.
-- KEYS: meta, versions, then one bucket an id.
-- ARGV: shards prefix without the lineage, versions prefix, records a shard, then the ids.
-- Answers: lineage, version, its description, then (entry, record, column cell) for each id; '' where absent.
local shards_prefix, versions_prefix, per_shard = ARGV[1], ARGV[2], tonumber(ARGV[3])
local meta = redis.call('HMGET', KEYS[1], 'lineage', 'set_version', 'name')
if not meta[3] then return redis.error_reply('GONE dataset') end
local lineage, version = meta[1] or '', meta[2] or '0'
local out = {lineage, version, redis.call('HGET', KEYS[2], version) or ''}
for i = 3, #KEYS do
  local entry = redis.call('HGET', KEYS[i], ARGV[i + 1]) or ''
  local record, cell = '', ''
  if entry ~= '' then
    local ordinal = struct.unpack('<I4', entry)
    if lineage ~= '' then
      local at = 32 + (ordinal % per_shard) * 64
      local shard = shards_prefix .. lineage .. ':' .. math.floor(ordinal / per_shard)
      record = redis.call('GETRANGE', shard, at, at + 63)
    end
    if version ~= '0' then
      cell = redis.call('GETRANGE', versions_prefix .. version .. ':column', ordinal * 12, ordinal * 12 + 11)
    end
  end
  local base = (i - 3) * 3 + 4
  out[base], out[base + 1], out[base + 2] = entry, record, cell
end
return out
