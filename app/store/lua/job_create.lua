-- Records a job and queues it, unless too many wait already (answers 'full', or 'queued_jobs' for those of one API key);
-- the same Idempotency-Key gives the job that it gave before, however many wait. A call that is sent again leaves the
-- job as it is by now. Jobs of one API key are counted in the queue itself, which is right whatever happened to it.
-- KEYS: record, index, queue, idempotency (or ''), tally.
-- ARGV: id, created µs, request digest, expiry s, record prefix, most that may wait (0: any number), API key's id, the
-- most of its own that may wait (0: any number), name in the tally, then fields.
if redis.call('EXISTS', KEYS[1]) == 1 then return '' end
local known = KEYS[4] ~= '' and redis.call('GET', KEYS[4])
if known then return known end
local most = tonumber(ARGV[6])
if most > 0 and redis.call('ZCARD', KEYS[3]) >= most then return 'full' end
local most_of_key = tonumber(ARGV[8])
if most_of_key > 0 then
  local queued = 0
  for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    local origin = redis.call('HGET', ARGV[5] .. id, 'origin')
    if origin and cjson.decode(origin)['key_id'] == ARGV[7] then queued = queued + 1 end
  end
  if queued >= most_of_key then return 'queued_jobs' end
end
if KEYS[4] ~= '' then redis.call('SET', KEYS[4], ARGV[3] .. ' ' .. ARGV[1], 'EX', ARGV[4]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 10))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HINCRBY', KEYS[5], ARGV[9], 1)
return ''
