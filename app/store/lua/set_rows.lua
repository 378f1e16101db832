-- A stretch of a set's members and their names.
-- KEYS: members.  ARGV: names prefix, names a bucket, first row, last row.
-- Answers: the rows as bytes (24 each), then each row's name ('' for a deleted sample).
local blob = redis.call('GETRANGE', KEYS[1], tonumber(ARGV[3]) * 24, tonumber(ARGV[4]) * 24 + 23)
local out, per_bucket = {blob}, tonumber(ARGV[2])
for row = 0, #blob / 24 - 1 do
  local ordinal = struct.unpack('<I4', blob, row * 24 + 1)
  out[row + 2] = redis.call('HGET', ARGV[1] .. math.floor(ordinal / per_bucket), ordinal % per_bucket) or ''
end
return out
