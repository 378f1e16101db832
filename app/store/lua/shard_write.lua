-- Writes one score shard if the writer owns the dataset and is not behind the shard's ledger. Only the very token that
-- is the dataset's fence may write, not every higher one: a server that lost its tail may have forgotten a claim whose
-- worker still runs, and who owns the dataset then is for the job's record to say.
-- KEYS: meta, shard.  ARGV: fence, run, step, blob.
local fence, run, step = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if tonumber(redis.call('HGET', KEYS[1], 'fence') or ARGV[1]) ~= fence then return 'stale' end
local header = redis.call('GETRANGE', KEYS[2], 0, HEADER_BYTES - 1)
if #header == HEADER_BYTES then
  local old_fence, old_run, old_step = struct.unpack('<I8I4I4', header, 9)
  if old_fence > fence then return 'stale' end
  if old_run > run or (old_run == run and old_step > step) then return 'ahead' end
end
redis.call('SET', KEYS[2], ARGV[4])
return 'written'
