-- Records a job and queues it; the same Idempotency-Key gives the job that it gave before. A call that is sent again
-- leaves the job as it is by now. Jobs of one API key that wait are counted in the queue itself, which is right
-- whatever happened to it.
-- KEYS: record, index, queue, idempotency (or ''), tally.
-- ARGV: id, created µs, request digest, expiry s, record prefix, API key's id, its most queued jobs (0: any number),
-- name in the tally, then fields.
if redis.call('EXISTS', KEYS[1]) == 1 then return '' end
if KEYS[4] ~= '' then
  local known = redis.call('GET', KEYS[4])
  if known then return known end
end
local most = tonumber(ARGV[7])
if most > 0 then
  local queued = 0
  for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    local origin = redis.call('HGET', ARGV[5] .. id, 'origin')
    if origin and cjson.decode(origin)['key_id'] == ARGV[6] then queued = queued + 1 end
  end
  if queued >= most then return 'queued_jobs' end
end
if KEYS[4] ~= '' then redis.call('SET', KEYS[4], ARGV[3] .. ' ' .. ARGV[1], 'EX', ARGV[4]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 9))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('HINCRBY', KEYS[5], ARGV[8], 1)
return ''
